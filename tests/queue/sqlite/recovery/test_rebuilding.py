"""A new file takes the place of a damaged one, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from forwarder.errors import QueueLockedError, StorageError
from forwarder.model import Batch, Limits
from forwarder.observe.logs import Logs
from forwarder.queue.sqlite.queue import SqliteQueue
from forwarder.queue.sqlite.recovery.rebuilding import set_aside
from forwarder.queue.sqlite.recovery.salvage import Salvage, salvage
from forwarder.queue.sqlite.store import Store
from forwarder.queue.sqlite.take import take
from tests.queue.building import account, drain, next_batch, numbers, segment
from tests.queue.sqlite.files import damage, opened
from tests.queue.sqlite.recovery.damaging import (
    EVENTS,
    PAGE,
    aside,
    check_account,
    filled,
    spoil,
    twisted,
)


async def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    """Another file of that name is kept under a name that says so, and a new queue is begun."""
    path = tmp_path / "queue.db"
    path.write_bytes(b"this is somebody's letter\n" * 1000)
    await check_account(path, least=0)
    [kept] = aside(path)
    assert kept.read_bytes().startswith(b"this is somebody's letter")


async def test_a_database_of_another_program(tmp_path: Path) -> None:
    """A SQLite database that is no queue is not written to."""
    path = tmp_path / "queue.db"
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("CREATE TABLE recipes (name)")
    other.close()
    await check_account(path, least=0)
    assert len(aside(path)) == 1


async def test_a_write_that_meets_damage(tmp_path: Path) -> None:
    """Damage that a write finds, and no read has found before, is mended, too; the write is done on the new file."""
    path = tmp_path / "queue.db"
    await twisted(path, 1)
    queue = await opened(path)
    assert await queue.purge("main") >= EVENTS - 100
    # What was on the page that is gone is missed when it should be delivered.
    assert await drain(queue) == []
    found = await account(queue)
    await queue.close()
    assert (found.queued, found.dropped, found.accepted) == (0, EVENTS, EVENTS + 10)
    assert len(aside(path)) == 1


async def test_damage_found_while_it_runs(tmp_path: Path) -> None:
    """Damage that shows only when a row is read is mended without a restart; what was taken stays taken."""
    path = tmp_path / "queue.db"
    await filled(path)
    size = path.stat().st_size
    queue = await opened(path)
    held = await next_batch(queue, "main", Limits(10, 1 << 20))
    assert held is not None
    with path.open("r+b") as file:
        file.seek(size // 2 // PAGE * PAGE)
        file.write(b"\xff" * PAGE * 4)
        file.truncate(size * 3 // 4 // PAGE * PAGE)
    rest = await drain(queue)
    assert rest == sorted(set(rest))
    assert 0 not in rest
    await queue.settle(held)
    found = await account(queue)
    assert found.queued == 0
    assert found.delivered == len(rest) + 10
    assert found.dropped + found.dead + found.delivered == found.accepted
    await queue.close()


async def test_a_log_left_over(tmp_path: Path) -> None:
    """A log that is none is nothing to the file beside it."""
    path = tmp_path / "queue.db"
    await filled(path)
    path.with_name("queue.db-wal").write_bytes(b"left over" * 5000)
    await check_account(path, least=EVENTS)


async def test_the_lock_outlives_the_damage(tmp_path: Path) -> None:
    """While a damaged file is being replaced, no second instance gets in."""
    path = tmp_path / "queue.db"
    path.write_bytes(b"nonsense" * 10000)
    queue = await opened(path)
    with pytest.raises(QueueLockedError):
        await SqliteQueue.open(path, Logs(), max_bytes=64 << 20)
    await queue.close()


async def test_what_was_committed_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An append and a settlement beside the read that finds the damage count once, and their events come once."""
    path = tmp_path / "queue.db"
    await filled(path)
    queue = await opened(path)
    first, second = [await next_batch(queue, "main", Limits(10, 1 << 20)) for _ in range(2)]
    assert first is not None
    assert second is not None
    before = await account(queue)
    calls = 0

    def meets_damage(store: Store, destination: str, limits: Limits, at_most: int) -> list[Batch]:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise damage(tmp_path)
        return take(store, destination, limits, at_most)

    monkeypatch.setattr("forwarder.queue.sqlite.take.take", meets_damage)
    _, _, third, fourth = await asyncio.gather(
        queue.append([segment(9000)]),
        queue.settle(first),
        next_batch(queue, "main", Limits(10, 1 << 20)),
        next_batch(queue, "main", Limits(10, 1 << 20)),
    )
    assert len(aside(path)) == 1
    after = await account(queue)
    assert after.accepted == before.accepted + 1
    assert after.delivered == before.delivered + 10
    assert third is not None
    assert fourth is not None
    assert numbers(third.data) + numbers(fourth.data) == list(range(20, 40))
    queue.release(second)
    for batch in (third, fourth):
        await queue.settle(batch)
    assert await drain(queue) == [*range(10, 20), *range(40, EVENTS), 9000]
    await queue.close()


async def test_a_rebuild_that_fails_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a new file cannot be made, the damaged one stays where it is; once it can, everything readable is there."""
    path = tmp_path / "queue.db"
    await filled(path)
    queue = await opened(path)

    def full(*_: object, **__: object) -> Salvage:
        raise sqlite3.OperationalError("no room for a new file")

    monkeypatch.setattr("forwarder.queue.sqlite.recovery.rebuilding.salvage", full)
    spoil(path)
    with pytest.raises(StorageError):
        await drain(queue)
    assert queue.trouble() is not None
    assert path.exists()
    assert not aside(path)
    monkeypatch.setattr("forwarder.queue.sqlite.recovery.rebuilding.salvage", salvage)
    # Taken but not handed over when the damage was found, nothing is held.
    rest = await drain(queue)
    assert len(rest) > EVENTS // 4
    assert (await account(queue)).queued == 0
    await queue.append([segment(9000)])
    assert await drain(queue) == [9000]
    assert queue.trouble() is None
    await queue.close()


@pytest.mark.parametrize("gone", [(), ("queue.db-wal",), ("queue.db-wal", "queue.db")])
async def test_a_crash_while_the_new_file_takes_its_place(tmp_path: Path, gone: tuple[str, ...]) -> None:
    """Wherever a crash interrupts the exchange of files, the next start finishes it with the complete new file."""
    path = tmp_path / "queue.db"
    await filled(path)
    path.rename(tmp_path / "queue.db.rebuilt")
    for name in {"queue.db", "queue.db-wal"} - set(gone):
        (tmp_path / name).write_bytes(b"damaged" * 5000)
    await check_account(path, least=EVENTS)
    assert not (tmp_path / "queue.db.rebuilt").exists()


async def test_a_crash_while_the_new_file_is_made(tmp_path: Path) -> None:
    """A new file that is not complete is thrown away, and made again from the damaged one."""
    path = tmp_path / "queue.db"
    await filled(path)
    with closing(sqlite3.connect(path)) as newer, newer:
        newer.execute("PRAGMA user_version = 1000000")
    newer.close()
    (tmp_path / "queue.db.rebuilding").write_bytes(b"half" * 10_000)
    await check_account(path, least=EVENTS)
    assert not (tmp_path / "queue.db.rebuilding").exists()


class TestSetAside:
    def test_with_its_log(self, tmp_path: Path) -> None:
        """The log goes with the file, and nothing that was set aside before is overwritten."""
        path = tmp_path / "queue.db"
        names = set()
        for number in range(3):
            path.write_bytes(b"%d" % number)
            path.with_name("queue.db-wal").write_bytes(b"log")
            aside = set_aside(path)
            names.add(aside)
            assert aside.read_bytes() == b"%d" % number
            assert aside.with_name(aside.name + "-wal").read_bytes() == b"log"
            assert not path.exists()
        assert len(names) == 3
