"""Put a new file in the place of a damaged one, so that no crash and no full disk leaves less than there was.

The new file is made beside the damaged one, under a name that says it is unfinished. Complete and synced, it is renamed
to one that says so; then the damaged file is renamed out of the way, and the new one into its place. A start that finds
a complete new file takes the remaining steps.
"""

from __future__ import annotations

import asyncio
import errno
from dataclasses import asdict
from functools import partial
from pathlib import Path

from forwarder.errors import DamagedError
from forwarder.observe.base import Observer
from forwarder.observe.facts import Notice
from forwarder.queue.sqlite.database import Connection, disk_full, open_database
from forwarder.queue.sqlite.files import DATABASE_FILES, QueueFile, damaged_name
from forwarder.queue.sqlite.folder import folder_error, sync_folder
from forwarder.queue.sqlite.lock import locked_as_by_sqlite
from forwarder.queue.sqlite.recovery import first_page
from forwarder.queue.sqlite.recovery.salvage import Accounts, salvage
from forwarder.queue.sqlite.recovery.wal import mend_log


async def examine(path: Path, observer: Observer) -> None:
    """Mend the log of a file that nobody has open, and look at the file's header.

    Raises DamagedError for a header that is spoiled; QueueLockedError, StorageError or DiskFullError.
    """
    try:
        is_spoiled = await asyncio.to_thread(_is_spoiled, path, observer)
    except OSError as error:
        raise disk_full() if error.errno in {errno.ENOSPC, errno.EFBIG} else folder_error(path, error) from error
    if is_spoiled:
        raise DamagedError("the queue file is damaged: its header is not that of a queue")


def _is_spoiled(path: Path, observer: Observer) -> bool:
    with locked_as_by_sqlite(path):
        mend_log(path, observer)
        return first_page.is_spoiled(path)


async def rebuild(path: Path, observer: Observer, *, wal_bytes: int, reason: str, known: Accounts) -> Connection:
    """Put what can be read of a damaged file into a new one, and open that in its place.

    What of the accounts is `known` is not taken from the damaged file. Raises StorageError or DiskFullError; then the
    damaged file is where it was.
    """
    unfinished = QueueFile.REBUILDING.beside(path)
    await asyncio.to_thread(_remove, unfinished)
    # Closed, an empty queue is one file, without a log.
    await (await open_database(unfinished, observer, wal_bytes=wal_bytes)).close()
    try:
        await asyncio.to_thread(first_page.mend, path, unfinished)
    except OSError as error:
        raise folder_error(path, error) from error
    connection = await open_database(unfinished, observer, wal_bytes=wal_bytes)
    try:
        found = await connection.run(partial(salvage, path, known=known))
    except OSError as error:
        raise folder_error(path, error) from error
    finally:
        # Folds the log into the file, and syncs it.
        await connection.close()
    try:
        unfinished.rename(QueueFile.REBUILT.beside(path))
        aside = await asyncio.to_thread(finish_rebuild, path)
    except OSError as error:
        raise folder_error(path.parent, error) from error
    observer.saw(Notice("queue.set_aside", {"reason": reason, "file": str(aside), **asdict(found)}))
    return await open_database(path, observer, wal_bytes=wal_bytes)


def finish_rebuild(path: Path) -> Path | None:
    """Let a complete new file take the place of a damaged one; return where the damaged one went.

    Does nothing where there is no new file. A crash in between leaves the rest to the next start. Raises OSError.
    """
    rebuilt = QueueFile.REBUILT.beside(path)
    if not rebuilt.exists():
        return None
    aside = set_aside(path)
    rebuilt.rename(path)
    sync_folder(path.parent)
    return aside


def set_aside(path: Path) -> Path:
    """Rename a damaged file and what belongs to it, so that a new one can be begun; return its new path."""
    aside = damaged_name(path)
    for file in DATABASE_FILES:
        if (source := file.beside(path)).exists():
            source.rename(file.beside(aside))
    return aside


def _remove(path: Path) -> None:
    for file in DATABASE_FILES:
        file.beside(path).unlink(missing_ok=True)
