"""Open a queue's file and load what it holds; one that is damaged is rebuilt on the way."""

from __future__ import annotations

import asyncio
import shutil
from functools import partial
from pathlib import Path

from forwarder.errors import DamagedError, DiskFullError
from forwarder.observe.base import Observer
from forwarder.queue.sqlite.database import Connection, fold, open_database
from forwarder.queue.sqlite.folder import folder_error
from forwarder.queue.sqlite.recovery import Accounts, examine, finish_rebuild, rebuild, version_of
from forwarder.queue.sqlite.reserve import Reserve
from forwarder.queue.sqlite.schema import SCHEMA_VERSION, newer_error
from forwarder.queue.sqlite.sizes import checkpoint_bytes, wal_bytes
from forwarder.queue.sqlite.store import Store


async def refuse_newer(path: Path) -> None:
    """Raise NewerQueueError for a file of a newer version, before anything is done to it."""
    try:
        version = await asyncio.to_thread(version_of, path)
    except OSError as error:
        raise folder_error(path, error) from error
    if version > SCHEMA_VERSION:
        raise newer_error(version)


async def open_with_reserve(
    path: Path, observer: Observer, max_bytes: int, known: Accounts
) -> tuple[Connection, Store, Reserve]:
    """Open a queue's file and keep room beside it; a full disk gives its room to what opening writes."""
    reserve = Reserve(path, checkpoint_bytes(log_bytes(path, max_bytes)))
    is_held = await asyncio.to_thread(reserve.hold)
    try:
        connection, store = await open_store(path, observer, max_bytes, known)
    except DiskFullError:
        if not await asyncio.to_thread(reserve.release):
            raise
        is_held = False
        connection, store = await open_store(path, observer, max_bytes, known)
    store.is_short = store.is_short or not is_held
    return connection, store, reserve


async def open_store(path: Path, observer: Observer, max_bytes: int, known: Accounts) -> tuple[Connection, Store]:
    """Open a queue's file; one that is damaged is set aside and rebuilt. Raises as `open_database` does."""
    try:
        await asyncio.to_thread(finish_rebuild, path)
    except OSError as error:
        raise folder_error(path.parent, error) from error
    kept = log_bytes(path, max_bytes)
    try:
        await examine(path, observer)
        return await _loaded(await open_database(path, observer, wal_bytes=kept), observer, max_bytes, kept)
    except DamagedError as error:
        return await rebuilt_store(path, observer, max_bytes, error.message, known)


async def rebuilt_store(
    path: Path, observer: Observer, max_bytes: int, reason: str, known: Accounts
) -> tuple[Connection, Store]:
    """Rebuild a damaged file and open what was saved. Raises as `rebuild` does."""
    kept = log_bytes(path, max_bytes)
    connection = await rebuild(path, observer, wal_bytes=kept, reason=reason, known=known)
    return await _loaded(connection, observer, max_bytes, kept)


def log_bytes(path: Path, max_bytes: int) -> int:
    """Return how many bytes the write-ahead log may have: on a small disk less than `max_bytes` would allow."""
    return wal_bytes(min(max_bytes, shutil.disk_usage(path.parent).total))


async def _loaded(connection: Connection, observer: Observer, max_bytes: int, log: int) -> tuple[Connection, Store]:
    try:
        store = await connection.run(
            partial(Store, observer=observer, max_bytes=max_bytes, wal_bytes=log, reserve_bytes=checkpoint_bytes(log))
        )
        # What a process before this one has left in the log may never have reached the disk, if a
        # sync of it failed: the system forgets that, and says the next time that all is well. What
        # is written now must not rest on it, so it is written once more, and synced, elsewhere.
        store.is_short = not await connection.run(fold)
    except BaseException:
        await connection.close()
        raise
    return connection, store
