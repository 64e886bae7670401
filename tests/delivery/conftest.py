"""What the tests of delivery share: keys, raw servers, and the way from a queue to a receiver."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from forwarder.config import BatchConfig, DestinationConfig, RetryConfig
from forwarder.config.schema import SigningConfig
from forwarder.delivery.pipeline import Pipeline
from forwarder.delivery.pump import Pump
from forwarder.destination.http_put.put import HttpPut
from forwarder.model import Address, Counters, DeadFilter, DeadLetter
from forwarder.observe.logs import Logs
from forwarder.queue.base import Share
from forwarder.queue.memory import Account, MemoryQueue
from forwarder.receiver import Receiver
from forwarder.signing import Signer
from tests.fixtures import PATIENCE, signer
from tests.queue.building import numbers, segment

__all__ = ["PATIENCE", "signer"]

QUICK = RetryConfig(initial=0.002, max=0.01)
# For what must not be tried again by itself before the test is over, whether it backs off or is held.
SLOW = RetryConfig(initial=1000.0, max=1000.0)

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def destination(url: str = "http://127.0.0.1:1/put", **settings: Any) -> DestinationConfig:
    """Return the configuration of a destination; its key is read by nobody here."""
    return DestinationConfig(url=url, signing=SigningConfig(key_file=Path("/nowhere/key.pem")), **settings)


def idle_pipeline() -> Pipeline:
    """Return the pipeline of a destination to which nothing is sent."""
    return Pipeline(release=lambda _batch: None, wake=lambda: None)


@asynccontextmanager
async def raw_server(handler: Handler, **settings: Any) -> AsyncIterator[int]:
    """Serve connections on a free port of this machine; yield the port."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await handler(reader, writer)
        with suppress(ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, **settings)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Return head and body of a request."""
    head = await reader.readuntil(b"\r\n\r\n")
    [length] = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    return head, await reader.readexactly(int(length))


async def until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait until something holds; fails after `PATIENCE` seconds."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = condition()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.001)


@dataclass
class Line:
    """A queue, a receiver, and the pump between them."""

    queue: MemoryQueue
    receiver: Receiver
    signer: Signer
    config: DestinationConfig
    stack: AsyncExitStack
    pump: Pump = field(init=False)
    task: asyncio.Task[None] = field(init=False)

    def build(self, *, paused: bool = False, pace: Mapping[str, Any] = MappingProxyType({}), **changes: Any) -> Pump:
        """Return a pump that does not run yet, with changes to its configuration; `pace` is what else it takes."""
        config = replace(self.config, **changes)
        put = HttpPut("main", config, self.signer)
        self.pump = Pump("main", config, self.queue, put, Logs(), paused=paused, **pace)

        async def run(pump: Pump = self.pump) -> None:
            async with aclosing(put):
                await pump.run()

        self._run = run
        return self.pump

    def start(self, *, paused: bool = False, pace: Mapping[str, Any] = MappingProxyType({}), **changes: Any) -> Pump:
        """Start a pump."""
        pump = self.build(paused=paused, pace=pace, **changes)
        self.task = asyncio.create_task(self._run())
        self.stack.push_async_callback(self.cancel, self.task)
        return pump

    async def cancel(self, task: asyncio.Task[None] | None = None) -> None:
        """Cancel a pump, and wait until it has ended."""
        found = self.task if task is None else task
        found.cancel()
        await asyncio.wait([found])

    async def ended(self) -> None:
        """Wait until the pump has ended by itself."""
        async with asyncio.timeout(PATIENCE):
            await self.task

    async def append(self, first: int, count: int = 1, filler: int = 0) -> None:
        """Queue numbered events."""
        await self.queue.append([segment(first, count, filler=filler)])

    async def purge(self) -> int:
        """Drop what is queued and not being sent; return how many events."""
        async with self.pump.recalled():
            return await self.queue.purge("main")

    async def account(self) -> Counters:
        """Return the counters; their identity is checked each time."""
        found = (await self.queue.stats()).destinations["main"]
        assert found.accepted == found.queued + found.delivered + found.dead + found.dropped
        return found

    async def dead(self) -> list[DeadLetter]:
        """Return the dead letters from the oldest on."""
        return [letter async for letter in self.queue.dead_letters(DeadFilter())]

    async def empty(self) -> None:
        """Wait until nothing is queued any more."""

        async def is_empty() -> bool:
            return (await self.account()).queued == 0

        await until(is_empty)

    async def in_state(self, state: str) -> None:
        """Wait until the destination is in a state."""
        await until(lambda: self.pump.health.gate.state.value == state)

    @property
    def arrived(self) -> list[int]:
        """The numbers of the events that the receiver stored, in order."""
        return numbers(self.receiver.events)

    @property
    def answers(self) -> list[int | None]:
        """What the receiver answered, request by request."""
        return [record.status for record in self.receiver.requests]


MakeLine = Callable[..., Awaitable[Line]]


@pytest.fixture
async def make_line(signer: Signer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MakeLine]:
    """Return a function that makes a line to a receiver with a script of faults."""
    # A busy machine must not make the pump give up what it waits for.
    monkeypatch.setattr("forwarder.delivery.pump._RECALL_SECONDS", 2 * PATIENCE)
    # What one line leaves is there for the next one, as after a restart.
    accounts: dict[str, Account] = {}
    async with AsyncExitStack() as stack:

        async def make(faults: str = "", *, retry: RetryConfig = QUICK, **settings: Any) -> Line:
            queue = await stack.enter_async_context(MemoryQueue(64 << 20, accounts=accounts))
            await queue.configure({"main": Share()})
            address = Address(host="127.0.0.1", port=0)
            receiver = await stack.enter_async_context(
                Receiver(address, public_keys=[signer.public("pem")], faults=faults)
            )
            settings.setdefault("batch", BatchConfig(max_age=0))
            if retry is SLOW:
                # What is held would be tried again after five seconds, which a busy machine may well take for a test.
                monkeypatch.setattr("forwarder.delivery.backoff._SOON", ())
            config = destination(receiver.url, retry=retry, **settings)
            return Line(queue, receiver, signer, config, stack)

        yield make
