"""Open a queue's file and load what it holds; one that is damaged is rebuilt on the way."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

from forwarder.errors import DamagedError
from forwarder.queue.database import Connection, finish_rebuild, folder_error, open_database, rebuild_database
from forwarder.queue.sizes import wal_bytes
from forwarder.queue.store import Store


async def open_store(path: Path, max_bytes: int) -> tuple[Connection, Store]:
    """Open a queue's file; one that is damaged is set aside and rebuilt. Raises as `open_database` does."""
    try:
        await asyncio.to_thread(finish_rebuild, path)
    except OSError as error:
        raise folder_error(path.parent, error) from error
    try:
        return await _loaded(await open_database(path, wal_bytes=wal_bytes(max_bytes)), max_bytes)
    except DamagedError as error:
        return await rebuilt_store(path, max_bytes, error.message)


async def rebuilt_store(path: Path, max_bytes: int, reason: str) -> tuple[Connection, Store]:
    """Rebuild a damaged file and open what was saved. Raises as `rebuild_database` does."""
    return await _loaded(await rebuild_database(path, wal_bytes=wal_bytes(max_bytes), reason=reason), max_bytes)


async def _loaded(connection: Connection, max_bytes: int) -> tuple[Connection, Store]:
    try:
        store = await connection.run(partial(Store, max_bytes=max_bytes, wal_bytes=wal_bytes(max_bytes)))
    except BaseException:
        await connection.close()
        raise
    return connection, store
