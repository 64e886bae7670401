"""A queue in a file, and what the tests do to that file."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from forwarder.observe.logs import Logs
from forwarder.queue.base import Share
from forwarder.queue.sqlite.opening import open_with_reserve
from forwarder.queue.sqlite.queue import SqliteQueue
from forwarder.queue.sqlite.recovery import Accounts
from forwarder.queue.sqlite.worker import Worker
from tests.fixtures import PATIENCE

__all__ = ["PATIENCE", "opened", "until", "working"]


async def opened(path: Path, *, retry_seconds: float = 1.0) -> SqliteQueue:
    """Return a queue at a path, to be closed by the caller."""
    queue = await SqliteQueue.open(path, Logs(), max_bytes=64 << 20, retry_seconds=retry_seconds)
    await queue.__aenter__()
    await queue.configure({"main": Share()})
    return queue


@asynccontextmanager
async def working(path: Path) -> AsyncIterator[Worker]:
    """Run the worker of a queue with one destination, without the queue around it."""
    connection, store, reserve = await open_with_reserve(path, Logs(), 64 << 20, Accounts())
    worker = Worker(path, connection, store, reserve, note=lambda _accepted: None)
    worker.start()
    try:
        await worker.submit(lambda store: store.configure({"main": Share()}))
        yield worker
    finally:
        await worker.close()


async def until(is_so: Callable[[], bool]) -> None:
    """Return when something has become true."""
    async with asyncio.timeout(PATIENCE):
        while not is_so():
            await asyncio.sleep(0.001)


def found_in(path: Path) -> bytes:
    return path.read_bytes()


def restore(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def damage(folder: Path) -> sqlite3.DatabaseError:
    """Return the error with which SQLite meets a file that it cannot read."""
    (folder / "garbage").write_bytes(b"garbage" * 1000)
    with pytest.raises(sqlite3.DatabaseError) as caught, closing(sqlite3.connect(folder / "garbage")) as db:
        db.execute("SELECT * FROM sqlite_schema")
    db.close()
    return caught.value
