"""The folder of the queue is made where it is missing; what is wrong with it, and what the system bounds, is told."""

from __future__ import annotations

import errno
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from forwarder.errors import DiskFullError, StorageError
from forwarder.model import Segment
from forwarder.observe.logs import Logs
from forwarder.queue.base import Share
from forwarder.queue.sqlite.folder import (
    MAX_PATH,
    check_path,
    folder_error,
    largest_file,
    make_folder,
    put_file,
    sync_folder,
)
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


def test_made_with_its_parents(tmp_path: Path) -> None:
    """A folder is made with those above it, for this user alone; making it again changes nothing."""
    folder = tmp_path / "a" / "b"
    for _ in range(2):
        make_folder(folder)
        sync_folder(folder)
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("number", "hint"),
    [(errno.ENOENT, "mkdir -p"), (errno.EISDIR, "name a file"), (errno.EACCES, "this user"), (errno.EIO, "")],
)
def test_what_to_do(tmp_path: Path, number: int, hint: str) -> None:
    """The message names the folder, and the hint fits what the system said."""
    error = folder_error(tmp_path, OSError(number, "no"))
    assert str(tmp_path) in error.message
    assert hint in error.hint
    assert bool(error.hint) == bool(hint)


async def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """Where the folder cannot be made, the path is told."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        await SqliteQueue.open(tmp_path / "file" / "queue.db", Logs(), max_bytes=64 << 20)


async def test_a_folder_in_its_place(tmp_path: Path) -> None:
    """A folder where the queue should be is told, with what would be right."""
    with pytest.raises(StorageError) as caught:
        await SqliteQueue.open(tmp_path, Logs(), max_bytes=64 << 20)
    assert caught.value.hint == f"let queue.path name a file: {tmp_path}/queue.db"


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


def test_a_file_is_put_in_its_place_as_a_whole(tmp_path: Path) -> None:
    """It replaces what was there, nobody else may read it, and nothing of the way there is left."""
    path = tmp_path / "file"
    for data in (b"longer", b"short"):
        put_file(path, data)
        assert path.read_bytes() == data
    assert path.stat().st_mode & 0o777 == 0o600
    assert [*tmp_path.iterdir()] == [path]
