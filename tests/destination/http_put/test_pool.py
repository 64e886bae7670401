"""Connections that wait to be used again."""

from __future__ import annotations

import asyncio

import pytest

from forwarder.destination.http_put.connection import Connection
from forwarder.destination.http_put.pool import Pool
from tests.delivery.conftest import until
from tests.destination.http_put.pairs import Pairs
from tests.fixtures import PATIENCE


async def opened(pool: Pool, pairs: Pairs) -> tuple[Connection, asyncio.StreamWriter]:
    """Return a connection that the pool knows, and the other end."""
    generation = pool.generation
    connection, _reader, writer = await pairs.connect(pool.lost)
    pool.add(connection, generation)
    return connection, writer


async def test_the_last_one_is_used_first(pairs: Pairs) -> None:
    """Of several the one that was used last serves the next request, so the others may grow old."""
    pool = Pool(60.0)
    first, _ = await opened(pool, pairs)
    second, _ = await opened(pool, pairs)
    pool.keep(first, None)
    pool.keep(second, None)
    assert await pool.take() is second
    assert await pool.take() is first
    assert await pool.take() is None
    await pool.close()


@pytest.mark.parametrize(("max_age", "server_seconds"), [(0.05, None), (60.0, 0.1)], ids=["age", "server"])
async def test_none_waits_too_long(pairs: Pairs, max_age: float, server_seconds: float | None) -> None:
    """One that is too old, or that the server would soon close, is closed though nobody asks for it."""
    pool = Pool(max_age)
    connection, _ = await opened(pool, pairs)
    pool.keep(connection, server_seconds)
    assert not connection.is_closed
    await until(lambda: connection.is_closed)
    assert await pool.take() is None
    await pool.close()


async def test_one_that_the_server_does_not_keep(pairs: Pairs) -> None:
    """Where the server waits for nothing, neither do we."""
    pool = Pool(60.0)
    connection, _ = await opened(pool, pairs)
    pool.keep(connection, 0.0)
    await until(lambda: connection.is_closed)
    await pool.close()


@pytest.mark.parametrize("said", [b"", b"unasked"], ids=["closed", "spoke"])
async def test_one_that_is_not_silent_is_not_used(pairs: Pairs, said: bytes) -> None:
    """What the server has closed, or has said something over, serves no request."""
    pool = Pool(60.0)
    connection, writer = await opened(pool, pairs)
    pool.keep(connection, None)
    writer.write(said)
    writer.close()
    await writer.wait_closed()
    assert await pool.take() is None
    await until(lambda: connection.is_closed)
    await pool.close()


async def test_none_of_before_a_renewal(pairs: Pairs) -> None:
    """Neither what waits is used after it, nor what is in use then, nor what is being opened."""
    pool = Pool(60.0)
    idle, _ = await opened(pool, pairs)
    busy, _ = await opened(pool, pairs)
    generation = pool.generation
    pool.keep(idle, None)
    pool.renew()
    late, _reader, _writer = await pairs.connect(pool.lost)
    pool.add(late, generation)
    assert await pool.take() is None
    for connection in (busy, late):
        assert not connection.is_closed
        pool.keep(connection, None)
    assert await pool.take() is None
    await until(lambda: idle.is_closed and busy.is_closed and late.is_closed)
    current, _ = await opened(pool, pairs)
    pool.keep(current, None)
    assert await pool.take() is current
    await pool.close()


async def test_closing_ends_all(pairs: Pairs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that wait and those in use have ended when it is closed; one that had ended before is no reason to wait."""
    monkeypatch.setattr("forwarder.destination.http_put.pool._CLOSING_SECONDS", 2 * PATIENCE)
    pool = Pool(60.0)
    idle, _ = await opened(pool, pairs)
    busy, _ = await opened(pool, pairs)
    gone, _reader, _writer = await pairs.connect(pool.lost)
    gone.abort()
    pool.add(gone, pool.generation)
    pool.keep(idle, None)
    async with asyncio.timeout(PATIENCE):
        await pool.close()
    assert idle.is_closed
    assert busy.is_closed
