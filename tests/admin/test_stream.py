"""Streams of lines: flat in memory, exact in their end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from forwarder.errors import StorageError
from forwarder.model import Segment
from tests.admin.serving import Served
from tests.fixtures import PATIENCE

EVENT = b'{"pad":"' + b"x" * 1000 + b'"}'


async def test_early_failure_has_its_status(client: aiohttp.ClientSession, served: Served) -> None:
    """What fails before the first line is answered with the status of the failure."""
    await served.queue.append([Segment("main", 1, EVENT + b"\n")])
    served.queue.fails_after, served.queue.error = 0, StorageError("disk I/O error")
    async with client.get("/v1/destinations/main/queue") as response:
        assert response.status == 503


async def test_late_failure_cuts_the_answer(client: aiohttp.ClientSession, served: Served) -> None:
    """What fails in the middle breaks the connection: the part is not taken for the whole."""
    await served.queue.append([Segment("main", 500, (EVENT + b"\n") * 500)])
    served.queue.fails_after, served.queue.error = 400, StorageError("disk I/O error")
    async with client.get("/v1/destinations/main/queue") as response:
        assert response.status == 200
        with pytest.raises(aiohttp.ClientError):
            await response.read()


class Endless:
    """A queue's events without end, counted as they are asked for."""

    def __init__(self) -> None:
        self.yielded = 0
        self.closed = asyncio.Event()

    async def peek(self, _destination: str, _limit: int | None) -> AsyncIterator[bytes]:
        try:
            while True:
                self.yielded += 1
                yield EVENT
        finally:
            self.closed.set()


async def test_slow_reader(client: aiohttp.ClientSession, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that does not read holds up the stream instead of filling memory, and one that leaves ends it."""
    endless = Endless()
    monkeypatch.setattr(served.queue, "peek", endless.peek)
    async with client.get("/v1/destinations/main/queue") as response:
        await response.content.readline()
        seen = -1
        while seen != endless.yielded:
            seen = endless.yielded
            await asyncio.sleep(0.1)
        # A few megabytes are in the buffers of the sockets; the rest waits.
        assert endless.yielded < 10_000
        response.close()
    await asyncio.wait_for(endless.closed.wait(), PATIENCE)
