"""Watching the status over a real socket."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from forwarder.admin.live import Live
from forwarder.admin.status import QueueState, Status
from forwarder.errors import ForbiddenError, StorageError, TooManyWatchersError
from tests.observe.recording import Recording


@dataclass
class Watched:
    """A daemon that is watched; it counts how often it was asked."""

    bytes: int = 0
    padding: str = ""
    error: Exception | None = None
    asked: int = 0
    allowed: bool = True
    url: str = ""
    observer: Recording = field(default_factory=Recording)
    close: Callable[[], None] = lambda: None

    async def status(self, sees_events: bool) -> Status:
        self.asked += 1
        if self.error is not None:
            raise self.error
        queue = QueueState("sqlite", self.bytes, 1000, False)
        # Its clock goes on.
        return Status(f"1.0 {sees_events}{self.padding}", float(self.asked), True, queue, {})

    async def check(self) -> None:
        if not self.allowed:
            raise ForbiddenError("not any more")


@asynccontextmanager
async def serving(watched: Watched) -> AsyncIterator[Watched]:
    live = Live(watched.status, watched.observer, seconds=0.02, unread_seconds=0.2)
    place = object()
    watched.close = lambda: live.close(place)

    async def watch(request: web.Request) -> web.StreamResponse:
        try:
            return await live.watch(request, place, sees_events="viewer" not in request.query, check=watched.check)
        except TooManyWatchersError:
            return web.Response(status=503)

    app = web.Application()
    app.router.add_get("/", watch)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    watched.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    try:
        yield watched
    finally:
        await runner.cleanup()


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    async with serving(Watched()) as watched:
        yield watched


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield session


async def event(response: aiohttp.ClientResponse) -> tuple[str, Any]:
    """Return the next event: its name and its data."""
    async with asyncio.timeout(10):
        while True:
            lines = (await response.content.readuntil(b"\n\n")).decode().splitlines()
            fields = dict(line.split(": ", 1) for line in lines if line)
            if "event" in fields:
                return fields["event"], json.loads(fields["data"])


async def test_at_once_and_when_it_changes(watched: Watched, client: aiohttp.ClientSession) -> None:
    """The status comes at once, then whenever it is another one, and to everybody who watches."""
    async with client.get(watched.url) as one, client.get(watched.url) as other:
        assert one.content_type == "text/event-stream"
        for response in (one, other):
            name, data = await event(response)
            assert (name, data["queue"]["bytes"]) == ("status", 0)
        watched.bytes = 7
        for response in (one, other):
            while (await event(response))[1]["queue"]["bytes"] != 7:
                pass


async def test_what_stays_the_same_comes_rarely(watched: Watched, client: aiohttp.ClientSession) -> None:
    """A status of which only the clock goes on is sent with every sixth look, so that silence means something."""
    async with client.get(watched.url) as response:
        seen = [(await event(response))[1]["uptime_seconds"] for _ in range(4)]
    assert [after - before for before, after in pairwise(seen)] == [6.0] * 3


async def test_it_is_written_once_for_all_and_only_while_somebody_watches(
    watched: Watched, client: aiohttp.ClientSession
) -> None:
    """Ten watchers cost as many looks as one, and nobody's none at all."""
    responses = [await client.get(watched.url) for _ in range(10)]
    for response in responses:
        await event(response)
    asked = watched.asked
    await asyncio.gather(*[event(response) for response in responses])
    assert watched.asked - asked <= 20
    for response in responses:
        response.close()
    # It has not seen that they are gone before it has written to them.
    asked = -1
    async with asyncio.timeout(10):
        while asked != watched.asked:
            asked = watched.asked
            await asyncio.sleep(0.5)


async def test_viewers_get_their_own(watched: Watched, client: aiohttp.ClientSession) -> None:
    """Those who see no events get the status that was made for them."""
    async with client.get(watched.url) as operator, client.get(f"{watched.url}?viewer") as viewer:
        assert (await event(operator))[1]["version"] == "1.0 True"
        assert (await event(viewer))[1]["version"] == "1.0 False"


async def test_a_status_that_cannot_be_had(watched: Watched, client: aiohttp.ClientSession) -> None:
    """Why there is none is told, and the status comes again once there is one."""
    watched.error = StorageError("disk I/O error")
    async with client.get(watched.url) as response:
        assert await event(response) == ("problem", {"detail": "disk I/O error", "hint": ""})
        watched.error = RuntimeError("secret")
        while (told := await event(response))[1]["detail"] == "disk I/O error":
            pass
        assert "secret" not in str(told)
        watched.error = None
        while (await event(response))[0] != "status":
            pass
    assert len(watched.observer.facts) == 1


async def test_whoever_may_not_look_any_more_is_cut_off(watched: Watched, client: aiohttp.ClientSession) -> None:
    """Rights are asked for again before anything is sent."""
    async with client.get(watched.url) as response:
        await event(response)
        watched.allowed = False
        watched.bytes = 1
        with pytest.raises((aiohttp.ClientError, asyncio.IncompleteReadError)):
            while True:
                await event(response)


async def test_a_watcher_that_does_not_read_is_dropped(watched: Watched, client: aiohttp.ClientSession) -> None:
    """It holds up nobody, nothing piles up for it, and after a while its connection is cut."""
    watched.padding = "x" * 200_000
    host, port = watched.url.removeprefix("http://").rstrip("/").split(":")
    loop = asyncio.get_running_loop()
    with socket.socket() as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.setblocking(False)
        await loop.sock_connect(lazy, (host, int(port)))
        await loop.sock_sendall(lazy, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        # More than one event has to fit into what the client reads ahead.
        async with client.get(watched.url, read_bufsize=1 << 20) as response:
            for number in range(1, 60):
                watched.bytes = number
                while (await event(response))[1]["queue"]["bytes"] != number:
                    pass
        received = 0
        with pytest.raises(ConnectionResetError):
            async with asyncio.timeout(10):
                while chunk := await loop.sock_recv(lazy, 1 << 20):
                    received += len(chunk)
                raise ConnectionResetError
    assert received < 59 * 200_000


async def test_there_are_only_so_many(watched: Watched, client: aiohttp.ClientSession) -> None:
    """The thirty-third is refused until another has gone."""
    responses = [await client.get(watched.url) for _ in range(33)]
    assert [response.status for response in responses] == [200] * 32 + [503]
    responses[0].close()

    async def is_let_in() -> bool:
        async with client.get(watched.url) as response:
            return response.status == 200

    async with asyncio.timeout(10):
        while not await is_let_in():
            await asyncio.sleep(0.02)
    for response in responses:
        response.close()


async def test_closing_ends_all(watched: Watched, client: aiohttp.ClientSession) -> None:
    """When the address is closed, its streams end at once, and properly."""
    async with client.get(watched.url) as response:
        await event(response)
        watched.close()
        async with asyncio.timeout(5):
            await response.content.read()
