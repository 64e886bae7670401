"""The folder in which the queue's file lies."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from forwarder.errors import StorageError


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
