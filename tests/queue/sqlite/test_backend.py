"""What is told of a queue without opening it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from forwarder.config import SqliteConfig
from forwarder.errors import StorageError
from forwarder.observe.logs import Logs
from forwarder.queue.base import Share
from forwarder.queue.sqlite import backend
from tests.queue.building import segment


@pytest.fixture
def config(tmp_path: Path) -> SqliteConfig:
    return SqliteConfig(path=tmp_path / "queue.db", max_bytes=8 << 20)


async def test_a_queue_in_use(config: SqliteConfig) -> None:
    """The process that has it open is named, its size is told, and it is taken for a queue."""
    async with await backend.open_queue(config, ["main"], Logs()) as queue:
        await queue.configure({"main": Share()})
        await queue.append([segment(0)])
        assert backend.holder(config) == str(os.getpid())
        assert backend.check(config).endswith(f"of 8MiB, held by process {os.getpid()}")
        assert backend.note_of_damage(config) is None
    assert backend.holder(config) == ""
    assert backend.check(config).endswith("of 8MiB")
    assert backend.describe(config)["queue"] == str(config.path)


def test_nothing(config: SqliteConfig, tmp_path: Path) -> None:
    """Where nothing is yet, nothing is held, there is nothing to note, and nothing is made."""
    assert backend.holder(config) == ""
    assert backend.check(config) == f"{config.path}, 0 of 8MiB"
    assert (backend.note_of_damage(config), backend.note_of_space(config)) == (None, None)
    assert list(tmp_path.iterdir()) == []


def test_something_else(config: SqliteConfig, tmp_path: Path) -> None:
    """What is no queue is left alone, and what a start would do with it is told."""
    config.path.write_bytes(b"a letter")
    assert "will be renamed to queue.db.damaged-…" in str(backend.note_of_damage(config))
    assert list(tmp_path.iterdir()) == [config.path]


def test_more_than_the_disk_has(tmp_path: Path) -> None:
    """Where the disk has less room than the queue may take, that is worth a note."""
    note = backend.note_of_space(SqliteConfig(path=tmp_path / "queue.db", max_bytes=1 << 60))
    assert note is not None
    assert note.endswith("KiB free, less than queue.max_bytes (1073741824GiB)")


def test_a_path_that_is_too_long(tmp_path: Path) -> None:
    """A path that SQLite could not take is refused."""
    with pytest.raises(StorageError, match="are possible"):
        backend.check(SqliteConfig(path=tmp_path / "q" / ("d/" * 300) / "queue.db"))
