"""The account of one destination: what became of every event that was accepted for it.

Events are numbered in the order in which they were queued, and that number is their position. `head` is the first
position that is not settled and `tail` the next one to give out; what was settled out of order, beyond the head, is
remembered until the head reaches it. So how many are queued follows from the positions alone, and that an account adds
up can be checked in every committed state.

A ledger is copied before a transaction changes it, and the copy takes its place after the commit: a transaction that
fails leaves no trace.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any

from forwarder.queue.sqlite.ranges import Ranges

# No destination has so many events: their positions are a part of the row numbers.
_MOST = 1 << 48
# More bytes than any disk has: a damaged account must not run out of SQLite's numbers.
_MOST_BYTES = 1 << 60


@dataclass(slots=True)
class Ledger:
    """The account of one destination, as in the table `destination`."""

    id: int
    name: str
    head: int = 0
    tail: int = 0
    accepted: int = 0
    delivered: int = 0
    dead: int = 0
    dropped: int = 0
    bytes: int = 0
    dead_bytes: int = 0
    paused: bool = False
    purged: int = 0
    """Positions between head and tail that have no row any more, and are not settled yet."""
    died: int = 0
    """How many ever became dead letters: those that are dead now, and those that were replayed or purged since."""
    replayed: int = 0
    settled: Ranges = field(default_factory=Ranges)

    @property
    def queued(self) -> int:
        return self.tail - self.head - len(self.settled) - self.purged

    @property
    def base(self) -> int:
        """The row number of the segment at position 0."""
        return self.id << 48

    @property
    def is_typed(self) -> bool:
        """Whether every part is what it should be: SQLite does not look at the types of what it reads."""
        return isinstance(self.name, str) and all(isinstance(part, int) for part in self.row() if part is not self.name)

    @property
    def adds_up(self) -> bool:
        """Whether this can be an account at all: every event that was accepted is counted once."""
        parts = (self.queued, self.delivered, self.dead, self.dropped)
        is_counted = all(0 <= part < _MOST for part in (*parts, self.purged)) and self.accepted == sum(parts)
        is_sum = 0 <= self.head <= self.tail < _MOST and is_counted
        have_died = 0 <= self.replayed <= self.died - self.dead < _MOST
        return is_sum and have_died and all(0 <= size < _MOST_BYTES for size in (self.bytes, self.dead_bytes))

    def takes(self, runs: Sequence[tuple[int, int]]) -> bool:
        """Mark runs of positions as settled; return False where they cannot be that."""
        for first, until in runs:
            is_typed = isinstance(first, int) and isinstance(until, int)
            if not is_typed or not self.head < first < until <= self.tail:
                return False
            self.settled.add(first, until)
        return True

    def row(self) -> tuple[Any, ...]:
        """Return its row in the table `destination`."""
        return _row(self)

    def copy(self) -> Ledger:
        # Not `dataclasses.replace`: this is done for each commit.
        parts = (*self.row(), self.settled.copy())
        return Ledger(*parts)

    def save(self, db: sqlite3.Connection) -> None:
        """Write its row; what is settled beyond the head is written by `save_settled`."""
        db.execute(_UPDATE, _changing(self))

    def save_settled(self, db: sqlite3.Connection) -> None:
        """Write what is settled beyond the head."""
        db.execute("DELETE FROM settled WHERE destination = ?", (self.id,))
        db.executemany("INSERT INTO settled VALUES (?, ?, ?)", [(self.id, *run) for run in self.settled])

    def remaining(self, first: int, until: int, taken: Ranges) -> Iterator[tuple[int, int]]:
        """Yield the runs of these positions that are neither settled nor `taken`."""
        for start, end in self.settled.gaps(max(first, self.head), until):
            yield from taken.gaps(start, end)

    def settle(self, first: int, until: int) -> tuple[int, int]:
        """Mark positions as settled; return the run of settled positions around them (0 for the start)."""
        if first <= self.head:
            # The head moves on, through whatever was settled beyond it before.
            self.head = max(self.head, until)
            for start, end in self.settled:
                if start > self.head:
                    break
                self.head = max(self.head, end)
            self.settled.remove(0, self.head)
            return 0, self.head
        return self.settled.add(first, until)


# The columns of the table `destination`, in the order of the fields.
_NAMES = [part.name for part in fields(Ledger) if part.name != "settled"]
_row: Callable[[Ledger], tuple[Any, ...]] = attrgetter(*_NAMES)
COLUMNS = ", ".join(_NAMES)
# All but its number, by which it is found, and its name.
_changing = attrgetter(*_NAMES[2:], "id")
_UPDATE = f"UPDATE destination SET {', '.join(f'{name} = ?' for name in _NAMES[2:])} WHERE id = ?"  # noqa: S608
