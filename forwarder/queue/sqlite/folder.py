"""The folder in which the queue's file lies, and how a whole file gets into it.

The system has bounds of its own that a queue meets before those of its configuration: how long its path may be, and how
large its file.
"""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path
from typing import Final

from forwarder.errors import StorageError

MAX_PATH: Final = 490
"""Bytes. SQLite takes 512 for a path, 8 of them for `-journal`; 11 more are for `.rebuilding` (see `database`)."""
MAX_NAME: Final = 215
"""Bytes. A file system takes 255 for a name; 40 are for what stands beside it: `.damaged-20261130T163309Z-99-page1`."""


def check_path(path: Path) -> None:
    """Raise StorageError where the real path, behind symbolic links, is too long."""
    try:
        size = len(os.fsencode(path.resolve()))
    except (OSError, RuntimeError, ValueError) as error:
        raise StorageError(f"{path} cannot be the path of the queue: {error}") from None
    if size > MAX_PATH:
        raise StorageError(
            f"the path of the queue really is {path.resolve()}, of {size} bytes; {MAX_PATH} are possible",
            hint="choose a shorter queue.path",
        )


def largest_file() -> int | None:
    """Return how large a file of this process may become, in bytes; None where nothing bounds it (ulimit -f)."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    return None if soft == resource.RLIM_INFINITY else soft


def folder_error(folder: Path, error: OSError) -> StorageError:
    """Return what to say when the queue's folder cannot be used."""
    hint = {
        errno.ENOENT: f"create it: mkdir -p {folder}",
        errno.EISDIR: f"let queue.path name a file: {folder / 'queue.db'}",
        errno.EACCES: f"let queue.path name a file in a folder of this user's (uid {os.geteuid()})",
    }.get(error.errno or 0, "")
    return StorageError(f"{folder} cannot be used for the queue: {error.strerror}", hint=hint)


def make_folder(folder: Path) -> None:
    """Make the queue's folder where it is missing, so that a power cut does not take it away. Raises OSError."""
    missing = [found for found in (folder, *folder.parents) if not found.exists()]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for made in missing:
        sync_folder(made.parent)


def sync_folder(folder: Path) -> None:
    """Make sure that the names in a folder outlive a power cut. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def put_file(path: Path, data: bytes) -> None:
    """Write a file, synced, and put it in its place in one step: half of it is never taken for all. Raises OSError."""
    unfinished = path.with_name(path.name + ".new")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
        file.write(data)
        file.flush()
        os.fsync(descriptor)
    unfinished.rename(path)
