"""The lines of a stream wait for room in the queue, and are stored once and in order."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from forwarder.errors import QueueFullError
from tests.fixtures import PATIENCE
from tests.ingest.serving import Serving, StubbornQueue, line, lines, serving
from tests.ingest.serving import sqlite as open_queue
from tests.ingest.stream_client import (
    Client,
    client,
    refusals,
    until,
)


class TestFullQueue:
    async def test_reading_stops_and_goes_on(self, tmp_path: Path) -> None:
        """While the queue is full nothing more is read; once it has space everything is stored, once and in order."""
        queue = StubbornQueue(QueueFullError("full"))
        async with serving(tmp_path, queue=queue) as server, client(server) as ours, client(server) as other:
            sending = asyncio.create_task(self._send(ours, 40_000))
            await other.send(line(99_999))
            await asyncio.sleep(0.3)
            assert not sending.done()
            assert queue.attempts < 20
            # Each waits once, however often it tries again.
            queue.tell()
            await until(lambda: queue.attempts >= 4)
            assert [found.stopped for found in server.intake.fullness.now().values()] == [2]
            queue.relent()
            await sending
            await ours.acked(40_000)
            await other.acked(1)
            stored = await server.stored()
        assert [number for number in stored if number != 99_999] == list(range(40_000))
        assert len(stored) == 40_001

    @staticmethod
    async def _send(ours: Client, count: int) -> None:
        for first in range(0, count, 1000):
            await ours.send(lines(first, first + 1000, 100))

    async def test_a_queue_that_is_really_full(self, tmp_path: Path) -> None:
        """With the real queue, too: a stream waits for space, and goes on when a purge makes some."""
        async with (
            open_queue(tmp_path, max_bytes=2 * 1024 * 1024) as queue,
            serving(tmp_path, queue=queue) as server,
            client(server) as ours,
        ):
            sending = asyncio.create_task(self._send(ours, 10_000))
            acking = asyncio.create_task(ours.acked(10_000))
            purged = 0
            async with asyncio.timeout(PATIENCE):
                while not acking.done():
                    await asyncio.sleep(0.1)
                    purged += await queue.purge("main")
            await sending
            assert purged + len(await server.stored()) == 10_000

    async def test_a_client_that_gives_up(self, tmp_path: Path) -> None:
        """A client that hangs up while its lines wait for space takes them with it: it will send them again."""
        queue = StubbornQueue(QueueFullError("full"))
        async with serving(tmp_path, queue=queue) as server:
            async with client(server) as ours:
                await ours.send(lines(0, 10))
                await until(lambda: queue.attempts)
            queue.tell()
            await until(lambda: not server.stream.connections)
            queue.relent()
            assert await server.stored() == []

    async def test_a_client_that_is_done_and_waits(self, tmp_path: Path) -> None:
        """A client that has ended its side and waits for its acks is not taken for one that is gone."""
        queue = StubbornQueue(QueueFullError("full"))
        async with serving(tmp_path, queue=queue) as server, client(server) as ours:
            await ours.send(lines(0, 10), end=True)
            await until(lambda: queue.attempts)
            for attempts in (2, 3):
                queue.tell()
                await until(lambda attempts=attempts: queue.attempts == attempts)
            queue.relent()
            assert await ours.rest() == [{"ack": 10}]


class TestInvalid:
    """Lines that break the rules where they are kept as dead letters."""

    async def test_they_are_acked(self, server: Serving) -> None:
        """What is kept counts as settled, in the order of the lines, and nothing is called refused."""
        server.intake.keeps_invalid = True
        async with client(server) as ours:
            await ours.send(b"nonsense\n" + lines(0, 10) + b"{}\n\n\xff\n" + line(10) + b"x" * 50_000 + b"\n", end=True)
            said = await ours.rest()
        assert refusals(said) == []
        assert said[-1] == {"ack": 15}
        assert await server.stored() == list(range(11))
        found = await server.invalid()
        assert [letter.status for letter in found] == [400, 422, 400, 413]
        excerpt = json.loads(found[-1].event)["invalid"]
        assert (excerpt["text"], excerpt["bytes"]) == ("x" * 4096, 50_000)

    async def test_a_full_account(self, tmp_path: Path) -> None:
        """Where the account is full, lines are refused by their numbers again, and good ones beside them are stored."""
        async with open_queue(tmp_path, invalid_bytes=64 * 1024) as queue, serving(tmp_path, queue=queue) as server:
            server.intake.keeps_invalid = True
            async with client(server) as ours:
                said = []
                for number in range(20):
                    await ours.send(json.dumps({"x": "x" * 9000}).encode() + b"\n" + line(number))
                    said += await ours.acked(2 * number + 2)
            kept = len(await server.invalid())
            assert 3 < kept < 8
            assert refusals(said) == [(2 * number + 1, 422) for number in range(kept, 20)]
            assert await server.stored() == list(range(20))
            assert {*server.intake.fullness.now()} == {"invalid"}

    async def test_a_full_queue(self, tmp_path: Path) -> None:
        """While the queue itself is full they wait like any other line."""
        queue = StubbornQueue(QueueFullError("full"))
        async with serving(tmp_path, queue=queue) as server, client(server) as ours:
            server.intake.keeps_invalid = True
            await ours.send(b"{}\n", end=True)
            await until(lambda: queue.attempts)
            queue.relent()
            assert await ours.rest() == [{"ack": 1}]
