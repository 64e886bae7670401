"""What is known of a destination: its leases and its look-ahead."""

from __future__ import annotations

import math

from forwarder.queue.base import Pending
from forwarder.queue.sqlite.ledger import Ledger
from forwarder.queue.sqlite.state import LOOK_AHEAD, DestinationState, Entry, SegmentRow


def state_of(tail: int) -> DestinationState:
    return DestinationState(Ledger(1, "main", tail=tail))


def test_knows_what_was_appended() -> None:
    """What is appended at the tail is known without reading it, with the time at which the first of it came."""
    state = state_of(0)
    for position in range(0, 30, 10):
        state.ledger.tail += 10
        state.appended(Entry(state.ledger.base + position, position, 0, 10, 500, 1000.0, 50.0 + position))
    assert state.is_complete
    assert state.pending() == Pending(30, 1500, 50.0)


def test_looks_only_so_far_ahead() -> None:
    """A deep queue costs no memory: what lies behind the look-ahead is only counted."""
    state = state_of(0)
    for position in range(LOOK_AHEAD + 1000):
        state.ledger.tail += 1
        state.appended(Entry(state.ledger.base + position, position, 0, 1, 100, 1000.0, 50.0))
    assert len(state.ahead) == LOOK_AHEAD
    assert not state.is_complete
    assert state.pending() == Pending(LOOK_AHEAD + 1000, LOOK_AHEAD * 100 + 1000, 50.0)


def test_sees_what_is_neither_settled_nor_leased() -> None:
    """Of a segment that is read from the file, settled and leased events are left out."""
    state = state_of(20)
    state.ledger.settle(0, 3)
    state.ledger.settle(5, 6)
    state.leased.add(8, 12)
    state.see(SegmentRow(state.ledger.base, 10, 1000, 1000.0))
    state.see(SegmentRow(state.ledger.base + 10, 10, 500, 1001.0))
    entries = [(entry.position, entry.skip, entry.events, entry.size) for entry in state.ahead]
    assert entries == [(3, 3, 2, 200), (6, 6, 2, 200), (12, 2, 8, 400)]
    assert state.pending() == Pending(12, 800, -math.inf)
    assert state.waiting() == 12


def test_what_was_put_back_comes_first() -> None:
    """An entry that was put back is the next to be taken, and the sums follow."""
    state = state_of(20)
    state.see(SegmentRow(state.ledger.base, 10, 1000, 1000.0))
    state.see(SegmentRow(state.ledger.base + 10, 10, 500, 1001.0))
    [first] = state.pop(1)
    assert state.pending() == Pending(10, 500, -math.inf)
    state.push_back(first)
    assert state.pop(1) == [first]


def test_looks_again() -> None:
    """A look-ahead that was thrown away counts everything from the head on as not read."""
    state = state_of(10)
    state.see(SegmentRow(state.ledger.base, 10, 1000, 1000.0))
    state.leased.add(0, 4)
    state.look_again()
    assert state.pending() == Pending(6, 6, -math.inf)
    assert not state.is_complete
