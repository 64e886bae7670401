"""Bounds of the system that a queue meets before its own."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from forwarder.errors import DiskFullError, StorageError
from forwarder.model import Segment
from forwarder.observe.logs import Logs
from forwarder.queue.base import Share
from forwarder.queue.sqlite.limits import MAX_PATH, check_path, largest_file
from forwarder.queue.sqlite.queue import SqliteQueue


def folder_of(root: Path, size: int) -> Path:
    """Make a folder whose path has so many bytes."""
    while (left := size - len(str(root))) > 202:
        root = root / ("d" * 200)
    root = root / ("d" * (left - 1))
    root.mkdir(parents=True)
    return root


@contextmanager
def file_limit(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond so many bytes, as `ulimit -f` does."""
    before, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, hard))


async def test_the_longest_path_and_name_work(tmp_path: Path) -> None:
    """A queue whose path and name are as long as they may be opens, stores, and is rebuilt when it is damaged."""
    path = folder_of(tmp_path, MAX_PATH - 41) / ("q" * 40)
    named = tmp_path / ("n" * 215)
    for file in (path, named):
        async with await SqliteQueue.open(file, Logs(), max_bytes=64 << 20) as queue:
            await queue.configure({"main": Share()})
            await queue.append([Segment("main", 1, b"{}\n")])
        with file.open("r+b") as damaged:
            damaged.seek(0)
            damaged.write(b"\xff" * 2000)
        file.with_name(file.name + "-page1").unlink(missing_ok=True)
        async with await SqliteQueue.open(file, Logs(), max_bytes=64 << 20) as queue:
            assert (await queue.stats()).destinations["main"].queued == 1


def test_a_path_that_is_longer_than_it_looks(tmp_path: Path) -> None:
    """What counts is where symbolic links lead; the message shows it."""
    folder = folder_of(tmp_path, MAX_PATH - 5)
    (tmp_path / "short").symlink_to(folder)
    check_path(tmp_path / "short" / "q.db")
    with pytest.raises(StorageError, match=rf"really is {folder}/queue\.db, of {MAX_PATH + 4} bytes; {MAX_PATH} are"):
        check_path(tmp_path / "short" / "queue.db")


@pytest.mark.parametrize("size", [400_000, 16384 * 30 + 32 + 30 * 24])
async def test_a_limit_of_files_is_not_told_as_a_full_disk_alone(tmp_path: Path, size: int) -> None:
    """Where files of the process may not grow, that is said, with where to raise it; nothing is lost."""
    async with await SqliteQueue.open(tmp_path / "queue.db", Logs(), max_bytes=64 << 20) as queue:
        await queue.configure({"main": Share()})
        stored = 0
        with file_limit(size):
            assert largest_file() == size
            with pytest.raises(
                DiskFullError, match=f"as large as files of this process may be .{size:,} bytes"
            ) as caught:
                for _ in range(100):
                    await queue.append([Segment("main", 1, b'{"a": "%s"}\n' % (b"x" * 20_000))])
                    stored += 1
            assert "LimitFSIZE" in caught.value.hint
        assert (await queue.stats()).destinations["main"].queued == stored
