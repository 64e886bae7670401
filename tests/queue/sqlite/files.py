"""A queue in a file, and what the tests do to that file."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from forwarder.queue.base import Share
from forwarder.queue.sqlite.queue import SqliteQueue


async def opened(path: Path) -> SqliteQueue:
    queue = await (await SqliteQueue.open(path, max_bytes=64 << 20)).__aenter__()
    await queue.configure({"main": Share()})
    return queue


def found_in(path: Path) -> bytes:
    return path.read_bytes()


def restore(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def damage(folder: Path) -> sqlite3.DatabaseError:
    """Return the error with which SQLite meets a file that it cannot read."""
    (folder / "garbage").write_bytes(b"garbage" * 1000)
    with pytest.raises(sqlite3.DatabaseError) as caught, sqlite3.connect(folder / "garbage") as db:
        db.execute("SELECT * FROM sqlite_schema")
    db.close()
    return caught.value
