"""The folder of the queue is made where it is missing, and what is wrong with it is told."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from forwarder.errors import StorageError
from forwarder.observe.logs import Logs
from forwarder.queue.sqlite.folder import folder_error, make_folder, sync_folder
from forwarder.queue.sqlite.queue import SqliteQueue


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
