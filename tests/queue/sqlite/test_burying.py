"""Events that die: kept together, within the room that there is, and accounted for."""

from __future__ import annotations

from functools import partial
from itertools import count

import pytest

from forwarder.errors import QueueFullError
from forwarder.model import Burial, DeadSegment, Limits
from forwarder.queue.base import Share
from forwarder.queue.sqlite import admission, burying, sizes, views
from tests.queue.building import segment
from tests.queue.sqlite.stores import Desk, fill, left

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
        monkeypatch.setattr(sizes, "ROW_BYTES", 10_000)
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
