"""The queue's SQLite file: opened by one process, over one connection, and migrated on the way.

In WAL mode with `synchronous=FULL` a commit returns after its frames are synced to disk, and an accepted event must be
nothing less. SQLite from 3.7.0 to 3.51.2 can damage a WAL database that two connections write or checkpoint at the same
moment (https://sqlite.org/wal.html#walresetbug). So there is a lock file beside the database, and
`locking_mode=EXCLUSIVE` keeps every other connection out, the one of an operator's `sqlite3` included.

Errors of SQLite become errors of this program here, and nowhere else.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import aiosqlite

from forwarder.errors import DamagedError, DiskFullError, StorageError, UnavailableError
from forwarder.observe.base import Observer
from forwarder.queue.sqlite.folder import folder_error, largest_file, sync_folder
from forwarder.queue.sqlite.migration import migrate
from forwarder.queue.sqlite.schema import APPLICATION_ID, MOST_VERSIONS, SCHEMA_VERSION, newer_error
from forwarder.queue.sqlite.sizes import PAGE_BYTES, checkpoint_bytes

# What `PRAGMA auto_vacuum` says of a file that gives space back on demand.
_INCREMENTAL = 2
T = TypeVar("T")


class ForeignFileError(sqlite3.DatabaseError):
    """The file is a SQLite database, but not a queue."""


class _RawConnection(sqlite3.Connection):
    """A connection that runs a job where it is given one in place of a statement; it is then its own cursor."""

    _result: Any = None

    def execute(self, sql: str | Callable[[sqlite3.Connection], Any], parameters: Any = (), /) -> Any:
        if isinstance(sql, str):
            return super().execute(sql, parameters)
        self._result = sql(self)
        return self

    def fetchall(self) -> Any:
        return self._result


class Connection(aiosqlite.Connection):
    """An aiosqlite connection that runs a whole job on its thread.

    aiosqlite makes each call a hop between threads, which costs more than most statements do. What it runs there
    for one call is `execute` of the raw connection, and `fetchall` of what that returns: so a job is given to it
    as a statement.
    """

    def __init__(self, connector: Callable[[], sqlite3.Connection], iter_chunk_size: int) -> None:
        super().__init__(connector, iter_chunk_size)
        self._loop = asyncio.get_running_loop()

    async def run(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Run `job` with the raw connection on the connection's thread; sqlite3's errors are mapped."""
        try:
            return cast("T", await self.execute_fetchall(cast("str", job)))
        except sqlite3.Error as error:
            raise map_error(error) from error

    def tell(self, act: Callable[..., None], *values: Any) -> None:
        """Call something on the event loop, from a job; calls keep their order, and come before the job's result."""
        self._loop.call_soon_threadsafe(act, *values)


def map_error(error: sqlite3.Error) -> UnavailableError:
    """Return the error of ours for one of SQLite's (https://sqlite.org/rescode.html)."""
    # The lower byte of an extended code is the primary one.
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    if isinstance(error, ForeignFileError) or code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return DamagedError(f"the queue file is damaged: {error}")
    name = getattr(error, "sqlite_errorname", None)
    # SQLite takes a limit that stands in the middle of a page for a full disk, and one between two for a failing one.
    if code == sqlite3.SQLITE_FULL or (name == "SQLITE_IOERR_WRITE" and largest_file() is not None):
        return disk_full()
    return StorageError(f"the queue's storage fails: {error}" + (f" ({name})" if name else ""))


def disk_full() -> DiskFullError:
    """Return the error of a disk that has no room, or of a file that may not grow."""
    largest = largest_file()
    if largest is None:
        return DiskFullError("the disk of the queue is full", hint="free space on it; no restart is needed")
    return DiskFullError(
        f"the disk of the queue is full, or its file is as large as files of this process may be ({largest:,} bytes)",
        hint="free space, or start again with a larger limit: LimitFSIZE=infinity in the unit, ulimit -f unlimited",
    )


async def open_database(path: Path, observer: Observer, *, wal_bytes: int) -> Connection:
    """Open or begin the queue's file.

    Raises DamagedError for a file that is no queue, or that SQLite cannot read; StorageError or
    DiskFullError where the system does not let us.
    """
    prepare = partial(_prepare, observer=observer, wal_bytes=wal_bytes)
    # Transactions are begun and committed by our own statements only.
    connector = partial(sqlite3.connect, path, isolation_level=None, cached_statements=64, factory=_RawConnection)
    try:
        # Events are nobody else's business; SQLite gives its log the mode of its file.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise folder_error(path, error) from error
    connection = Connection(connector, 64)
    try:
        await connection
    except sqlite3.Error as error:
        raise map_error(error) from error
    try:
        await connection.run(prepare)
        # The names of the file and of its log must outlive a power cut, or the file is gone with all that is in it.
        # SQLite syncs the folder, too, but does not look whether that works.
        await asyncio.to_thread(sync_folder, path.parent)
    except BaseException as error:
        await connection.close()
        if isinstance(error, OSError):
            raise folder_error(path.parent, error) from error
        raise
    return connection


def _prepare(db: sqlite3.Connection, *, observer: Observer, wal_bytes: int) -> None:
    db.text_factory = as_text
    # This must come before the first access: then the WAL index lives in memory, and nobody else gets in.
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    # Everything below writes to the file; the database of another program must stay as it is.
    version = _known_version(db)
    db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    # Setting it writes to the file even where nothing changes, and a start must work on a full disk.
    if _value(db, "PRAGMA auto_vacuum") != _INCREMENTAL:
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
    for setting in (
        "journal_mode = WAL",
        "synchronous = FULL",
        # Debian's SQLite overwrites deleted rows by default, which costs more than reading and deleting them.
        "secure_delete = OFF",
        "temp_store = MEMORY",
        "cache_size = -8192",
        # The log is folded into the file at half of what is kept for it, and cut back after a commit that was larger.
        f"wal_autocheckpoint = {checkpoint_bytes(wal_bytes) // PAGE_BYTES}",
        f"journal_size_limit = {wal_bytes}",
    ):
        db.execute(f"PRAGMA {setting}")
    migrate(db, observer, version)


def _known_version(db: sqlite3.Connection) -> int:
    """Return the version of a queue's schema, 0 for an empty file.

    Raises ForeignFileError, DamagedError or NewerQueueError.
    """
    version: int = _value(db, "PRAGMA user_version")
    application: int = _value(db, "PRAGMA application_id")
    tables: int = _value(db, "SELECT count(*) FROM sqlite_schema")
    if tables and application != APPLICATION_ID:
        raise ForeignFileError("the file is a SQLite database, but not a queue of this program")
    if not 0 <= version < MOST_VERSIONS:
        raise DamagedError("the queue file is damaged: its version is none")
    if version > SCHEMA_VERSION:
        raise newer_error(version)
    return version


def fold(db: sqlite3.Connection) -> bool:
    """Write what is in the log into the file, and begin the log anew; return False where the disk is full.

    Raises StorageError.
    """
    try:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    except sqlite3.Error as error:
        mapped = map_error(error)
        if isinstance(mapped, DiskFullError):
            return False
        raise mapped from error
    return True


def _value(db: sqlite3.Connection, statement: str) -> Any:
    return db.execute(statement).fetchone()[0]


def as_text(data: bytes) -> str:
    """Return text of the file; what is damaged is text, too."""
    return data.decode(errors="replace")
