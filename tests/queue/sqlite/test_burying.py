"""Events that die: kept together, within the room that there is, and accounted for."""

from __future__ import annotations

from functools import partial
from itertools import count

import pytest

from forwarder.errors import QueueFullError
from forwarder.model import Burial, DeadFilter, DeadSegment, Limits
from forwarder.queue.base import Share
from forwarder.queue.sqlite import admission, burying, views
from tests.queue.building import numbers, segment
from tests.queue.sqlite.stores import PLENTY, Desk, fill, fill_up, left

EXPIRED = Burial("expired", 503, "busy" * 100)
INVALID = Burial("invalid", None, "eventType: is required")
MAX_BYTES = 4 << 20


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each row be accepted a second after the one before, from second 0 on."""
    seconds = count()
    monkeypatch.setattr("forwarder.queue.sqlite.store.time", lambda: float(next(seconds)))


def check(desk: Desk) -> None:
    """Accounts add up, and nothing takes more than it may."""
    for name in desk.store.destinations:
        found = views.counters(desk.store, name)
        assert found.accepted == found.queued + found.delivered + found.dead + found.dropped
        most = desk.store.destinations[name].share.max_bytes
        assert most is None or found.queued_bytes + found.dead_bytes <= most * 1.05 + 1
    assert desk.store.live_bytes <= desk.store.max_bytes * 1.05


@pytest.mark.usefixtures("clock")
class TestExpire:
    def test_only_the_old(self) -> None:
        """What was accepted before the time dies together, with its reason; the rest stays in order."""
        desk = fill(10)
        assert desk.expire(4.0, EXPIRED) == 40
        assert left(desk) == list(range(40, 100))
        assert desk.column("SELECT reason || status || detail FROM dead_segment") == ["expired503" + "busy" * 100]
        assert [letter.accepted_at for letter in desk.letters()][::10] == [0.0, 1.0, 2.0, 3.0]

    def test_spares_what_is_held(self) -> None:
        """Held events do not expire, those around them do."""
        desk = fill(3)
        batches = [desk.take(Limits(4, 1 << 20)) for _ in range(3)]
        assert batches[1] is not None
        desk.release(batches[1])
        assert desk.expire(2.0, EXPIRED) == 12
        assert left(desk) == list(range(20, 30))

    def test_a_step_is_bounded_by_size(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A step reads no more than so many bytes of events, but at least one row."""
        monkeypatch.setattr(burying, "STEP_BYTES", 30_000)
        monkeypatch.setattr(burying, "ROW_BYTES", 10_000)
        desk = fill(20, filler=1000)
        assert desk.write(lambda store: burying.expire(store, "main", 100.0, EXPIRED)) == 30
        assert desk.expire(100.0, EXPIRED) == 170

    @pytest.mark.parametrize("data", [b"", b"one\n", b"\n" * 50])
    def test_a_damaged_row_is_accounted_for(self, data: bytes) -> None:
        """A row whose lines cannot be told apart expires as as many events as it had."""
        desk = fill(3)
        desk.db.execute("UPDATE segment SET data = ? WHERE id = (SELECT min(id) FROM segment)", (data,))
        assert desk.expire(100.0, EXPIRED) == 30
        counters = views.counters(desk.store, "main")
        assert (counters.accepted, counters.dead, counters.queued) == (30, 30, 0)


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


class TestAccepted:
    def test_dead_on_arrival(self) -> None:
        """What dies as it is accepted counts as accepted and dead; no destination needs to be delivered to."""
        desk = Desk(shares={"main": Share(), "invalid": Share(1 << 20, setting="ingest.invalid_max_bytes")})
        died = DeadSegment("invalid", 2, b"{no\nnope\n", INVALID)
        desk.write(lambda store: admission.append(store, [segment(0, 3)], [died]))
        found = views.counters(desk.store, "invalid")
        assert (found.accepted, found.dead, found.queued) == (2, 2, 0)
        assert [(letter.event, letter.detail) for letter in desk.letters()] == [
            (b"{no", INVALID.detail),
            (b"nope", INVALID.detail),
        ]
        assert views.counters(desk.store, "main").queued == 3

    def test_all_or_none(self) -> None:
        """A share that is full refuses the whole request, by the name of its setting."""
        desk = Desk(shares={"main": Share(), "invalid": Share(20_000, setting="ingest.invalid_max_bytes")})
        died = DeadSegment("invalid", 10, b"{no\n" * 10, INVALID)
        accepted = 0
        with pytest.raises(QueueFullError, match=r"ingest\.invalid_max_bytes"):
            while True:
                desk.write(partial(admission.append, segments=[segment(accepted)], dead=[died]))
                accepted += 1
        assert accepted > 50
        assert views.counters(desk.store, "main").accepted == accepted
        assert views.counters(desk.store, "invalid").dead == 10 * accepted
        check(desk)

    def test_requests_of_one_commit_share_the_room(self) -> None:
        """What died earlier in the same transaction counts."""
        desk = Desk(max_bytes=2 << 20)
        died = DeadSegment("main", 1, b"x" * 400_000 + b"\n", INVALID)
        results = desk.store.transact([lambda store: admission.append(store, [], [died])] * 8)
        assert 0 < len([result for result in results if isinstance(result, QueueFullError)]) < 8
        check(desk)
