"""The names of a queue's files: all of them stand beside the database that `queue.path` names.

Nothing else in the queue spells one of these names, so what is opened, moved, renamed and reported is always the same
set of files. `config.SqliteConfig.files` has them too, so that no key or socket is put in their place.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from itertools import count
from pathlib import Path


class QueueFile(StrEnum):
    """One of the files; its value is what is appended to the name of the database."""

    DATABASE = ""
    LOG = "-wal"
    """SQLite's write-ahead log: what was committed is here first."""
    INDEX = "-shm"
    """SQLite's index of the log. This program keeps the index in memory; other tools leave such a file behind."""
    FIRST_PAGE = "-page1"
    """The first page of a damaged database as it was, where another one had to be put in its place."""
    LOCK = ".lock"
    RESERVE = ".reserve"
    """Room on the disk, for settlements when the disk is full."""
    REBUILDING = ".rebuilding"
    """What is being read out of a damaged database; incomplete, and begun anew after a crash."""
    REBUILT = ".rebuilt"
    """The same, complete and synced; it takes the place of the damaged database, if need be at the next start."""

    def beside(self, database: Path) -> Path:
        """Return the path of this file of a queue."""
        return database.with_name(database.name + self)


# What a damaged file is called from then on: this, and when it was found.
DAMAGED = ".damaged-"
# These belong together: a database that is renamed or removed takes them along.
DATABASE_FILES = (QueueFile.DATABASE, QueueFile.LOG, QueueFile.INDEX, QueueFile.FIRST_PAGE)


def damaged_name(path: Path) -> Path:
    """Return a name that is free, for a damaged file to be kept under."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    names = (f"{path.name}{DAMAGED}{stamp}{f'-{number}' if number > 1 else ''}" for number in count(1))
    return next(found for name in names if not (found := path.with_name(name)).exists())
