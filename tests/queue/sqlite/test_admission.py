"""Segments are let in as a whole or refused as a whole."""

from __future__ import annotations

import pytest

from forwarder.errors import QueueFullError, TooLargeError
from forwarder.model import Burial
from forwarder.queue.base import Share
from forwarder.queue.sqlite import admission, views
from forwarder.queue.sqlite.sizes import stored_bytes
from tests.queue.building import segment
from tests.queue.sqlite.stores import PLENTY, Desk, fill_up


def tallies(desk: Desk) -> dict[str, tuple[int, int, int]]:
    """Return what is accepted, queued and dropped of each destination."""
    found = {name: views.counters(desk.store, name) for name in desk.store.destinations}
    return {name: (one.accepted, one.queued, one.dropped) for name, one in found.items()}


class TestWhole:
    def test_full(self) -> None:
        """A full queue takes nothing more, keeps what it has, and stays within its size."""
        desk = Desk(max_bytes=2 << 20)
        accepted = fill_up(desk, "main")
        assert accepted > 1000
        assert tallies(desk) == {"main": (accepted, accepted, 0)}
        assert desk.store.live_bytes <= 2 << 20

    def test_space_comes_back(self) -> None:
        """When something has left, something else may come."""
        desk = Desk(max_bytes=2 << 20)
        accepted = fill_up(desk, "main")
        desk.purge()
        assert fill_up(desk, "main") == accepted

    def test_never_fits(self) -> None:
        """What is larger than the queue is refused for that, not for the moment."""
        desk = Desk(max_bytes=2 << 20, shares={"main": Share(drop_oldest=True)})
        desk.append(segment(0, 10))
        with pytest.raises(TooLargeError, match=r"queue\.max_bytes"):
            desk.append(segment(10, 1000, filler=3000))
        assert tallies(desk) == {"main": (10, 10, 0)}

    def test_requests_of_one_commit_share_the_room(self) -> None:
        """What was let in earlier in the same transaction counts, although it is not written yet."""
        desk = Desk(max_bytes=2 << 20)
        big = segment(0, 400, filler=1000)
        results = desk.store.transact([lambda store: admission.append(store, [big])] * 8)
        refused = [result for result in results if isinstance(result, QueueFullError)]
        assert 0 < len(refused) < 8
        assert tallies(desk)["main"][0] == 400 * (8 - len(refused))
        assert desk.store.live_bytes <= 2 << 20

    def test_full_of_what_is_in_hand(self) -> None:
        """A queue that drops is full once nothing is left to drop; given back, it is dropped."""
        desk = Desk(max_bytes=2 << 20, shares={"main": Share(drop_oldest=True)})
        held = []
        for first in range(0, 10_000, 10):
            try:
                desk.append(segment(first, 10, filler=1000))
            except QueueFullError:
                break
            held += [batch for batch in [desk.take(PLENTY)] if batch is not None]
        with pytest.raises(QueueFullError):
            desk.append(segment(first, 10, filler=1000))
        desk.release(held[0])
        desk.append(segment(first, 10, filler=1000))
        assert tallies(desk)["main"][2] > 0


class TestShares:
    def test_a_full_share_refuses_for_itself(self) -> None:
        """A destination over its share is refused by name; another one is not."""
        desk = Desk(shares={"a": Share(1 << 20), "b": Share()})
        fill_up(desk, "a")
        with pytest.raises(QueueFullError, match=r"destination a .*destinations\.a\.queue\.max_bytes"):
            desk.append(segment(0, 10, destination="a", filler=1000))
        desk.append(segment(0, 1000, destination="b", filler=1000))

    def test_all_or_nothing(self) -> None:
        """A request for two destinations of which one is full is stored for none."""
        desk = Desk(shares={"a": Share(1 << 20), "b": Share()})
        fill_up(desk, "a")
        before = tallies(desk)
        with pytest.raises(QueueFullError):
            desk.append(segment(0, 10, destination="b"), segment(0, 50, destination="a", filler=1000))
        assert tallies(desk) == before

    def test_a_refused_request_drops_nothing(self) -> None:
        """A request that one destination refuses does not push out the events of another, however often it comes."""
        desk = Desk(shares={"drops": Share(1 << 20, drop_oldest=True), "refuses": Share(1 << 20)})
        desk.append(segment(0, 900, destination="drops", filler=1000))
        fill_up(desk, "refuses")
        before = tallies(desk)
        for _ in range(20):
            with pytest.raises(QueueFullError):
                desk.append(
                    segment(0, 500, destination="drops", filler=1000),
                    segment(0, 100, destination="refuses", filler=1000),
                )
        assert tallies(desk) == before

    def test_never_fits_a_share(self) -> None:
        """What is larger than the share is refused for that, and costs no queued event."""
        desk = Desk(shares={"a": Share(1 << 20, drop_oldest=True)})
        desk.append(segment(0, 100, destination="a"))
        with pytest.raises(TooLargeError, match=r"destinations\.a\.queue\.max_bytes"):
            desk.append(segment(0, 1000, destination="a", filler=2000))
        assert tallies(desk) == {"a": (100, 100, 0)}

    def test_dead_letters_count(self) -> None:
        """A share covers the dead letters of a destination, too; they are never dropped for room."""
        desk = Desk(shares={"a": Share(1 << 20, drop_oldest=True)})
        desk.append(segment(0, 900, destination="a", filler=1000))
        batch = desk.take(name="a")
        assert batch is not None
        desk.settle(batch, Burial("rejected"))
        with pytest.raises(QueueFullError):
            desk.append(segment(0, 200, destination="a", filler=1000))
        counters = views.counters(desk.store, "a")
        assert (counters.dead, counters.dropped) == (900, 0)


class TestDropOldest:
    def test_the_newest_stay(self) -> None:
        """New events push out the oldest, no more than they need, and each is counted."""
        desk = Desk(shares={"a": Share(1 << 20, drop_oldest=True)})
        for first in range(0, 3000, 10):
            desk.append(segment(first, 10, destination="a", filler=1000))
        counters = views.counters(desk.store, "a")
        assert counters.accepted == 3000 == counters.queued + counters.dropped
        assert (1 << 20) - 3 * stored_bytes(12_000) < counters.queued_bytes <= 1 << 20

    def test_spares_who_refuses(self) -> None:
        """When the queue as a whole is full, only those that drop make room."""
        desk = Desk(max_bytes=2 << 20, shares={"drops": Share(drop_oldest=True), "refuses": Share()})
        desk.append(segment(0, 300, destination="refuses", filler=1000))
        for first in range(0, 3000, 10):
            desk.append(segment(first, 10, destination="drops", filler=1000))
        accepted = fill_up(desk, "refuses")
        found = tallies(desk)
        assert found["refuses"] == (300 + accepted, 300 + accepted, 0)
        assert found["drops"][2] > 0
