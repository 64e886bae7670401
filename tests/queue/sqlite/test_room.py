"""What only moves keeps within the room that there is, or is undone."""

from __future__ import annotations

import pytest

from forwarder.errors import QueueFullError
from forwarder.model import Burial, DeadFilter, Limits
from forwarder.queue.base import Share
from forwarder.queue.sqlite import admission, burying, views
from tests.queue.building import numbers, segment
from tests.queue.sqlite.stores import PLENTY, Desk, fill_up

pytestmark = pytest.mark.slow

EXPIRED = Burial("expired", 503, "busy" * 100)
MAX_BYTES = 4 << 20


def check(desk: Desk) -> None:
    """Accounts add up, and nothing takes more than it may."""
    for name in desk.store.destinations:
        found = views.counters(desk.store, name)
        assert found.accepted == found.queued + found.delivered + found.dead + found.dropped
        most = desk.store.destinations[name].share.max_bytes
        assert most is None or found.queued_bytes + found.dead_bytes <= most * 1.05 + 1
    assert desk.store.live_bytes <= desk.store.max_bytes * 1.05


class TestRoom:
    @pytest.mark.parametrize("filler", [0, 100, 3000, 9000])
    @pytest.mark.parametrize("together", [1, 10])
    def test_a_full_queue_expires(self, filler: int, together: int) -> None:
        """All of a full queue can die: its letters take no more of the disk than its events, but for a twentieth."""
        desk = Desk(max_bytes=MAX_BYTES)
        accepted = 0
        with pytest.raises(QueueFullError):
            while True:
                desk.append(segment(accepted, together, filler=filler))
                accepted += together
        assert desk.expire(4e9, EXPIRED) == accepted
        check(desk)
        assert desk.replay(DeadFilter()) == accepted
        check(desk)

    @pytest.mark.parametrize("filler", [0, 100, 3000])
    def test_a_full_share_expires(self, filler: int) -> None:
        """The same for a destination's share of the queue."""
        desk = Desk(max_bytes=64 << 20, shares={"a": Share(1 << 20)})
        accepted = fill_up(desk, "a", filler=filler)
        assert desk.expire(4e9, EXPIRED, "a") == accepted
        check(desk)
        with pytest.raises(QueueFullError):
            desk.append(segment(0, 400, destination="a", filler=1000))

    @pytest.mark.parametrize("shares", [{"main": Share()}, {"main": Share(2 << 20)}])
    def test_what_dies_alone(self, shares: dict[str, Share]) -> None:
        """Small events that die one by one need more room than they had: those for which there is none stay queued."""
        desk = Desk(max_bytes=MAX_BYTES, shares=shares)
        accepted, dead = fill_up(desk, "main", filler=0), 0
        with pytest.raises(QueueFullError):
            while (batch := desk.take(Limits(1, 1 << 20))) is not None:
                desk.settle(batch, Burial("rejected", 400, "x" * 500 + str(dead)))
                dead += 1
        assert batch is not None
        check(desk)
        assert views.counters(desk.store, "main").dead == dead > 10
        # It is still leased by who has taken it, and goes on once there is room.
        desk.release(batch)
        desk.purge_dead(DeadFilter())
        assert numbers(batch.data) == [dead]
        again = desk.take(PLENTY)
        assert again is not None
        assert numbers(again.data) == list(range(dead, accepted))
        desk.settle(again, EXPIRED)
        check(desk)

    def test_nothing_is_changed_by_what_has_no_room(self) -> None:
        """A burial that is undone leaves rows, accounts and its neighbours of the transaction as they were."""
        desk = Desk(max_bytes=64 << 20, shares={"main": Share(300_000), "b": Share()})
        desk.append(segment(0, 700, filler=200))
        batch = desk.take(Limits(600, 1 << 20))
        assert batch is not None
        desk.store.destinations["main"].share = Share(1000)
        before = views.counters(desk.store, "main")
        other = [segment(0, 5, destination="b")]
        results = desk.store.transact(
            [lambda store: burying.bury_batch(store, batch, EXPIRED), lambda store: admission.append(store, other)]
        )
        assert isinstance(results[0], QueueFullError)
        assert views.counters(desk.store, "main") == before
        assert views.counters(desk.store, "b").queued == 5
        assert desk.letters() == []

    def test_a_replay_has_its_bound_too(self) -> None:
        """Letters for which there is no room in the queue stay where they are."""
        desk = Desk(max_bytes=MAX_BYTES)
        accepted = fill_up(desk, "main", filler=1000)
        desk.expire(4e9, EXPIRED)
        for number in range(1, accepted, 3):
            desk.replay(DeadFilter(ids=(str(number),)))
            check(desk)
