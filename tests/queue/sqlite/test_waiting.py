"""What waits in the queue is dropped: by a purge, or to make room."""

from __future__ import annotations

from itertools import count

import pytest

from forwarder.model import Limits
from forwarder.queue.base import Share
from forwarder.queue.sqlite import views, waiting
from tests.queue.building import segment
from tests.queue.sqlite.stores import Desk, fill, left


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each row be accepted a second after the one before, from second 0 on."""
    seconds = count()
    monkeypatch.setattr("forwarder.queue.sqlite.store.time", lambda: float(next(seconds)))


class TestPurge:
    def test_drops_all_that_waits_in_bounded_steps(self) -> None:
        """However much waits, each step is bounded, and in the end nothing is left."""
        desk = fill(200)
        assert desk.write(lambda store: waiting.purge(store, "main", 2000)) < 2000
        assert desk.purge() > 0
        assert left(desk) == []
        counters = views.counters(desk.store, "main")
        assert (counters.dropped, counters.queued, counters.queued_bytes) == (2000, 0, 0)

    def test_spares_what_is_held(self) -> None:
        """Held events stay, in the middle of a row as well, and are handed out when they come back."""
        desk = fill(5)
        batches = [desk.take(Limits(7, 1 << 20)) for _ in range(4)]
        assert batches[0] is not None
        assert batches[2] is not None
        desk.release(batches[0])
        assert desk.purge() == 50 - 21
        desk.release(batches[2])
        assert left(desk) == list(range(14, 21))

    def test_one_destination_alone(self) -> None:
        """The queue of another destination is not touched."""
        desk = Desk(shares={"a": Share(), "b": Share()})
        desk.append(segment(0, 3, destination="a"), segment(0, 4, destination="b"))
        assert desk.purge("a") == 3
        assert views.counters(desk.store, "b").queued == 4

    def test_ends_where_it_was_told(self) -> None:
        """What was appended behind the position stays, also while steps are left to do."""
        desk = fill(200)
        while desk.write(lambda store: waiting.purge(store, "main", 2000)):
            desk.append(segment(5000, 10))
        assert set(left(desk)) == set(range(5000, 5010))
        assert views.counters(desk.store, "main").dropped == 2000


class TestDrop:
    def test_by_position(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """After the clock was set back the oldest go first all the same, not those that look old."""
        times = iter([100.0, 101.0, 1.0, 2.0])
        monkeypatch.setattr("forwarder.queue.sqlite.store.time", lambda: next(times))
        desk = fill(4)
        assert desk.write(lambda store: waiting.drop(store, ["main"], 1)) == 1
        assert left(desk) == list(range(10, 40))

    def test_the_oldest_of_all(self) -> None:
        """Of several destinations, the oldest segments go first, as many as are needed."""
        desk = Desk(shares={"a": Share(), "b": Share()})
        for first in range(0, 40, 10):
            desk.append(segment(first, 10, destination="a"))
            desk.append(segment(first, 10, destination="b"))
        size = len(segment(0, 10).data)
        assert desk.write(lambda store: waiting.drop(store, ["a", "b"], 3 * size)) == 3
        assert [views.counters(desk.store, name).dropped for name in "ab"] == [20, 10]

    def test_nothing_to_drop(self) -> None:
        """Where all is leased, nothing is dropped."""
        desk = fill(2)
        desk.take()
        assert desk.write(lambda store: waiting.drop(store, ["main"], 1)) == 0
