"""A destination's account and its look-ahead."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from forwarder.queue.base import Pending
from forwarder.queue.sqlite.lane import LOOK_AHEAD, Entry, Lane, Ledger


class TestLedger:
    @given(st.permutations(range(12)), st.integers(1, 5))
    def test_settled_in_any_order(self, order: list[int], size: int) -> None:
        """Settled in any order, the head is the first position that is not settled, and no event counts twice."""
        ledger, settled = Ledger(1, "main", tail=12 * size), set[int]()
        for part in order:
            first, until = part * size, part * size + size
            settled |= set(range(first, until))
            start, end = ledger.settle(first, until)
            assert start <= first
            assert until <= end
            assert ledger.queued == ledger.tail - len(settled)
            head = next((position for position in range(ledger.tail) if position not in settled), ledger.tail)
            assert ledger.head == head
        assert not ledger.settled
        assert ledger.queued == 0

    def test_a_copy_is_its_own(self) -> None:
        """What a transaction does to its copy is not seen before the commit."""
        ledger = Ledger(1, "main", tail=10)
        copy = ledger.copy()
        copy.settle(4, 6)
        copy.delivered += 2
        assert (ledger.queued, ledger.delivered, len(ledger.settled)) == (10, 0, 0)

    def test_destinations_have_rows_of_their_own(self) -> None:
        """The row numbers of two destinations cannot meet within two hundred billion events."""
        assert Ledger(2, "b").base - Ledger(1, "a").base > 2e11


class TestLane:
    def lane(self, tail: int) -> Lane:
        return Lane(Ledger(1, "main", tail=tail))

    def test_knows_what_was_appended(self) -> None:
        """What is appended at the tail is known without reading it, with the time at which the first of it came."""
        lane = self.lane(0)
        for position in range(0, 30, 10):
            lane.ledger.tail += 10
            lane.appended(Entry(lane.ledger.base + position, position, 0, 10, 500, 1000.0, 50.0 + position))
        assert lane.is_complete
        assert lane.pending() == Pending(30, 1500, 50.0)

    def test_looks_only_so_far_ahead(self) -> None:
        """A deep queue costs no memory: what lies behind the look-ahead is only counted."""
        lane = self.lane(0)
        for position in range(LOOK_AHEAD + 1000):
            lane.ledger.tail += 1
            lane.appended(Entry(lane.ledger.base + position, position, 0, 1, 100, 1000.0, 50.0))
        assert len(lane.ahead) == LOOK_AHEAD
        assert not lane.is_complete
        assert lane.pending() == Pending(LOOK_AHEAD + 1000, LOOK_AHEAD * 100 + 1000, 50.0)

    def test_sees_what_is_neither_settled_nor_held(self) -> None:
        """Of a segment that is read from the file, settled and held events are left out."""
        lane = self.lane(20)
        lane.ledger.settle(0, 3)
        lane.ledger.settle(5, 6)
        lane.held.add(8, 12)
        lane.see(lane.ledger.base, 10, 1000, 1000.0)
        lane.see(lane.ledger.base + 10, 10, 500, 1001.0)
        entries = [(entry.position, entry.skip, entry.events, entry.size) for entry in lane.ahead]
        assert entries == [(3, 3, 2, 200), (6, 6, 2, 200), (12, 2, 8, 400)]
        assert lane.pending() == Pending(12, 800, -math.inf)
        assert lane.waiting() == 12

    def test_what_was_put_back_comes_first(self) -> None:
        """An entry that was put back is the next to be taken, and the sums follow."""
        lane = self.lane(20)
        lane.see(lane.ledger.base, 10, 1000, 1000.0)
        lane.see(lane.ledger.base + 10, 10, 500, 1001.0)
        [first] = lane.pop(1)
        assert lane.pending() == Pending(10, 500, -math.inf)
        lane.push_back(first)
        assert lane.pop(1) == [first]

    def test_looks_again(self) -> None:
        """A look-ahead that was thrown away counts everything from the head on as not read."""
        lane = self.lane(10)
        lane.see(lane.ledger.base, 10, 1000, 1000.0)
        lane.held.add(0, 4)
        lane.look_again()
        assert lane.pending() == Pending(6, 6, -math.inf)
        assert not lane.is_complete
