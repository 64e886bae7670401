"""An intake that listens, with a real queue behind it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from forwarder.envelope import Envelope
from forwarder.errors import ForwarderError
from forwarder.ingest.http import HttpIntake
from forwarder.ingest.intake import Intake
from forwarder.ingest.stream import StreamIntake
from forwarder.model import INVALID, Address, DeadFilter, DeadLetter, DeadSegment, Segment
from forwarder.observe.base import Observer
from forwarder.observe.logs import Logs
from forwarder.queue.base import Appended, Queue, Share
from forwarder.queue.sqlite.queue import SqliteQueue
from forwarder.web.access import Access
from forwarder.web.listening import Listener, listen
from tests.queue import building
from tests.queue.watched import WatchedQueue

MAX_EVENT = 10_000
MAX_REQUEST = 2_000_000


def event(number: int, filler: int = 0) -> dict[str, Any]:
    """Return an event that can be told from every other."""
    found: dict[str, Any] = json.loads(building.event(number, filler))
    return found


def line(number: int, filler: int = 0) -> bytes:
    return building.event(number, filler) + b"\n"


def lines(first: int, end: int, filler: int = 0) -> bytes:
    return b"".join(line(number, filler) for number in range(first, end))


class StubbornQueue(WatchedQueue):
    """A queue in memory that refuses everything while `refusal` is set, and tells of each attempt."""

    def __init__(self, refusal: ForwarderError | Exception | None = None) -> None:
        super().__init__()
        self.refusal = refusal
        self.attempts = 0

    async def append(self, segments: Sequence[Segment], dead: Sequence[DeadSegment] = ()) -> Sequence[Appended]:
        self.attempts += 1
        if self.refusal is not None:
            raise self.refusal
        return await super().append(segments, dead)

    def tell(self) -> None:
        """Say that there is space, true or not."""
        self._space.set()
        self._space = asyncio.Event()

    def relent(self) -> None:
        """Take events from now on."""
        self.refusal = None
        self.tell()


@dataclass
class Serving:
    """What listens, and what it is made of."""

    queue: Queue
    intake: Intake
    http: HttpIntake
    stream: StreamIntake
    address: dict[str, Address] = field(default_factory=dict)
    """By kind: http or stream."""
    close_stream: Callable[[], Awaitable[None]] = field(init=False)
    """Listen no more, and stop the stream."""

    async def invalid(self) -> list[DeadLetter]:
        """Return what was kept as invalid; the account adds up."""
        found = [letter async for letter in self.queue.dead_letters(DeadFilter(INVALID))]
        account = (await self.queue.stats()).destinations[INVALID]
        assert account.accepted == account.queued + account.delivered + account.dead + account.dropped
        assert account.dead == len(found)
        return found

    async def stored(self, destination: str = "main") -> list[int]:
        """Return the numbers of the events in the queue, in order."""
        return building.numbers([found async for found in self.queue.peek(destination, None)])


@asynccontextmanager
async def sqlite(
    tmp_path: Path, max_bytes: int = 64 * 1024 * 1024, *, invalid_bytes: int = 1024 * 1024
) -> AsyncIterator[SqliteQueue]:
    """Open a queue for one destination, and for what is invalid."""
    async with await SqliteQueue.open(tmp_path / "queue.db", Logs(), max_bytes=max_bytes) as queue:
        await queue.configure({"main": Share(), INVALID: Share(invalid_bytes, setting="ingest.invalid_max_bytes")})
        yield queue


@asynccontextmanager
async def serving(
    tmp_path: Path,
    *,
    queue: Queue | None = None,
    envelope: Envelope | None = None,
    tcp: bool = False,
    token: str | None = None,
    uids: frozenset[int] = frozenset(),
    observer: Observer | None = None,
) -> AsyncIterator[Serving]:
    """Serve HTTP and the stream as the daemon does, and stop in the order in which it stops."""
    async with AsyncExitStack() as stack:
        if queue is None:
            queue = await stack.enter_async_context(sqlite(tmp_path))
        intake = Intake(queue, envelope or Envelope(routes={"main": {}}, max_event_bytes=MAX_EVENT), observer or Logs())
        http = HttpIntake(intake, max_request_bytes=MAX_REQUEST)
        stream = StreamIntake(intake, max_event_bytes=MAX_EVENT)
        serving = Serving(queue, intake, http, stream)
        for kind in ("http", "stream"):
            address = Address(host="127.0.0.1", port=0) if tcp else Address(path=str(tmp_path / f"{kind}.sock"))
            listener = listen(address)
            serving.address[kind] = listener.address
            access = Access(listener.address, listener.reach, token=token, allow_uids=uids)
            if kind == "http":
                await stack.enter_async_context(_http(http, listener, access))
            else:
                await stack.enter_async_context(_stream(serving, listener, access))
        yield serving


@asynccontextmanager
async def _http(http: HttpIntake, listener: Listener, access: Access) -> AsyncIterator[None]:
    runner = web.ServerRunner(http.server(access), shutdown_timeout=1)
    await runner.setup()
    await web.SockSite(runner, listener.socket).start()
    try:
        yield
    finally:
        await runner.cleanup()
        listener.close()


@asynccontextmanager
async def _stream(serving: Serving, listener: Listener, access: Access) -> AsyncIterator[None]:
    server = await serving.stream.serve(listener, access)
    ending: list[None] = []

    async def close() -> None:
        if not ending:
            ending.append(None)
            await serving.stream.close(server, listener, access)
            await serving.stream.stop()

    serving.close_stream = close
    try:
        yield
    finally:
        await close()


async def connect(address: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a listener."""
    if address.path is not None:
        return await asyncio.open_unix_connection(address.path)
    return await asyncio.open_connection(address.host, address.port)
