"""SQLite as one of the backends: opened by its settings, and looked at from outside by `forwarder check`.

A look opens and changes nothing. What it finds depends on who looks, and a daemon may have the queue open meanwhile.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

from forwarder.config import SqliteConfig, format_size
from forwarder.errors import StorageError
from forwarder.files import barrier
from forwarder.observe.base import Observer
from forwarder.queue.sqlite.files import DAMAGED
from forwarder.queue.sqlite.folder import check_path, largest_file
from forwarder.queue.sqlite.lock import InstanceLock
from forwarder.queue.sqlite.queue import SqliteQueue
from forwarder.queue.sqlite.recovery import begins_as_queue


async def open_queue(config: SqliteConfig, names: Sequence[str], observer: Observer) -> SqliteQueue:
    """Open or begin the queue. Raises QueueLockedError, StorageError or DiskFullError."""
    return await SqliteQueue.open(config.path, observer, max_bytes=config.max_bytes, names=names)


def describe(config: SqliteConfig) -> Mapping[str, str]:
    """Return what the log says of it."""
    return {"sqlite": sqlite3.sqlite_version, "queue": str(config.path)}


def holder(config: SqliteConfig) -> str | None:
    """Return the id of the process that has it open, empty where none has, and None where that cannot be told."""
    return (InstanceLock(config.path).holder() or "") if os.access(config.path.parent, os.X_OK) else None


def check(config: SqliteConfig) -> str:
    """Return what there is. Raises StorageError where this user could not open the queue, or OSError."""
    path = config.path
    check_path(path)
    folder = _folder(path)
    if (barred := barrier(folder)) != folder or not os.access(folder, os.X_OK, effective_ids=True):
        hint = "Let queue.path name a file where this user may go"
        raise StorageError(f"{path}: user {os.geteuid()} may not enter {barred}", hint=hint)
    if not os.access(folder, os.W_OK, effective_ids=True):
        hint = f"Let queue.path name a file in a folder that is this user's, such as {path.parent / 'forwarder'}"
        raise StorageError(f"{path}: user {os.geteuid()} may not write to {folder}", hint=hint)
    if path.is_dir():
        raise StorageError(f"{path} is a folder", hint=f"Let queue.path name a file: {path / 'queue.db'}")
    if folder != path.parent:
        return f"{path}, to be made with its folder"
    if path.exists() and not os.access(path, os.R_OK | os.W_OK, effective_ids=True):
        hint = "See whose it is: ls -l"
        raise StorageError(f"{path}: user {os.geteuid()} may not read and write it", hint=f"{hint} {path}")
    state = f"{path}, {format_size(_size(path))} of {format_size(config.max_bytes)}"
    return f"{state}, held by process {found}" if (found := holder(config)) else state


def note_of_damage(config: SqliteConfig) -> str | None:
    """Say if what stands in the queue's place does not look like one: it would be taken for a damaged queue."""
    path = config.path
    if not path.is_file() or not os.access(path, os.R_OK, effective_ids=True) or begins_as_queue(path):
        return None
    return (
        f"{path} does not begin as a queue; it will be renamed to {path.name}{DAMAGED}…, and a new one begun with "
        "what can be read of it"
    )


def note_of_space(config: SqliteConfig) -> str | None:
    """Say if there is room for less than the queue may become: it refuses events before its own limit does."""
    limit, largest = config.max_bytes, largest_file()
    if largest is not None and largest < limit:
        return (
            f"a file of this process may have {format_size(largest)} (ulimit -f), "
            f"less than queue.max_bytes ({format_size(limit)})"
        )
    free = shutil.disk_usage(_folder(config.path)).free
    if free + _size(config.path) >= limit:
        return None
    return f"the disk has {format_size(free // 1024 * 1024)} free, less than queue.max_bytes ({format_size(limit)})"


def _folder(path: Path) -> Path:
    """Return the nearest folder around a path that is there, as far as can be seen."""
    return next(parent for parent in path.parents if os.path.lexists(parent))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
