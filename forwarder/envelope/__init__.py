"""Turn bytes into checked, stamped, routed events.

An event is forwarded as the producer wrote it: the same keys, numbers and order. Only white space
between tokens may be removed, and members may be added in front, or in place of a null: an `eventId`
where there is none, and configured defaults. The rules of the envelope are those of the Event API:
strings `eventSourceId` and `eventType`, an optional UUID `eventId`, both or neither of
`eventObjectType` and `eventObjectId`, strings `version` and `eventKeyId`, an object `data`, no
`eventReceived`; a field that is null counts as absent.

The text is checked exactly as it was sent, and changed only afterwards, because a check of one text
proves nothing about another. Each step is a module:

- `plain` checks many lines at once and accepts either all of them or none;
- `exact` reads a single line, member by member, and can say what is wrong with it;
- `fields` and `rules` define the envelope, `routing` the destinations that an event goes to;
- `text` handles JSON as text: offsets, nesting, adding members; `ids` makes and reads event ids;
- `checking` takes every line through these steps, and `checked` holds the result;
- `invalid` turns lines that are not events into dead letters, if the operator wants that.

Everything here is pure: no I/O and no clock, and the random bytes for new ids come from a function
that is passed in.
"""

from __future__ import annotations

from forwarder.envelope.checked import MAX_SEGMENT_BYTES, Checked, Excerpt, Refused
from forwarder.envelope.checking import MAX_ERRORS, Envelope
from forwarder.envelope.fields import too_large_words
from forwarder.envelope.ids import Identity, event_id, identity, is_about, new_ids
from forwarder.envelope.invalid import HEAD_BYTES, as_sent, burials, sort_out
from forwarder.envelope.text import MAX_DEPTH, is_json_line, is_json_object

__all__ = [
    "HEAD_BYTES",
    "MAX_DEPTH",
    "MAX_ERRORS",
    "MAX_SEGMENT_BYTES",
    "Checked",
    "Envelope",
    "Excerpt",
    "Identity",
    "Refused",
    "as_sent",
    "burials",
    "event_id",
    "identity",
    "is_about",
    "is_json_line",
    "is_json_object",
    "new_ids",
    "sort_out",
    "too_large_words",
]
