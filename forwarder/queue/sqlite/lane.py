"""The state of one destination: its account, what is held of it, and a bounded look ahead.

An account (`Ledger`) is copied before a transaction changes it and put in place after the commit,
so a transaction that fails leaves no trace. The look-ahead (`Lane`) knows the sizes of the next
segments without their data; it can be thrown away at any time and is read again from the file.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from forwarder.model import Batch
from forwarder.queue.base import Pending, Share
from forwarder.queue.sqlite.ranges import Ranges

# Segments that a lane looks ahead: enough for a batch of the largest size out of segments of one
# event each, and little memory.
LOOK_AHEAD = 4096
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
        """Whether this can be an account at all."""
        parts = (self.queued, self.delivered, self.dead, self.dropped)
        is_counted = min(*parts, self.purged) >= 0 and self.accepted == sum(parts)
        is_sum = 0 <= self.head <= self.tail < 1 << 48 and is_counted
        return is_sum and all(0 <= size < _MOST_BYTES for size in (self.bytes, self.dead_bytes))

    def takes(self, runs: Sequence[tuple[int, int]]) -> bool:
        """Mark runs of positions as settled; return False where they cannot be that."""
        for first, until in runs:
            is_typed = isinstance(first, int) and isinstance(until, int)
            if not is_typed or not self.head < first < until <= self.tail:
                return False
            self.settled.add(first, until)
        return True

    def row(self) -> tuple[int | str, ...]:
        """Return its row in the table `destination`."""
        return (
            *(self.id, self.name, self.head, self.tail, self.accepted, self.delivered, self.dead, self.dropped),
            *(self.bytes, self.dead_bytes, int(self.paused), self.purged),
        )

    def copy(self) -> Ledger:
        # Not `dataclasses.replace`: this is done for each commit.
        parts = (self.head, self.tail, self.accepted, self.delivered, self.dead, self.dropped)
        sizes = (self.bytes, self.dead_bytes)
        return Ledger(self.id, self.name, *parts, *sizes, self.paused, self.purged, self.settled.copy())

    def settle(self, first: int, until: int) -> tuple[int, int]:
        """Mark positions as settled; return the run of settled positions around them (0 for the start)."""
        if first <= self.head:
            self.head = max(self.head, until)
            for start, end in self.settled:
                if start > self.head:
                    break
                self.head = max(self.head, end)
            self.settled.remove(0, self.head)
            return 0, self.head
        return self.settled.add(first, until)


@dataclass(slots=True)
class Entry:
    """What is left of one segment and not held: `skip` events of its row come before `position`.

    `data` are its lines, where they are known without a look into the file.
    """

    row: int
    position: int
    skip: int
    events: int
    size: int
    accepted_at: float
    since: float
    data: bytes | None = None


class Lane:
    """One destination's ledger, holds and look-ahead."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.share = Share()
        self.held = Ranges()
        self.ahead: deque[Entry] = deque()
        self.ahead_events = 0
        self.ahead_bytes = 0
        self.kept_bytes = 0
        """Bytes of data that the look-ahead keeps."""
        self.next_position = ledger.head
        """Where the look-ahead ends: what lies behind is only in the file."""

    @property
    def is_complete(self) -> bool:
        return self.next_position >= self.ledger.tail

    def look_again(self) -> None:
        """Forget the look-ahead; it is read again from the file when it is needed."""
        self.ahead.clear()
        self.ahead_events = self.ahead_bytes = self.kept_bytes = 0
        self.next_position = self.ledger.head

    def let_go(self, batch: Batch) -> None:
        """Forget that the events of a batch are held."""
        for first, until in batch.runs:
            self.held.remove(first, until)

    def push(self, entry: Entry) -> None:
        self.ahead.append(entry)
        self._count(entry, 1)

    def push_back(self, entry: Entry) -> None:
        self.ahead.appendleft(entry)
        self._count(entry, 1)

    def pop(self, count: int) -> list[Entry]:
        """Take the first `count` entries off the look-ahead."""
        entries = [self.ahead.popleft() for _ in range(count)]
        self.ahead_events -= sum([entry.events for entry in entries])
        self.ahead_bytes -= sum([entry.size for entry in entries])
        self.kept_bytes -= sum([len(entry.data) for entry in entries if entry.data is not None])
        return entries

    def _count(self, entry: Entry, sign: int) -> None:
        self.ahead_events += sign * entry.events
        self.ahead_bytes += sign * entry.size
        if entry.data is not None:
            self.kept_bytes += sign * len(entry.data)

    def appended(self, entry: Entry) -> None:
        """Take note of a segment that was committed at the tail."""
        if self.next_position == entry.position and len(self.ahead) < LOOK_AHEAD:
            self.push(entry)
            self.next_position = entry.position + entry.events

    def see(self, row: int, events: int, size: int, accepted_at: float) -> None:
        """Take note of a segment read from the file, but for what of it is settled or held."""
        position = row - self.ledger.base
        until = position + events
        for first, end in self.ledger.settled.gaps(max(position, self.ledger.head), until):
            for start, stop in self.held.gaps(first, end):
                part = size * (stop - start) // events
                self.push(Entry(row, start, start - position, stop - start, part, accepted_at, float("-inf")))
        self.next_position = max(self.next_position, until)

    def waiting(self) -> int:
        """Return how many events wait and are not held."""
        return self.ledger.queued - len(self.held)

    def pending(self) -> Pending:
        behind = 0 if self.is_complete else max(0, self.waiting() - self.ahead_events)
        since = self.ahead[0].since if self.ahead else float("-inf")
        return Pending(self.ahead_events + behind, self.ahead_bytes + behind, since)
