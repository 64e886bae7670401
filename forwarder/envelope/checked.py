"""The result of the checks: events that may be stored, and lines that were refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from forwarder.envelope.fields import Fields
from forwarder.model import Segment, count_lines, nth_line

# A segment is larger than this only if it holds a single event that is. A batch reads whole segments,
# so this bounds the memory of a reader.
MAX_SEGMENT_BYTES = 512 * 1024

_fields = msgspec.json.Decoder(Fields)


@dataclass(frozen=True, slots=True)
class Checked:
    """Events that may be stored; `segments` holds each event once for every destination it matches."""

    events: int
    data: bytes
    """All events in order, one a line."""
    segments: list[Segment]
    routes: list[tuple[str, ...]] = field(repr=False)
    """The destinations of each event."""

    @classmethod
    def of(cls, data: bytes, routes: list[tuple[str, ...]]) -> Checked:
        """Cut events into segments, one set for each destination."""
        if len(routes) == 1 or len(set(routes)) == 1:
            routed = {name: (len(routes), data) for name in routes[0]}
        else:
            lines: dict[str, list[bytes]] = {}
            for line, names in zip(data.split(b"\n"), routes, strict=False):
                for name in names:
                    lines.setdefault(name, []).append(line)
            routed = {name: (len(chosen), b"\n".join([*chosen, b""])) for name, chosen in lines.items()}
        segments = [
            # The lines of a piece that is all of `chosen` are counted already. The stream reads no more than fits
            # into one piece, so it never counts twice.
            Segment(name, count if piece is chosen else count_lines(piece), piece)
            for name, (count, chosen) in routed.items()
            for piece in pieces(chosen, MAX_SEGMENT_BYTES)
        ]
        return cls(len(routes), data, segments, routes)

    def split(self) -> tuple[Checked, Checked]:
        """Return the first half of the events and the second; there must be at least two events."""
        half = self.events // 2
        cut = nth_line(self.data, half)
        return Checked.of(self.data[:cut], self.routes[:half]), Checked.of(self.data[cut:], self.routes[half:])

    def event_ids(self) -> list[str]:
        """Return the ids of the events, in order."""
        return [event.eventId or "" for event in _fields.decode_lines(self.data)]


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The part of an oversized text that is kept: its beginning, and a size and hash that identify the whole."""

    head: bytes
    size: int
    """Size of the whole text in bytes."""
    sha256: str
    """Hash of the whole text, in hexadecimal digits."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A line that was refused; `index` is its position, from 0, among the lines that were checked together."""

    index: int
    status: int
    detail: str
    line: bytes
    """The refused text as it was sent, except for white space around it and newlines within it."""
    excerpt: Excerpt | None = None
    """Stands in for a line that was too long to keep; `line` is then empty."""


def joined(events: Iterable[bytes | msgspec.Raw]) -> Iterable[bytes]:
    """Join events into lines, in pieces of about `MAX_SEGMENT_BYTES`."""
    if isinstance(events, list):
        return pieces(b"\n".join([*events, b""]), MAX_SEGMENT_BYTES)
    return _gathered(events)


def _gathered(events: Iterable[bytes | msgspec.Raw]) -> Iterator[bytes]:
    lines, size = list[bytes | msgspec.Raw](), 0
    for event in events:
        lines.append(event)
        size += len(event) + 1
        if size >= MAX_SEGMENT_BYTES:
            yield b"\n".join([*lines, b""])
            lines, size = [], 0
    if lines:
        yield b"\n".join([*lines, b""])


def pieces(data: bytes, limit: int) -> Iterable[bytes]:
    """Cut lines into pieces of at most `limit` bytes; a longer line is a piece of its own."""
    return (data,) if 0 < len(data) <= limit else _cut(data, limit)


def _cut(data: bytes, limit: int) -> Iterator[bytes]:
    start = 0
    while len(data) - start > limit:
        end = data.rfind(b"\n", start, start + limit) + 1 or data.index(b"\n", start) + 1
        yield data[start:end]
        start = end
    if start < len(data):
        yield data[start:]
