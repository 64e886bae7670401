"""What waits in the queue is dropped: by a purge, or to make room."""

from __future__ import annotations

from functools import partial
from itertools import count

import pytest

from forwarder.envelope import is_about
from forwarder.model import EVERY_EVENT, EventFilter, Limits
from forwarder.queue.base import Share
from forwarder.queue.sqlite import views, waiting
from forwarder.queue.sqlite.store import Store
from tests.queue.building import segment
from tests.queue.sqlite.stores import Desk, fill, left, lines, segment_of


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each row be accepted a second after the one before, from second 0 on."""
    seconds = count()
    monkeypatch.setattr("forwarder.queue.sqlite.store.time", lambda: float(next(seconds)))


SOURCES = ("app", "web", "api")
PEOPLE = 7


def event(number: int) -> bytes:
    source, person = SOURCES[number % 3], number % PEOPLE
    about = f'"eventObjectType":"user","eventObjectId":"{person}"'
    return f'{{"eventId":"{number}","eventSourceId":"{source}","eventType":"t",{about}}}'.encode()


def sources(count: int, each: int = 10) -> Desk:
    desk = Desk()
    for first in range(0, count, each):
        desk.append(segment_of(event(number) for number in range(first, first + each)))
    return desk


def check(desk: Desk, expected: list[bytes]) -> None:
    """What waits is this, in order; the account adds up, in the file as well, and nothing is called lost."""
    found = views.counters(desk.store, "main")
    assert found.accepted == found.queued + found.delivered + found.dead + found.dropped
    assert found.queued == len(expected)
    shown, position = list[bytes](), 0
    while (step := views.lines_from(desk.store, "main", position)) is not None:
        shown += step[0]
        position = step[1]
    assert shown == expected
    taken = list[bytes]()
    while (batch := desk.take(Limits(7, 1 << 20))) is not None:
        taken += lines(batch.data)
        desk.settle(batch)
    assert taken == expected
    after = views.counters(desk.store, "main")
    assert (after.queued, after.queued_bytes, after.dropped) == (0, 0, found.dropped)
    assert desk.store.destinations["main"].ledger.purged == 0
    assert desk.column("SELECT count(*) FROM segment") == [0]


class TestPurge:
    def test_drops_all_that_waits_in_bounded_steps(self) -> None:
        """However much waits, each step is bounded, and in the end nothing is left."""
        desk = fill(200)
        step = partial(waiting.purge, name="main", wanted=EVERY_EVENT, after=0, until=2000)
        assert desk.write(step)[0] < 2000
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
        while desk.write(partial(waiting.purge, name="main", wanted=EVERY_EVENT, after=0, until=2000))[0]:
            desk.append(segment(5000, 10))
        assert set(left(desk)) == set(range(5000, 5010))
        assert views.counters(desk.store, "main").dropped == 2000


@pytest.mark.parametrize("wanted", [EVERY_EVENT, EventFilter("app"), EventFilter("nobody")])
@pytest.mark.parametrize(("rows", "most"), [(0, 1), (3, 1), (waiting.STEP_ROWS, 2), (waiting.STEP_ROWS + 3, 2)])
def test_a_purge_ends_with_its_last_row(wanted: EventFilter, rows: int, most: int) -> None:
    """No step, which is a commit, is made behind the last row."""
    desk, steps = sources(10 * rows), 0

    def step(store: Store, after: int) -> tuple[int, int]:
        nonlocal steps
        steps += 1
        return waiting.purge(store, "main", wanted, after, 10 * rows)

    desk.repeat(step)
    assert steps <= most


class TestPurgeOfSome:
    @pytest.mark.parametrize("each", [1, 10, 300])
    @pytest.mark.parametrize(
        "wanted", [EventFilter("app"), EventFilter(None, ("user", "3")), EventFilter("web", ("user", "0"))]
    )
    def test_some(self, wanted: EventFilter, each: int) -> None:
        """Those that are wanted are gone from the rows themselves; all others are delivered in their order."""
        desk = sources(300, each)
        left = [number for number in range(300) if not is_about(event(number), wanted)]
        assert desk.purge(wanted=wanted) == 300 - len(left)
        data = b"".join(desk.column("SELECT data FROM segment ORDER BY id"))
        assert lines(data) == [event(number) for number in left]
        check(desk, [event(number) for number in left])

    def test_twice_and_after_a_restart(self) -> None:
        """Cutting goes on where it was cut before, and a process that dies has lost nothing of the account."""
        desk = sources(300)
        desk.purge(wanted=EventFilter("app"))
        desk.purge(wanted=EventFilter("web"))
        # As a restart reads it.
        desk.store.destinations["main"].look_again()
        check(desk, [event(number) for number in range(300) if number % 3 == 2])

    def test_held_and_settled(self) -> None:
        """What is on its way is left alone, and stays in its place when it comes back."""
        desk = sources(60, 20)
        leased = desk.take(Limits(25, 1 << 20))
        gone = desk.take(Limits(5, 1 << 20))
        assert leased is not None
        assert gone is not None
        desk.settle(gone)
        assert desk.purge(wanted=EventFilter("app")) == 10
        desk.release(leased)
        check(desk, [event(number) for number in range(60) if number < 25 or (number >= 30 and number % 3)])

    def test_all_of_them(self) -> None:
        """Where nothing is left of any row, the queue is empty, and takes events again."""
        desk = sources(30)
        assert sum(desk.purge(wanted=EventFilter(source)) for source in SOURCES) == 30
        desk.append(segment_of([event(0)]))
        check(desk, [event(0)])

    def test_until_a_position(self) -> None:
        """What was appended later stays."""
        desk = sources(30)
        assert desk.purge(wanted=EventFilter("app"), until=20) == 7
        assert views.counters(desk.store, "main").queued == 23

    def test_in_steps(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A step looks at so many rows, or bytes, and says how far it came."""
        monkeypatch.setattr(waiting, "STEP_BYTES", 1)
        desk = sources(50)
        wanted = EventFilter("app")
        step = partial(waiting.purge, name="main", wanted=wanted, after=0, until=50)
        assert desk.write(step) == (4, 10)
        assert desk.purge(wanted=wanted) == 13

    def test_a_damaged_row_stays(self) -> None:
        """What cannot be believed is not cut; it becomes dead letters when its turn comes."""
        desk = sources(30)
        [data] = desk.column("SELECT data FROM segment ORDER BY id LIMIT 1")
        desk.db.execute(
            "UPDATE segment SET data = ? WHERE id = (SELECT min(id) FROM segment)", (data.replace(b"app", b"axx"),)
        )
        desk.store.destinations["main"].look_again()
        assert desk.purge(wanted=EventFilter("app")) == 6
        check_dead = desk.take()
        assert check_dead is not None
        assert views.counters(desk.store, "main").dead == 10


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
