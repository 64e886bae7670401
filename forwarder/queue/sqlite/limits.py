"""Bounds of the system that a queue meets before its own: how long its path may be, and how large its file."""

from __future__ import annotations

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
