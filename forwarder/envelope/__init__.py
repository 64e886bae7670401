"""Turn bytes into checked, stamped, routed events.

What a producer wrote is forwarded as written: the same keys, the same numbers, the same order.
Only white space between tokens may go, and members may be put in front, or in place of a null: an
`eventId` where there is none, and configured defaults. The rules of the envelope are those of the
Event API: strings `eventSourceId` and `eventType`, an optional UUID `eventId`, both or neither of
`eventObjectType` and `eventObjectId`, strings `version` and `eventKeyId`, an object `data`, no
`eventReceived`; a field that is null counts as absent.

The text is vouched for first, exactly as it was sent, and changed only then: a proof about a text
does not hold for another one. The steps, each a module:

- `plain` reads many lines at once and vouches for all of them or for none;
- `exact` reads one line, member by member, and finds the words for what is wrong with it;
- `fields` has the rules of the envelope, `routing` the destinations that an event goes to;
- `text` knows JSON as text: places, nesting, what may be put in; `ids` makes and reads event ids;
- `checking` leads every line through these, and `checked` is what comes out;
- `invalid` makes dead letters of what is no event, where the operator wants that.

Pure: no I/O, no clock; the random bytes of new ids come from a function that is passed in.
"""

from __future__ import annotations

from forwarder.envelope.checked import MAX_SEGMENT_BYTES, Checked, Excerpt, Refused
from forwarder.envelope.checking import MAX_ERRORS, Envelope
from forwarder.envelope.fields import too_large_words
from forwarder.envelope.ids import Identity, event_id, identity, is_about, new_ids
from forwarder.envelope.invalid import HEAD_BYTES, as_sent, burials, sort_out
from forwarder.envelope.text import MAX_DEPTH, is_json_line

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
    "new_ids",
    "sort_out",
    "too_large_words",
]
