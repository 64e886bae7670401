"""A client of the stream, as well-behaved as a test wants it."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from forwarder.model import DeadSegment, Segment
from forwarder.queue.base import Appended
from tests.fixtures import PATIENCE
from tests.ingest.serving import Serving, StubbornQueue, connect

Answer = dict[str, Any]


class Client:
    """One connection to the stream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes, *, end: bool = False) -> None:
        self.writer.write(data)
        if end:
            self.writer.write_eof()
        await self.writer.drain()

    async def answer(self) -> Answer:
        async with asyncio.timeout(PATIENCE):
            found: Answer = json.loads(await self.reader.readline())
        return found

    async def acked(self, count: int) -> list[Answer]:
        """Read until so many lines are acked; return everything that was said."""
        said = [await self.answer()]
        while said[-1].get("ack", 0) < count:
            said.append(await self.answer())
        assert said[-1] == {"ack": count}
        return said

    async def rest(self) -> list[Answer]:
        """Read to the end."""
        async with asyncio.timeout(PATIENCE):
            return [json.loads(said) for said in (await self.reader.read()).splitlines()]

    def reset(self) -> None:
        """Break the connection off: what is still on its way is lost."""
        raw: socket.socket = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@asynccontextmanager
async def client(server: Serving) -> AsyncIterator[Client]:
    reader, writer = await connect(server.address["stream"])
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()
        # Let both sides take note.
        await asyncio.sleep(0.01)


@asynccontextmanager
async def raw(server: Serving) -> AsyncIterator[socket.socket]:
    """Connect a bare socket that does not block."""
    address = server.address["stream"]
    with socket.socket(socket.AF_UNIX if address.is_unix else socket.AF_INET) as ours:
        ours.setblocking(False)
        await asyncio.get_running_loop().sock_connect(ours, address.path or (address.host, address.port))
        yield ours


def fill(ours: socket.socket, data: bytes) -> int:
    """Write as much as the system takes; return how many bytes that were. Nothing else runs meanwhile."""
    written = 0
    with suppress(BlockingIOError):
        while written < len(data):
            written += ours.send(data[written:])
    return written


async def received(ours: socket.socket) -> list[Answer]:
    """Read to the end, which is no reset."""
    data = b""
    async with asyncio.timeout(PATIENCE):
        while more := await asyncio.get_running_loop().sock_recv(ours, 65536):
            data += more
    return [json.loads(said) for said in data.splitlines()]


async def answer(ours: socket.socket) -> Answer:
    """Read one answer that comes alone."""
    async with asyncio.timeout(PATIENCE):
        found: Answer = json.loads(await asyncio.get_running_loop().sock_recv(ours, 65536))
    return found


class SinkQueue(StubbornQueue):
    """A queue that takes events, counts them and forgets them."""

    def __init__(self) -> None:
        super().__init__()
        self.events = 0

    async def append(self, segments: Sequence[Segment], dead: Sequence[DeadSegment] = ()) -> Sequence[Appended]:
        if self.refusal is not None:
            raise self.refusal
        self.events += sum(segment.events for segment in segments)
        return []


def refusals(said: list[Answer]) -> list[tuple[int, int]]:
    """Return line and status of each refusal."""
    return [(found["refused"], found["status"]) for found in said if "refused" in found]


async def until(condition: Any) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)


async def send_all(ours: Client, block: bytes, count: int) -> None:
    """Send the same lines again and again."""
    for _ in range(count):
        await ours.send(block)
