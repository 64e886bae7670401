"""Single events are cut out of the rows that wait, and nobody else notices."""

from __future__ import annotations

from functools import partial

import pytest

from forwarder.envelope import is_about
from forwarder.model import EventFilter, Limits
from forwarder.queue.sqlite import cutting, views
from tests.queue.sqlite.stores import Desk, lines, segment_of

SOURCES = ("app", "web", "api")
PEOPLE = 7


def event(number: int) -> bytes:
    source, person = SOURCES[number % 3], number % PEOPLE
    about = f'"eventObjectType":"user","eventObjectId":"{person}"'
    return f'{{"eventId":"{number}","eventSourceId":"{source}","eventType":"t",{about}}}'.encode()


def fill(count: int, each: int = 10) -> Desk:
    desk = Desk()
    for first in range(0, count, each):
        desk.append(segment_of(event(number) for number in range(first, first + each)))
    return desk


def purge(desk: Desk, wanted: EventFilter, until: int | None = None) -> int:
    total = position = 0
    until = desk.store.destinations["main"].ledger.tail if until is None else until
    while True:
        step = partial(cutting.purge_some, name="main", wanted=wanted, position=position, until=until)
        count: int
        count, position = desk.write(step)
        total += count
        if not position:
            return total


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


@pytest.mark.parametrize("each", [1, 10, 300])
@pytest.mark.parametrize(
    "wanted", [EventFilter("app"), EventFilter(None, ("user", "3")), EventFilter("web", ("user", "0"))]
)
def test_some(wanted: EventFilter, each: int) -> None:
    """Those that are wanted are gone from the rows themselves; all others are delivered in their order."""
    desk = fill(300, each)
    left = [number for number in range(300) if not is_about(event(number), wanted)]
    assert purge(desk, wanted) == 300 - len(left)
    data = b"".join(desk.column("SELECT data FROM segment ORDER BY id"))
    assert lines(data) == [event(number) for number in left]
    check(desk, [event(number) for number in left])


def test_twice_and_after_a_restart() -> None:
    """Cutting goes on where it was cut before, and a process that dies has lost nothing of the account."""
    desk = fill(300)
    purge(desk, EventFilter("app"))
    purge(desk, EventFilter("web"))
    # As a restart reads it.
    desk.store.destinations["main"].look_again()
    check(desk, [event(number) for number in range(300) if number % 3 == 2])


def test_held_and_settled() -> None:
    """What is on its way is left alone, and stays in its place when it comes back."""
    desk = fill(60, 20)
    leased = desk.take(Limits(25, 1 << 20))
    gone = desk.take(Limits(5, 1 << 20))
    assert leased is not None
    assert gone is not None
    desk.settle(gone)
    assert purge(desk, EventFilter("app")) == 10
    desk.release(leased)
    check(desk, [event(number) for number in range(60) if number < 25 or (number >= 30 and number % 3)])


def test_all_of_them() -> None:
    """Where nothing is left of any row, the queue is empty, and takes events again."""
    desk = fill(30)
    assert sum(purge(desk, EventFilter(source)) for source in SOURCES) == 30
    desk.append(segment_of([event(0)]))
    check(desk, [event(0)])


def test_until_a_position() -> None:
    """What was appended later stays."""
    desk = fill(30)
    assert purge(desk, EventFilter("app"), until=20) == 7
    assert views.counters(desk.store, "main").queued == 23


def test_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step looks at so many rows, or bytes, and says how far it came."""
    monkeypatch.setattr(cutting, "STEP_BYTES", 1)
    desk = fill(50)
    wanted = EventFilter("app")
    step = partial(cutting.purge_some, name="main", wanted=wanted, position=0, until=50)
    assert desk.write(step) == (4, 10)
    assert purge(desk, wanted) == 13


def test_a_damaged_row_stays() -> None:
    """What cannot be believed is not cut; it becomes dead letters when its turn comes."""
    desk = fill(30)
    [data] = desk.column("SELECT data FROM segment ORDER BY id LIMIT 1")
    desk.db.execute(
        "UPDATE segment SET data = ? WHERE id = (SELECT min(id) FROM segment)", (data.replace(b"app", b"axx"),)
    )
    desk.store.destinations["main"].look_again()
    assert purge(desk, EventFilter("app")) == 6
    check_dead = desk.take()
    assert check_dead is not None
    assert views.counters(desk.store, "main").dead == 10
