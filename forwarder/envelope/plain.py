"""Check many events at once: accept all of them, exactly as they were sent, or none.

The decoder accepts any white space between events, and silently keeps the last value of a key that
occurs twice. So the events that it finds prove nothing about the text. Two things are proved here:

1. *Each line is one event.* There are as many lines as events, and each line begins with `{` and ends
   with `}`. The newline between two such lines cannot be inside an event: within a value, a `}` is
   followed by a comma, `}` or `]`, never by a `{`, and a `{` is preceded by a comma, a colon or `[`.
2. *The decoder dropped nothing.* The encoding of a decoded event is never longer than its text: a key
   that occurs twice, an unknown member, a null, a needless escape and white space each make the text
   longer. So if the lengths are equal, the text has none of these. If they differ, the members, all of
   them this time, have to account for every byte.

None leaves the question open: such lines are then examined one by one (`exact`).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from operator import itemgetter
from typing import Final, NamedTuple

import msgspec

from forwarder.envelope.fields import Fields
from forwarder.envelope.text import MAX_DEPTH, are_shallow
from forwarder.model import whole_lines

# As a rule a producer puts white space between all tokens or between none; this many bytes are enough to tell.
_SAMPLE: Final = 4096
_NEWLINE: Final = ord("\n")
_OPENS: Final = {ord("{")}
_CLOSES: Final = {ord("}")}
_BETWEEN: Final = b",]"
_first = itemgetter(0)
_last = itemgetter(-2)
_encode_lines = msgspec.json.Encoder().encode_lines
_fields = msgspec.json.Decoder(Fields)
_array = msgspec.json.Decoder(list[Fields])
_parts = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Plain(NamedTuple):
    """Events that passed, one a line; only inside `data` may there be white space between tokens."""

    data: bytes
    events: list[Fields]
    members: list[dict[str, msgspec.Raw]] | None = None
    """All members of each event, if they had to be looked up; if not, no member of the envelope is null."""

    def has_null(self, names: Iterable[str]) -> bool:
        """Return whether any of these members of the envelope is null in any of the events."""
        if self.members is None:
            return False
        return any(
            name in found and getattr(event, name) is None
            for name in names
            for found, event in zip(self.members, self.events, strict=True)
        )


def read_lines(lines: bytes) -> Plain | None:
    """Read events, each on a line ended by a newline; return None if they cannot be proved to be so.

    The lines must be UTF-8 and have no carriage return. Raises msgspec.DecodeError or RecursionError.
    """
    if has_spaces(lines):
        # Without white space the comparisons below can succeed. This raises if any line is not JSON by itself.
        lines = b"\n".join([*[msgspec.json.format(line, indent=-1) for line in lines.split(b"\n")[:-1]], b""])
    events = _fields.decode_lines(lines)
    found = whole_lines(lines)
    if len(found) != len(events):
        return None
    encoded = _encode_lines(events)
    # The quickest proof: the text has the same fields, in the order of the struct.
    if encoded == lines:
        return Plain(lines, events)
    if not _are_objects(found):
        return None
    # The same fields in another order.
    if len(encoded) == len(lines):
        return Plain(lines, events)
    # There is more in the text than the envelope. Whether that is only unknown members and nulls, or also a key that
    # occurs twice, shows when the members of all names are added up.
    members = _parts.decode_lines(lines)
    if not _account_for(lines, members) or not are_shallow(found, MAX_DEPTH):
        return None
    return Plain(lines, events, members)


def read_array(array: bytes) -> Plain | None:
    """Read the elements of an array without white space around them; return None if that cannot be proved.

    The array must be UTF-8 and have neither newline nor carriage return.
    """
    if has_spaces(array):
        return None
    try:
        events = _array.decode(array)
    except (msgspec.DecodeError, RecursionError):
        return None
    # The encoding has a newline for each comma of the array, and one more in place of the two brackets. If the total
    # length fits, each element is as long as its encoding, because none can be shorter.
    encoded = _encode_lines(events)
    if len(encoded) != len(array) - 1:
        return None
    if encoded.replace(b"\n", b",").startswith(memoryview(array)[1:-1]):
        return Plain(encoded, events)
    # The members are in another order, so the text is kept as it was sent, cut at its commas.
    lines = _cut_apart(array, encoded, len(events))
    return None if lines is None else Plain(lines, events)


def has_spaces(text: bytes) -> bool:
    """Return whether the producer of this text seems to put white space between tokens."""
    head = text[:_SAMPLE]
    return b'": ' in head or b', "' in head


def _are_objects(lines: list[bytes]) -> bool:
    """Return whether each line begins and ends as an object does."""
    return set(map(_first, lines)) == _OPENS and set(map(_last, lines)) == _CLOSES


def _account_for(lines: bytes, events: list[dict[str, msgspec.Raw]]) -> bool:
    """Return whether these members, whatever their names, account for all of the bytes."""
    names, values = chain.from_iterable(events), b"".join(chain.from_iterable(map(dict.values, events)))
    # Each member has two quotes, a colon and a comma. An event has two braces and a newline besides, but no comma
    # after its last member, which leaves two bytes.
    size = 2 * len(events) + 4 * sum(map(len, events)) + len("".join(names).encode()) + len(values)
    return size == len(lines)


def _cut_apart(array: bytes, encoded: bytes, count: int) -> bytes | None:
    """Replace each comma between two elements with a newline; there is no white space around these commas."""
    parts = array[1:-1].split(b"},{")
    # All elements are objects, so `},{` occurs at least between any two of them. If it occurs no more often than
    # that, it occurs nowhere else.
    if len(parts) == count:
        return b"}\n{".join(parts) + b"\n"
    # It also occurs within an event. But elements are as long as their encodings, so these give the places of the
    # commas. That is tried, and then checked.
    cut, end = bytearray(memoryview(array)[1:]), -1
    while (end := encoded.find(b"\n", end + 1)) >= 0:
        if cut[end] not in _BETWEEN:
            return None
        cut[end] = _NEWLINE
    lines = bytes(cut)
    return lines if _are_objects(whole_lines(lines)) else None
