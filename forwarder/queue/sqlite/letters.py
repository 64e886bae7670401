"""A dead segment: events that died together, as one row, with one reason and one answer.

Letters are numbered in the order in which they died, and a number is never given twice. The row's
own number is that of its last letter, so SQLite's `AUTOINCREMENT` keeps the count, and the row of a
letter is the first one from its number on. `parts` says which numbers the lines have, and when they
were accepted. Letters that leave are cut out of the row; the others keep their numbers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, NamedTuple

import msgspec

from forwarder.model import Burial, whole_lines
from forwarder.queue.sqlite.checksum import checksum
from forwarder.queue.sqlite.sizes import stored_bytes

COLUMNS = "id, destination, events, reason, status, detail, died_at, parts, checksum, data"
INSERT = f"INSERT INTO dead_segment ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - a constant
# What the columns of a row take beside its texts, as bytes on disk.
_ROW_BYTES = 48


class Part(NamedTuple):
    """Letters with consecutive numbers that were accepted at the same time (seconds since the epoch)."""

    first: int
    events: int
    accepted_at: float


class Letter(NamedTuple):
    """One event that died: its number, when it was accepted, and its text."""

    number: int
    accepted_at: float
    event: bytes


_parts = msgspec.json.Decoder(list[Part])


@dataclass(slots=True)
class DeadRow:
    """A row of `dead_segment`; `data` has a line for each letter. Unless it `is_whole`, the file is damaged here."""

    id: int
    destination: int
    burial: Burial
    died_at: float
    parts: list[Part]
    data: bytes
    is_whole: bool = True
    said: int | None = None
    """How many letters a damaged row says that it has."""

    @property
    def events(self) -> int:
        return sum(part.events for part in self.parts)

    @property
    def counted(self) -> int:
        """How many letters the account has of it."""
        return self.events if self.said is None else self.said

    @property
    def disk_bytes(self) -> int:
        """About how many bytes of disk it takes."""
        return dead_bytes(len(self.data), self.burial, len(msgspec.json.encode(self.parts)))

    def letters(self) -> Iterator[Letter]:
        """Yield its letters, in order."""
        lines = iter(whole_lines(self.data))
        for part in self.parts:
            for number in range(part.first, part.first + part.events):
                yield Letter(number, part.accepted_at, next(lines).removesuffix(b"\n"))

    def without(self, gone: Collection[int]) -> DeadRow | None:
        """Return what is left without these letters; None where nothing is."""
        left = [letter for letter in self.letters() if letter.number not in gone]
        if not left:
            return None
        parts = _joined([(letter.number, letter.accepted_at) for letter in left])
        data = b"".join(letter.event + b"\n" for letter in left)
        return DeadRow(self.id, self.destination, self.burial, self.died_at, parts, data, self.is_whole)

    def values(self) -> tuple[Any, ...]:
        """Return the columns of the row. A row that was damaged stays known as one."""
        parts, burial = msgspec.json.encode(self.parts), self.burial
        found = checksum(self.id, self.events, parts + self.data) ^ (not self.is_whole)
        return (
            *(self.id, self.destination, self.events, burial.reason, burial.status, burial.detail, self.died_at),
            *(parts.decode(), found, self.data),
        )


def dead_bytes(size: int, burial: Burial, parts: int = 32) -> int:
    """Return about how many bytes of disk letters of `size` bytes take."""
    return stored_bytes(size + len(burial.reason) + len(burial.detail.encode(errors="replace")) + parts + _ROW_BYTES)


def new_row(
    last: int, destination: int, burial: Burial, died_at: float, times: Sequence[float], data: bytes
) -> DeadRow:
    """Return the row of letters that are numbered up to `last`; `times` says when each was accepted."""
    first = last - len(times) + 1
    return DeadRow(last, destination, burial, died_at, _joined(enumerate(times, first)), data)


def read_row(values: Sequence[Any]) -> DeadRow | None:
    """Return the row of these columns, as far as a damaged one tells; None for what can be no such row."""
    number, destination, events, reason, status, detail, died_at, text, expected, data = values
    if not (isinstance(number, int) and isinstance(data, bytes) and isinstance(destination, int)):
        return None
    burial = Burial(
        reason if isinstance(reason, str) else "damaged",
        status if isinstance(status, int) else None,
        detail if isinstance(detail, str) else "",
    )
    died_at = _time(died_at)
    raw = text.encode(errors="replace") if isinstance(text, str) else b""
    if isinstance(events, int) and checksum(number, events, raw + data) == expected:
        return DeadRow(number, destination, burial, died_at, _parts.decode(raw), data)
    lines, parts = whole_lines(data.removesuffix(b"\n") + b"\n"), _read_parts(raw, number)
    said, numbered = (
        events if isinstance(events, int) and events > 0 else len(lines),
        sum(part.events for part in parts),
    )
    if numbered != len(lines):
        # Two of three are believed, or else the lines; the last one is the rest.
        count = said if said in {numbered, len(lines)} or said < len(lines) else min(len(lines), number)
        if numbered != count:
            parts = [Part(number - count + 1, count, parts[0].accepted_at if parts else 0.0)]
        lines[count - 1 :] = [b" ".join(line.removesuffix(b"\n") for line in lines[count - 1 :]) + b"\n"]
        lines += [b"\n"] * (count - len(lines))
    return DeadRow(number, destination, burial, died_at, parts, b"".join(lines), is_whole=False, said=said)


def _read_parts(text: bytes, last: int) -> list[Part]:
    """Return the parts that a damaged row has; none where they cannot be true."""
    try:
        parts = _parts.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return []
    end = 0
    for part in parts:
        if part.first < end or part.events <= 0:
            return []
        end = part.first + part.events
    return parts if end <= last + 1 else []


def _time(value: object) -> float:
    """Return a time, which a damaged file may say is anything."""
    return float(value) if isinstance(value, int | float) and isfinite(value) else 0.0


def _joined(letters: Iterable[tuple[int, float]]) -> list[Part]:
    """Return numbers, each with a time of acceptance, as few parts."""
    parts = list[Part]()
    for number, accepted_at in letters:
        last = parts[-1] if parts else None
        if last is not None and number == last.first + last.events and _time(accepted_at) == last.accepted_at:
            parts[-1] = last._replace(events=last.events + 1)
        else:
            parts.append(Part(number, 1, _time(accepted_at)))
    return parts
