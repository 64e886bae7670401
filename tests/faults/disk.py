"""Small disks that a test mounts, fills, breaks and mends."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_FOREIGN = "somebody-elses-file"


class Disk:
    """A mounted file system, all of which may be filled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def queue(self) -> Path:
        """The file of a queue on it."""
        return self.folder / "queue" / "queue.db"

    @property
    def free(self) -> int:
        """The bytes that are free."""
        found = os.statvfs(self.folder)
        return found.f_bavail * found.f_frsize

    def fill(self) -> None:
        """Let another program take all room that is left, to the last byte."""
        with (self.folder / _FOREIGN).open("ab", buffering=0) as file:
            size = 1 << 20
            while size:
                try:
                    file.write(b"x" * size)
                except OSError:
                    size //= 2

    def make_room(self) -> None:
        """Let the other program give back what it took."""
        (self.folder / _FOREIGN).unlink()

    def remount(self, options: str) -> None:
        """Mount it with other options."""
        _mount("-o", f"remount,{options}", str(self.folder))


@contextmanager
def memory_disk(folder: Path, size: int) -> Iterator[Disk]:
    """Mount a disk of `size` bytes in memory; skips where that is not allowed."""
    with _mounted(folder, "-t", "tmpfs", "-o", f"size={size}", "tmpfs"):
        yield Disk(folder)


@contextmanager
def image_disk(folder: Path, size: int) -> Iterator[Disk]:
    """Mount an ext4 disk in a file beside the folder, the same one each time; skips where that is not allowed."""
    image = folder.with_suffix(".img")
    if not image.exists():
        with image.open("wb") as file:
            file.truncate(size)
        try:
            subprocess.run(["mkfs.ext4", "-q", str(image)], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no ext4 can be made: {error}")
    with _mounted(folder, "-t", "ext4", "-o", "loop", str(image)):
        yield Disk(folder)


@contextmanager
def _mounted(folder: Path, *words: str) -> Iterator[None]:
    folder.mkdir(exist_ok=True)
    try:
        _mount(*words, str(folder))
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"mounting is not allowed here: {getattr(error, 'stderr', b'') or error!r}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True, capture_output=True)


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True, capture_output=True)
