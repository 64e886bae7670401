"""A queue's file is opened, with room kept beside it; one of a newer version is left alone."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from forwarder.errors import NewerQueueError
from forwarder.observe.logs import Logs
from forwarder.queue.base import Share
from forwarder.queue.sqlite.files import QueueFile
from forwarder.queue.sqlite.opening import log_bytes, refuse_newer
from forwarder.queue.sqlite.queue import SqliteQueue
from forwarder.queue.sqlite.schema import SCHEMA_VERSION
from forwarder.queue.sqlite.sizes import checkpoint_bytes
from tests.queue.building import drain, segment
from tests.queue.sqlite.files import opened, working


async def test_the_log_of_a_process_that_died(tmp_path: Path) -> None:
    """What a process left in its log is in the file before anything is accepted: it may never have been synced."""
    queue = await opened(tmp_path / "queue.db")
    await queue.append([segment(0, 10)])
    copy = tmp_path / "copy"
    copy.mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(tmp_path / f"queue.db{suffix}", copy)
    assert (copy / "queue.db-wal").stat().st_size > 0
    async with await SqliteQueue.open(copy / "queue.db", Logs(), max_bytes=64 << 20) as after:
        assert (copy / "queue.db-wal").stat().st_size == 0
        await after.configure({"main": Share()})
        assert await drain(after) == list(range(10))
    await queue.close()


async def test_a_newer_version(tmp_path: Path) -> None:
    """A file of a newer version is refused by its first page alone, before anything is done to it."""
    path = tmp_path / "queue.db"
    await (await opened(path)).close()
    await refuse_newer(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    before = path.read_bytes()
    with pytest.raises(NewerQueueError):
        await refuse_newer(path)
    assert path.read_bytes() == before


async def test_nothing_to_refuse(tmp_path: Path) -> None:
    """Where there is no file yet, nothing is refused, and nothing is made."""
    await refuse_newer(tmp_path / "queue.db")
    assert not (tmp_path / "queue.db").exists()


async def test_room_is_kept(tmp_path: Path) -> None:
    """Beside an open queue stands a file as large as the log may become before it is folded."""
    path = tmp_path / "queue.db"
    async with working(path) as worker:
        assert not worker.snapshot.is_short
        size = QueueFile.RESERVE.beside(path).stat().st_size
    assert size == checkpoint_bytes(log_bytes(path, 64 << 20))
