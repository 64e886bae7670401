"""The queue's file, or its lock, is taken away while it is in use."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import structlog

from forwarder.errors import QueueLockedError, StorageError
from forwarder.model import Batch, DeadFilter
from forwarder.observe.logs import Logs
from forwarder.queue.sqlite.database import open_database
from forwarder.queue.sqlite.queue import SqliteQueue
from forwarder.queue.sqlite.take import take
from tests.queue.building import account, drain, numbers, segment
from tests.queue.sqlite.files import damage, opened, until


@pytest.fixture
async def queue(tmp_path: Path) -> AsyncIterator[SqliteQueue]:
    """A queue in a folder of its own, with ten events, that is in use."""
    queue = await opened(path_in(tmp_path), retry_seconds=0.02)
    await queue.append([segment(0, 10)])
    yield queue
    await queue.close()


def path_in(folder: Path) -> Path:
    (folder / "q").mkdir(exist_ok=True)
    return folder / "q" / "queue.db"


def with_log(path: Path) -> list[Path]:
    return [path, path.with_name(path.name + "-wal")]


def unlinked(path: Path) -> None:
    path.unlink()


def unlinked_with_log(path: Path) -> None:
    for file in with_log(path):
        file.unlink()


def log_unlinked(path: Path) -> None:
    with_log(path)[1].unlink()


def renamed(path: Path) -> None:
    path.rename(path.with_name("elsewhere.db"))


def replaced(path: Path) -> None:
    unlinked_with_log(path)
    strangers(path)


def replaced_by_renaming(path: Path) -> None:
    other = path.with_name("other")
    other.mkdir()
    strangers(other / path.name)
    for file in with_log(other / path.name):
        file.rename(path.with_name(file.name))


def folder_removed(path: Path) -> None:
    shutil.rmtree(path.parent)


def folder_replaced(path: Path) -> None:
    path.parent.rename(path.parent.with_name("old"))
    path.parent.mkdir()
    strangers(path)


def strangers(path: Path) -> None:
    """Put another database, with a log that is not folded, into the place."""
    with closing(sqlite3.connect(path.with_name("made.db"), isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE recipes (name)")
        for made, file in zip(with_log(path.with_name("made.db")), with_log(path), strict=True):
            shutil.copy(made, file)


WAYS = [unlinked, unlinked_with_log, log_unlinked, renamed, replaced, replaced_by_renaming, folder_removed]


@pytest.mark.parametrize("way", [*WAYS, folder_replaced], ids=lambda way: way.__name__)
async def test_gone(tmp_path: Path, queue: SqliteQueue, way: Callable[[Path], None]) -> None:
    """It is told, nothing more is accepted, what is queued can be read and delivered, and what is there stays."""
    path = path_in(tmp_path)
    with structlog.testing.capture_logs() as lines:
        way(path)
        found = {file: file.read_bytes() for file in with_log(path) if file.exists()}
        await until(lambda: queue.trouble() is not None)
    assert [line["event"] for line in lines] == ["queue.file_gone"]
    assert "queue export" in lines[0]["hint"]
    with pytest.raises(StorageError, match=r"not there any more|replaced") as caught:
        await queue.append([segment(10)])
    assert "queue export" in caught.value.hint
    assert (await queue.stats()).failing == caught.value.message
    assert [numbers(line)[0] async for line in queue.peek("main", None)] == list(range(10))
    assert await drain(queue) == list(range(10))
    assert (await account(queue)).delivered == 10
    await queue.close()
    # The log of a file that alone was taken away is still that of the queue.
    if way not in {unlinked, renamed, log_unlinked}:
        assert {file: file.read_bytes() for file in with_log(path) if file.exists()} == found


async def test_back(tmp_path: Path, queue: SqliteQueue) -> None:
    """A file that is put back is used again, and nothing that was accepted is missing."""
    path = path_in(tmp_path)
    path.rename(tmp_path / "away.db")
    await until(lambda: queue.trouble() is not None)
    with structlog.testing.capture_logs() as lines:
        (tmp_path / "away.db").rename(path)
        await until(lambda: queue.trouble() is None)
    assert [line["event"] for line in lines] == ["queue.file_back"]
    await queue.append([segment(10)])
    await queue.close()
    queue = await opened(path)
    assert await drain(queue) == list(range(11))
    await queue.close()


async def test_a_file_that_was_moved_has_everything(tmp_path: Path, queue: SqliteQueue) -> None:
    """What was accepted is in the file itself, wherever it was moved to, without its log."""
    path_in(tmp_path).rename(tmp_path / "away.db")
    await until(lambda: queue.trouble() is not None)
    await queue.stats()
    shutil.copy(tmp_path / "away.db", tmp_path / "copy.db")
    with closing(sqlite3.connect(tmp_path / "copy.db")) as db:
        assert db.execute("SELECT sum(events) FROM segment").fetchone() == (10,)


async def test_damage_while_another_file_is_there(
    tmp_path: Path, queue: SqliteQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is in the place of a damaged one is not set aside, and not rebuilt."""
    path = path_in(tmp_path)
    replaced(path)
    found = {file: file.read_bytes() for file in path.parent.iterdir()}
    await until(lambda: queue.trouble() is not None)
    error = damage(tmp_path)

    def meets_damage(*_: object) -> None:
        raise error

    monkeypatch.setattr("forwarder.queue.sqlite.take.take", meets_damage)
    with pytest.raises(StorageError, match="cannot be rebuilt"):
        await drain(queue)
    assert {file: file.read_bytes() for file in path.parent.iterdir()} == found
    monkeypatch.undo()
    assert await drain(queue) == list(range(10))


async def test_a_rebuild_is_no_alarm(tmp_path: Path, queue: SqliteQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that the queue itself has replaced is the one that is looked after from then on."""
    path = path_in(tmp_path)
    errors = [damage(tmp_path)]

    def meets_damage(*words: Any) -> list[Batch]:
        if errors:
            raise errors.pop()
        return take(*words)

    monkeypatch.setattr("forwarder.queue.sqlite.take.take", meets_damage)
    with structlog.testing.capture_logs() as lines:
        assert await drain(queue) == list(range(10))
        await asyncio.sleep(0.1)
    assert [line["event"] for line in lines] == ["queue.set_aside"]
    assert queue.trouble() is None
    path.unlink()
    await until(lambda: queue.trouble() is not None)


class TestLock:
    def lock_of(self, path: Path) -> Path:
        return path.with_name(path.name + ".lock")

    async def test_made_again(self, tmp_path: Path, queue: SqliteQueue) -> None:
        """A lock file that was removed is made again, locked, with what stood in it."""
        lock = self.lock_of(path_in(tmp_path))
        await queue.stats()
        before = lock.read_bytes()
        lock.unlink()
        await until(lock.exists)
        await until(lambda: lock.read_bytes() == before)
        with pytest.raises(QueueLockedError):
            await SqliteQueue.open(path_in(tmp_path), Logs(), max_bytes=64 << 20)
        assert [letter async for letter in queue.dead_letters(DeadFilter())] == []

    async def test_without_it_nobody_gets_in(self, tmp_path: Path, queue: SqliteQueue) -> None:
        """Another process that finds no lock file is refused all the same, and changes nothing, log and all."""
        path = path_in(tmp_path)
        self.lock_of(path).unlink()
        log = with_log(path)[1]
        torn = log.read_bytes()
        assert torn
        script = (
            "import asyncio, sys; from pathlib import Path; from forwarder.queue.sqlite.opening import open_store\n"
            "from forwarder.errors import QueueLockedError; from forwarder.queue.sqlite.recovery import Accounts\n"
            "from forwarder.observe.logs import Logs\n"
            "try: asyncio.run(open_store(Path(sys.argv[1]), Logs(), 1 << 20, Accounts()))\n"
            "except QueueLockedError as error: sys.exit(error.exit_code)"
        )
        ended = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", script, str(path)], check=False)
        assert ended.returncode == 75
        assert log.read_bytes() == torn
        await queue.append([segment(10)])
        assert await drain(queue) == list(range(11))

    async def test_a_live_log_is_not_mended(self, tmp_path: Path, queue: SqliteQueue) -> None:
        """A log of which another process is in the middle looks torn; it is left alone."""
        path = path_in(tmp_path)
        for number in range(10, 20):
            await queue.append([segment(number)])
        log = with_log(path)[1]
        with log.open("r+b") as file:
            # The page of an early frame: what is behind it is hidden from whoever reads the log now.
            file.seek(32 + 24 + 100)
            file.write(b"\xff" * 8)
        spoiled = log.read_bytes()
        script = (
            "import asyncio, sys; from pathlib import Path; from forwarder.queue.sqlite.opening import open_store\n"
            "from forwarder.queue.sqlite.recovery import Accounts\n"
            "from forwarder.observe.logs import Logs\n"
            "asyncio.run(open_store(Path(sys.argv[1]), Logs(), 1 << 20, Accounts()))"
        )
        ended = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", script, str(path)], check=False, capture_output=True
        )
        assert ended.returncode != 0
        assert b"another instance" in ended.stderr
        assert log.read_bytes() == spoiled
        assert not list(path.parent.glob("*.damaged-*"))


async def test_opened_again_after_a_stop(tmp_path: Path) -> None:
    """The lock of SQLite is let go with the connection."""
    path = tmp_path / "queue.db"
    for _ in range(2):
        await (await open_database(path, Logs(), wal_bytes=1 << 20)).close()
