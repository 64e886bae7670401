"""Room on the disk that is kept for settlements: there or not, never half."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from forwarder.queue.sqlite.reserve import Reserve

SIZE = 1 << 20


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "queue.db.reserve"


def reserve(file: Path, size: int = SIZE) -> Reserve:
    return Reserve(file.with_name("queue.db"), size)


def test_the_room_is_kept(file: Path) -> None:
    """The room is really allocated, stays over a restart, and is given away as a whole."""
    assert reserve(file).hold()
    assert file.stat().st_blocks * 512 >= SIZE
    before = file.stat().st_ino, file.stat().st_mtime_ns
    assert reserve(file).hold()
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == before
    assert reserve(file).release()
    assert not file.exists()
    assert not reserve(file).release()


def test_another_size(file: Path) -> None:
    """After the settings have changed, the room that is kept is what they say."""
    assert reserve(file).hold()
    assert reserve(file, SIZE // 2).hold()
    assert file.stat().st_size == SIZE // 2


def test_a_sparse_file_keeps_nothing(file: Path) -> None:
    """A file that only looks as large, as after a restore, is allocated."""
    with file.open("wb") as sparse:
        sparse.truncate(SIZE)
    assert file.stat().st_blocks == 0
    assert reserve(file).hold()
    assert file.stat().st_blocks * 512 >= SIZE


def test_too_little_room(file: Path) -> None:
    """Where not twice as much is free, nothing is taken."""
    free = shutil.disk_usage(file.parent).free
    assert not reserve(file, free * 2 // 3).hold()
    assert not file.exists()


def test_no_folder(file: Path) -> None:
    """A disk that cannot be used has no room to keep."""
    missing = Reserve(file.parent / "missing" / "queue.db", SIZE)
    assert not missing.hold()
    assert not missing.release()
