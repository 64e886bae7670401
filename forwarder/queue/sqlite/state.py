"""The state of one destination: its ledger, what of it is leased, and a bounded look ahead.

The look-ahead is what makes a batch cheap. It knows the sizes of the next segments without their data, so the rows of a
batch are known before any of them is read, and exactly those are read. It holds nothing that is not in the file: it can
be forgotten at any time, and is then read again. What was appended a moment ago is in it with its data, since it will
most likely be delivered next.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from forwarder.model import Batch
from forwarder.queue.base import Pending, Share
from forwarder.queue.sqlite.ledger import Ledger
from forwarder.queue.sqlite.ranges import Ranges

# Segments that are looked ahead: enough for a batch of the largest size out of segments of one event each, and little
# memory.
LOOK_AHEAD = 4096


class SegmentRow(NamedTuple):
    """A row of the table `segment` without its data: its number, and the time of acceptance in seconds of the epoch."""

    id: int
    events: int
    size: int
    accepted_at: float

    @property
    def until(self) -> int:
        """The number that the row behind it has at least."""
        return self.id + self.events


@dataclass(slots=True)
class Entry:
    """What is left of one segment and not leased: `skip` events of its row come before `position`.

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


class DestinationState:
    """One destination's ledger, leases and look-ahead."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.share = Share()
        self.leased = Ranges()
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

    def end_lease(self, batch: Batch) -> None:
        """Forget that the events of a batch are leased."""
        for first, until in batch.runs:
            self.leased.remove(first, until)

    def push(self, entry: Entry) -> None:
        self.ahead.append(entry)
        self._count(entry)

    def push_back(self, entry: Entry) -> None:
        self.ahead.appendleft(entry)
        self._count(entry)

    def pop(self, count: int) -> list[Entry]:
        """Take the first `count` entries off the look-ahead."""
        entries = [self.ahead.popleft() for _ in range(count)]
        self.ahead_events -= sum([entry.events for entry in entries])
        self.ahead_bytes -= sum([entry.size for entry in entries])
        self.kept_bytes -= sum([len(entry.data or b"") for entry in entries])
        return entries

    def _count(self, entry: Entry) -> None:
        self.ahead_events += entry.events
        self.ahead_bytes += entry.size
        self.kept_bytes += len(entry.data or b"")

    def appended(self, entry: Entry) -> None:
        """Take note of a segment that was committed at the tail."""
        if self.next_position == entry.position and len(self.ahead) < LOOK_AHEAD:
            self.push(entry)
            self.next_position = entry.position + entry.events

    def see(self, row: SegmentRow) -> None:
        """Take note of a segment read from the file, except for what of it is settled or leased."""
        position = row.id - self.ledger.base
        until = position + row.events
        for start, stop in self.ledger.remaining(position, until, self.leased):
            # How large each line is cannot be known without reading them, so each counts as the average.
            part = row.size * (stop - start) // row.events
            entry = Entry(row.id, start, start - position, stop - start, part, row.accepted_at, float("-inf"))
            self.push(entry)
        self.next_position = max(self.next_position, until)

    def waiting(self) -> int:
        """Return how many events wait and are not leased."""
        return self.ledger.queued - len(self.leased)

    def pending(self) -> Pending:
        """Return what waits; events beyond the look-ahead count as a byte each, the least that they can have."""
        behind = 0 if self.is_complete else max(0, self.waiting() - self.ahead_events)
        since = self.ahead[0].since if self.ahead else float("-inf")
        return Pending(self.ahead_events + behind, self.ahead_bytes + behind, since)
