"""What the queue shows of itself."""

from __future__ import annotations

from forwarder.model import Limits
from forwarder.queue.base import Share
from forwarder.queue.sqlite import views
from tests.queue.building import numbers, segment
from tests.queue.sqlite.stores import Desk


def all_lines(desk: Desk) -> list[int]:
    """Return the numbers of all queued events, read row by row."""
    position, found = 0, list[bytes]()
    while (step := views.lines_from(desk.store, "main", position)) is not None:
        found += step[0]
        position = step[1]
    return numbers(b"".join(line + b"\n" for line in found))


def test_lines_without_what_is_settled() -> None:
    """Held events are shown; settled ones are not, in the middle of a row as well."""
    desk = Desk()
    for first in range(0, 30, 10):
        desk.append(segment(first, 10))
    batches = [desk.take(Limits(4, 1 << 20)) for _ in range(5)]
    for nth in (0, 2, 3):
        batch = batches[nth]
        assert batch is not None
        desk.settle(batch)
    assert all_lines(desk) == [4, 5, 6, 7, *range(16, 30)]


def test_an_empty_queue() -> None:
    """Where nothing is queued, nothing is shown, and nothing has an age."""
    desk = Desk()
    assert views.lines_from(desk.store, "main", 0) is None
    assert views.counters(desk.store, "main").oldest_accepted_at is None


def test_stats_name_every_destination() -> None:
    """The state of the queue names all destinations, also those that are no longer configured."""
    desk = Desk(max_bytes=1 << 20, shares={"old": Share(), "main": Share()})
    desk.append(segment(0, 3, destination="old"))
    desk.write(lambda store: store.configure({"main": Share()}))
    stats = views.stats(desk.store)
    assert set(stats.destinations) == {"old", "main"}
    assert stats.destinations["old"].queued == 3
    assert stats.max_bytes == 1 << 20
    assert 0 < stats.bytes < stats.max_bytes
    assert not stats.full
