"""Many events at once: all of them are vouched for, exactly as they were sent, or none is.

The decoder takes any white space for the end of an event, and of a key that stands twice the last one.
So what it found proves nothing about the text by itself. Two things are shown here:

1. *Each line is one event.* There are as many lines as events, and each line begins with `{` and ends
   with `}`. Within an event no newline can stand between two such lines: of what may follow a `}` inside
   of a value (a comma, `}` or `]`), or come before a `{` (a comma, a colon or `[`), nothing fits.
2. *Nothing in it was forgotten.* Encoded again, an event is never longer than its text: a key that stands
   twice, an unknown member, a null, an escape that need not be and white space each make the text longer.
   Where the lengths are the same the text has none of these; else every byte is accounted for by members.

A no is no verdict: such lines are looked at one by one (`exact`).
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

# Bytes in which a habit of the producer shows.
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
    """Events that are vouched for: each a line, without white space between tokens but inside of `data`."""

    data: bytes
    events: list[Fields]
    members: list[dict[str, msgspec.Raw]] | None = None
    """All members of each event, where they had to be looked up; else no member of the envelope is null."""

    def has_null(self, names: Iterable[str]) -> bool:
        """Say whether one of these members of the envelope is null in one of the events."""
        if self.members is None:
            return False
        return any(
            name in found and getattr(event, name) is None
            for name in names
            for found, event in zip(self.members, self.events, strict=True)
        )


def read_lines(lines: bytes) -> Plain | None:
    """Read events, each on a line that a newline ends; None where they are not vouched for.

    The lines must be UTF-8 and have no carriage return. Raises msgspec.DecodeError or RecursionError.
    """
    if has_spaces(lines):
        # Each of them is JSON by itself, or this raises.
        lines = b"\n".join([*[msgspec.json.format(line, indent=-1) for line in lines.split(b"\n")[:-1]], b""])
    events = _fields.decode_lines(lines)
    found = whole_lines(lines)
    if len(found) != len(events):
        return None
    encoded = _encode_lines(events)
    if encoded == lines:
        return Plain(lines, events)
    if not _are_objects(found):
        return None
    if len(encoded) == len(lines):
        return Plain(lines, events)
    members = _parts.decode_lines(lines)
    if not _account_for(lines, members) or not are_shallow(found, MAX_DEPTH):
        return None
    return Plain(lines, events, members)


def read_array(array: bytes) -> Plain | None:
    """Read the elements of an array without white space around them; None where they are not vouched for.

    The array must be UTF-8 and have neither newline nor carriage return.
    """
    if has_spaces(array):
        return None
    try:
        events = _array.decode(array)
    except (msgspec.DecodeError, RecursionError):
        return None
    # Each element is as long as its encoding, and a single byte stands between two of them.
    encoded = _encode_lines(events)
    if len(encoded) != len(array) - 1:
        return None
    if encoded.replace(b"\n", b",").startswith(memoryview(array)[1:-1]):
        return Plain(encoded, events)
    # Their members are in another order.
    lines = _cut_apart(array, encoded, len(events))
    return None if lines is None else Plain(lines, events)


def has_spaces(text: bytes) -> bool:
    """Say whether white space between tokens seems to be the habit of who wrote this."""
    head = text[:_SAMPLE]
    return b'": ' in head or b', "' in head


def _are_objects(lines: list[bytes]) -> bool:
    """Say whether each line begins and ends as an object does."""
    return set(map(_first, lines)) == _OPENS and set(map(_last, lines)) == _CLOSES


def _account_for(lines: bytes, events: list[dict[str, msgspec.Raw]]) -> bool:
    """Say whether these members make up all of the bytes, whatever their names."""
    names, values = chain.from_iterable(events), b"".join(chain.from_iterable(map(dict.values, events)))
    # Around each member there are two quotes, a colon and a comma.
    size = 2 * len(events) + 4 * sum(map(len, events)) + len("".join(names).encode()) + len(values)
    return size == len(lines)


def _cut_apart(array: bytes, encoded: bytes, count: int) -> bytes | None:
    """Put a newline in place of each comma between two elements; there is no white space around any."""
    parts = array[1:-1].split(b"},{")
    # All elements are objects: if there are no more such places than between elements, it is these.
    if len(parts) == count:
        return b"}\n{".join(parts) + b"\n"
    # Some stand within an event. Its elements are as long as their encodings.
    cut, end = bytearray(memoryview(array)[1:]), -1
    while (end := encoded.find(b"\n", end + 1)) >= 0:
        if cut[end] not in _BETWEEN:
            return None
        cut[end] = _NEWLINE
    lines = bytes(cut)
    return lines if _are_objects(whole_lines(lines)) else None
