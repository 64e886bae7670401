"""What the queue shows of itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from forwarder.errors import QueueFullError
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


def test_stats_name_every_destination(tmp_path: Path) -> None:
    """The state of the queue names all destinations, also those that are no longer configured."""
    desk = Desk(max_bytes=1 << 20, shares={"old": Share(), "main": Share()})
    desk.append(segment(0, 3, destination="old"))
    desk.write(lambda store: store.configure({"main": Share()}))
    stats = views.stats(desk.store, tmp_path / "queue.db")
    assert set(stats.destinations) == {"old", "main"}
    assert stats.destinations["old"].queued == 3
    assert stats.max_bytes == 1 << 20
    assert 0 < stats.bytes < stats.max_bytes
    assert stats.path == str(tmp_path / "queue.db")
    assert stats.disk_free_bytes == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.1)


def test_a_disk_that_cannot_be_asked(tmp_path: Path) -> None:
    """Where the folder is gone, how much is free is not known; the accounts are."""
    desk = Desk()
    stats = views.stats(desk.store, tmp_path / "gone" / "queue.db")
    assert stats.disk_free_bytes is None
    assert "main" in stats.destinations


def test_a_full_queue_has_all_of_its_room_in_use(tmp_path: Path) -> None:
    """What is shown as used goes from nearly nothing to the bound, whatever the log and the reserve have of it."""
    desk = Desk(max_bytes=4 << 20)
    path = tmp_path / "queue.db"
    assert views.stats(desk.store, path).bytes < 0.06 * (4 << 20)
    with pytest.raises(QueueFullError):
        for first in range(0, 100_000, 100):
            desk.append(segment(first, 100))
    assert 0.98 * (4 << 20) < views.stats(desk.store, path).bytes <= 4 << 20
