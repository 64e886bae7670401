"""The producers, one for each way in: each sends, reads what is answered, and keeps its journal.

They are written against bare sockets, so that what was written and what was read is known to the
byte and to the moment. No event is sent twice: what was not answered stays unknown.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from random import Random

from forwarder.model import Address
from tests.campaigns.killing.events import HTTP_ARRAY, Events
from tests.campaigns.killing.journal import Journal
from tests.campaigns.killing.shot import Sight

# Lines that a stream may have without an ack before the producer waits.
_WINDOW = 400
# The longest pause between two writes, in seconds.
_PAUSE = 0.012


class Producer:
    """Sends one source's events over one connection a life, until that breaks or it is cancelled."""

    def __init__(
        self, source: str, events: Events, journal: Journal, chance: Random, saw: Callable[[Sight], None]
    ) -> None:
        self.source = source
        self._events = events
        self.journal = journal
        self._chance = chance
        self._saw = saw
        self.complaints: list[str] = []

    async def run(self, life: int, address: Address) -> None:
        """Send until the connection breaks: then the forwarder has ended, or is about to."""
        try:
            if address.path is not None:
                reader, writer = await asyncio.open_unix_connection(address.path)
            else:
                reader, writer = await asyncio.open_connection(address.host, address.port)
        except (ConnectionError, FileNotFoundError):
            return
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._send(life, reader, writer)
        finally:
            writer.transport.abort()

    async def _send(self, life: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError

    async def _pause(self) -> None:
        await asyncio.sleep(self._chance.choice([0.0, 0.0, self._chance.uniform(0.0, _PAUSE)]))

    def _next_texts(self, life: int, count: int) -> list[bytes]:
        """Take the next numbers, write down that they are sent, and return their events."""
        first = self.journal.last + 1
        self.journal.sent(life, first + count - 1)
        return [self._events.text(self.source, number) for number in range(first, first + count)]


class Poster(Producer):
    """HTTP: one event a request, or arrays."""

    async def _send(self, life: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await self.post(life, reader, writer)
            await self._pause()

    async def post(self, life: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Make one request and write down what came of it."""
        is_array = self.source == HTTP_ARRAY
        first = self.journal.last + 1
        texts = self._next_texts(life, self._chance.randint(1, 40) if is_array else 1)
        body = b"[" + b",".join(texts) + b"]" if is_array else texts[0]
        writer.write(
            b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        self._saw(Sight.WRITTEN)
        await writer.drain()
        status, answer = await read_answer(reader)
        if status == 202:
            self._saw(Sight.ACCEPTED)
            self.journal.accepted(life, first, self.journal.last)
            if json.loads(answer)["accepted"] != len(texts):
                self.complaints.append(f"{self.source}: {len(texts)} events were sent, and 202 said {answer!r}")
        else:
            self.journal.refused(life, first, self.journal.last, status)


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Read one HTTP answer; return its status and body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    size = next(line.partition(":")[2] for line in head.split("\r\n") if line.startswith("content-length:"))
    return int(head.split(" ", 2)[1]), await reader.readexactly(int(size))


class SinglePost(Poster):
    """One request of one event, and no more."""

    async def _send(self, life: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.post(life, reader, writer)


class Streamer(Producer):
    """The stream socket: bursts of lines, acks read at the same time."""

    async def _send(self, life: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        base = self.journal.last
        self._acked = base
        self._read_more = asyncio.Event()
        reading = asyncio.create_task(self._read(life, base, reader))
        try:
            while not reading.done():
                if self.journal.last - self._acked > _WINDOW:
                    self._read_more.clear()
                    await self._read_more.wait()
                    continue
                lines = self._next_texts(life, self._chance.choice([1, 3, self._chance.randint(1, 60)]))
                writer.write(b"\n".join(lines) + b"\n")
                self._saw(Sight.WRITTEN)
                await writer.drain()
                await self._pause()
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(self, life: int, base: int, reader: asyncio.StreamReader) -> None:
        """Read answers until the connection ends; lines are counted from `base`."""
        try:
            while line := await reader.readline():
                if not line.endswith(b"\n"):
                    return
                answer = json.loads(line)
                if "ack" in answer:
                    self._saw(Sight.ACCEPTED)
                    self._settled(life, base + answer["ack"])
                elif answer["refused"] == 0:
                    self.complaints.append(f"{self.source}: the connection was refused: {answer}")
                else:
                    number = base + answer["refused"]
                    self.journal.refused(life, number, number, answer["status"])
        finally:
            self._read_more.set()

    def _settled(self, life: int, last: int) -> None:
        if not self._acked < last <= self.journal.last:
            self.complaints.append(f"{self.source}: ack of {last} after {self._acked}; sent {self.journal.last}")
            return
        self.journal.accepted(life, self._acked + 1, last)
        self._acked = last
        self._read_more.set()
