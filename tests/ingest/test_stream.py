"""Events over the stream socket: real sockets, well-behaved clients and others."""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
import struct
import tracemalloc
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from forwarder.envelope import Checked, Envelope
from forwarder.errors import QueueFullError, TooLargeError
from forwarder.model import DeadSegment, Segment
from tests.fixtures import Logs
from tests.ingest.serving import MAX_EVENT, Serving, StubbornQueue, connect, event, line, lines, serving
from tests.ingest.serving import sqlite as open_queue

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
        async with asyncio.timeout(10):
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
        async with asyncio.timeout(10):
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
    async with asyncio.timeout(10):
        while more := await asyncio.get_running_loop().sock_recv(ours, 65536):
            data += more
    return [json.loads(said) for said in data.splitlines()]


async def answer(ours: socket.socket) -> Answer:
    """Read one answer that comes alone."""
    async with asyncio.timeout(10):
        found: Answer = json.loads(await asyncio.get_running_loop().sock_recv(ours, 65536))
    return found


class SinkQueue(StubbornQueue):
    """A queue that takes events, counts them and forgets them."""

    def __init__(self) -> None:
        super().__init__()
        self.events = 0

    async def append(self, segments: Sequence[Segment], dead: Sequence[DeadSegment] = ()) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.events += sum(segment.events for segment in segments)


def refusals(said: list[Answer]) -> list[tuple[int, int]]:
    """Return line and status of each refusal."""
    return [(found["refused"], found["status"]) for found in said if "refused" in found]


async def until(condition: Any) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


class TestAnswers:
    async def test_acks(self, server: Serving) -> None:
        """What is acked is in the queue, in order; acks only grow; the connection goes on."""
        async with client(server) as ours:
            for first in range(0, 300, 100):
                await ours.send(lines(first, first + 100))
                said = await ours.acked(first + 100)
                assert [found["ack"] for found in said] == sorted({found["ack"] for found in said})
                assert await server.stored() == list(range(first + 100))

    async def test_line_by_line(self, server: Serving) -> None:
        """A client that waits for each ack gets one for each line."""
        async with client(server) as ours:
            for number in range(5):
                await ours.send(line(number))
                assert await ours.answer() == {"ack": number + 1}

    async def test_refusals(self, server: Serving) -> None:
        """A bad line is refused by its number, blank lines not counted, before the ack that covers it."""
        async with client(server) as ours:
            await ours.send(
                b"\n" + line(0) + b"\r\n \t\nnonsense\n" + line(1) + b'\n\n{"eventSourceId":1}\n[]\n\n' + line(2)
            )
            said = await ours.acked(6)
            assert refusals(said) == [(2, 400), (4, 422), (5, 422)]
            assert said[0]["detail"].startswith("not JSON: ")
            assert said[1]["detail"] == "eventSourceId: must be a string, not a number"
            acks = {place: found["ack"] for place, found in enumerate(said) if "ack" in found}
            for place, found in enumerate(said):
                assert all(ack < found["refused"] for at, ack in acks.items() if at < place and "refused" in found)
            await ours.send(b"\n{}\n" + line(3))
            assert refusals(await ours.acked(8)) == [(7, 422)]
        assert await server.stored() == [0, 1, 2, 3]

    async def test_the_end(self, server: Serving) -> None:
        """When the client ends its side, a last line without a newline counts, the last ack comes, and then the end."""
        async with client(server) as ours:
            await ours.send(lines(0, 1000) + line(1000).rstrip(), end=True)
            said = await ours.rest()
        assert said[-1] == {"ack": 1001}
        assert await server.stored() == list(range(1001))

    async def test_an_end_without_a_beginning(self, server: Serving) -> None:
        """A client that sends nothing, or only blank lines, is told nothing."""
        for nothing in (b"", b"\n \r\n\n"):
            async with client(server) as ours:
                await ours.send(nothing, end=True)
                assert await ours.rest() == []

    @pytest.mark.parametrize("seed", range(6))
    async def test_any_lines_in_any_reads(self, served: Serving, seed: int) -> None:
        """Whatever a client sends, in whatever pieces, each line is either stored or refused by its number, once."""
        chance = random.Random(seed)
        kinds: dict[str, Callable[[int], bytes]] = {
            "good": lambda number: line(number, chance.choice([0, 0, 0, 5000])),
            "crlf": lambda number: line(number)[:-1] + b" \r\n",
            "blank": lambda _number: chance.choice([b"\n", b"\r\n", b"  \n"]),
            "invalid": lambda _number: b'{"eventSourceId":"s"}\n',
            "malformed": lambda _number: chance.randbytes(30).replace(b"\n", b"") + b"!\n",
            "overlong": lambda _number: b"x" * chance.choice([MAX_EVENT + 2, 300_000]) + b"\n",
        }
        status = {"invalid": 422, "malformed": 400, "overlong": 413}
        chosen = chance.choices(list(kinds), [70, 10, 10, 5, 5, 2], k=600)
        data = b"".join(kinds[kind](number) for number, kind in enumerate(chosen))
        counted = [(number, kind) for number, kind in enumerate(chosen) if kind != "blank"]
        async with client(served) as ours:
            reading = asyncio.create_task(ours.rest())
            while data:
                size = chance.choice([1, 100, 10_000, 200_000])
                await ours.send(data[:size])
                data = data[size:]
            await ours.send(b"", end=True)
            said = await reading
        assert said[-1] == {"ack": len(counted)}
        assert refusals(said) == [(place, status[kind]) for place, (_, kind) in enumerate(counted, 1) if kind in status]
        assert await served.stored() == [number for number, kind in counted if kind not in status]


class TestLimits:
    async def test_the_largest_line(self, server: Serving) -> None:
        """An event of exactly the limit passes, with any line ending; one byte more is refused."""
        exact = line(0, MAX_EVENT - len(line(0)) + 1).rstrip()
        async with client(server) as ours:
            for number, ending in enumerate((b"\n", b"\r\n"), 1):
                await ours.send(exact + ending[:-1])
                await asyncio.sleep(0.01)
                await ours.send(ending[-1:])
                assert await ours.answer() == {"ack": number}
            await ours.send(exact.replace(b"x", b"xx", 1) + b"\n")
            refused, ack = await ours.acked(3)
            assert refused["detail"] == "the event has 10,001 bytes, the limit is 10,000 (ingest.max_event_bytes)"

    async def test_a_line_without_an_end(self, server: Serving) -> None:
        """A line far over the limit is refused without being kept, and the lines after it are served."""
        chunk = b"x" * 65536
        async with client(server) as ours:
            await ours.send(line(0))
            await ours.acked(1)
            tracemalloc.start()
            for _ in range(800):
                await ours.send(chunk)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            await ours.send(b"\n" + line(1), end=True)
            said = await ours.rest()
        assert refusals(said) == [(2, 413)]
        assert said[0]["detail"].startswith("the event has 52,428,800 bytes")
        assert said[-1] == {"ack": 3}
        assert peak < 5_000_000
        assert await server.stored() == [0, 1]

    async def test_a_reload_raises_the_limit(self, served: Serving) -> None:
        """Another limit holds for connections that are there already."""
        async with client(served) as ours:
            await ours.send(line(0, MAX_EVENT))
            assert refusals(await ours.acked(1)) == [(1, 413)]
            served.intake.envelope = Envelope(routes={"main": {}}, max_event_bytes=2 * MAX_EVENT)
            served.stream.max_event_bytes = 2 * MAX_EVENT
            await ours.send(line(1, MAX_EVENT))
            assert await ours.answer() == {"ack": 2}

    async def test_events_that_do_not_fit_together(self, tmp_path: Path) -> None:
        """Events that together never fit into the queue are stored apart; one that never fits alone is refused."""

        class SmallQueue(StubbornQueue):
            async def append(self, segments: Sequence[Segment], dead: Sequence[DeadSegment] = ()) -> None:
                if sum(len(segment.data) for segment in segments) > 2000:
                    raise TooLargeError("can never fit into the queue")
                await super().append(segments)

        queue = SmallQueue()
        async with serving(tmp_path, queue=queue) as server, client(server) as ours:
            await ours.send(b"{}\n" + lines(0, 20) + line(20, 5000) + b"{}\n" + lines(21, 40), end=True)
            said = await ours.rest()
            assert sorted(refusals(said)) == [(1, 422), (22, 413), (23, 422)]
            assert said[-1] == {"ack": 42}
            assert await server.stored() == [*range(20), *range(21, 40)]


class TestClientsThatMisbehave:
    async def test_closing_without_reading(self, server: Serving) -> None:
        """The whole lines of a client that closes without reading its acks are stored all the same."""
        for first in range(0, 3000, 100):
            _reader, writer = await connect(server.address["stream"])
            for number in range(first, first + 100, 10):
                writer.write(lines(number, number + 10))
            await writer.drain()
            if first % 200:
                # Time for acks that nobody will read.
                await asyncio.sleep(0.02)
            writer.close()
            await writer.wait_closed()
        async with asyncio.timeout(10):
            while len(await server.stored()) < 3000:
                await asyncio.sleep(0.02)
        assert sorted(await server.stored()) == list(range(3000))

    @pytest.mark.parametrize("is_tcp", [False, True])
    async def test_an_ack_that_meets_a_closed_door(self, tmp_path: Path, is_tcp: bool) -> None:
        """Where writing an ack fails because the client is gone, what it had sent before is still read and stored."""

        class SlowQueue(StubbornQueue):
            def __init__(self) -> None:
                super().__init__()
                self.go = asyncio.Event()

            async def append(self, segments: Sequence[Segment], dead: Sequence[DeadSegment] = ()) -> None:
                await self.go.wait()
                await super().append(segments)

        queue = SlowQueue()
        async with serving(tmp_path, queue=queue, tcp=is_tcp) as server:
            ours = socket.socket(socket.AF_INET if is_tcp else socket.AF_UNIX)
            at: Any = server.address["stream"]
            ours.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(ours, (at.host, at.port) if is_tcp else at.path)
            await loop.sock_sendall(ours, line(0))
            await asyncio.sleep(0.05)
            # Both at once, so that the ack is written before the rest is read.
            queue.go.set()
            ours.send(lines(1, 50))
            ours.close()
            await until(lambda: len(queue.queued("main")) == 50)

    async def test_never_reading_acks(self, tmp_path: Path) -> None:
        """A client that never reads its acks is served like any other, costs no memory and slows nobody."""
        queue = SinkQueue()
        total = 200_000
        block = lines(0, 500)
        async with serving(tmp_path, queue=queue) as server, client(server) as deaf, client(server) as other:
            deaf.writer.transport.pause_reading()  # type: ignore[attr-defined]
            sending = asyncio.create_task(self.send_all(deaf, block, total // 500))
            slowest = 0.0
            tracemalloc.start()
            for number in range(20):
                began = asyncio.get_running_loop().time()
                await other.send(line(number))
                await other.acked(number + 1)
                slowest = max(slowest, asyncio.get_running_loop().time() - began)
            await sending
            await until(lambda: queue.events == total + 20)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < 10_000_000
        assert slowest < 2

    @staticmethod
    async def send_all(ours: Client, block: bytes, count: int) -> None:
        for _ in range(count):
            await ours.send(block)

    async def test_never_reading_refusals(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A client that never reads its refusals is not read from in the end, slows nobody, and delays no stop."""
        monkeypatch.setattr("forwarder.ingest.stream._STOP_SECONDS", 0.2)
        queue = SinkQueue()
        async with serving(tmp_path, queue=queue) as server, client(server) as deaf, client(server) as other:
            deaf.writer.transport.pause_reading()  # type: ignore[attr-defined]
            sending = asyncio.create_task(self.send_all(deaf, b"{}\n" * 100_000, 1000))
            await asyncio.sleep(0.5)
            for number in range(5):
                await other.send(line(number))
                await other.acked(number + 1)
            assert not sending.done()
            async with asyncio.timeout(2):
                await server.stream.stop()
            with pytest.raises(ConnectionError):
                await sending

    async def test_garbage(self, server: Serving) -> None:
        """Any bytes are lines of some kind, and each of them is refused."""
        garbage = random.Random(1).randbytes(200_000).replace(b"\n", b"")
        async with client(server) as ours:
            await ours.send(b"\n".join(garbage[at : at + 100] for at in range(0, len(garbage), 100)), end=True)
            said = await ours.rest()
        count = -(-len(garbage) // 100)
        assert said[-1] == {"ack": count}
        assert [number for number, _ in refusals(said)] == list(range(1, count + 1))

    async def test_a_reset(self, server: Serving) -> None:
        """A connection that breaks off in the middle of a line is no error; its half line is not stored."""
        for _ in range(20):
            async with client(server) as ours:
                await ours.send(line(0) + line(1)[:50])
                await ours.acked(1)
                ours.reset()
        assert set(await server.stored()) == {0}

    async def test_many_at_once(self, tmp_path: Path) -> None:
        """Many connections are served at the same time."""
        async with serving(tmp_path) as server:

            async def one(number: int) -> None:
                async with client(server) as ours:
                    for first in range(number * 20, number * 20 + 20, 5):
                        await ours.send(lines(first, first + 5))
                    await ours.acked(20)

            await asyncio.gather(*map(one, range(150)))
            assert sorted(await server.stored()) == list(range(3000))

    async def test_a_rush(self, served: Serving) -> None:
        """Clients that come while the loop is busy wait to be accepted, and none is turned away."""
        clients = []
        for _ in range(400):
            ours = socket.socket(socket.AF_UNIX)
            ours.setblocking(False)
            ours.connect(str(served.address["stream"].path))
            clients.append(ours)
        for ours in clients:
            ours.close()
        await asyncio.sleep(0.05)


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
            async with asyncio.timeout(20):
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

    async def test_a_full_account(self, tmp_path: Path, logs: Logs) -> None:
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
        assert [found["event"] for found in logs] == ["invalid.full"]
        logs.clear()

    async def test_a_full_queue(self, tmp_path: Path) -> None:
        """While the queue itself is full they wait like any other line."""
        queue = StubbornQueue(QueueFullError("full"))
        async with serving(tmp_path, queue=queue) as server, client(server) as ours:
            server.intake.keeps_invalid = True
            await ours.send(b"{}\n", end=True)
            await until(lambda: queue.attempts)
            queue.relent()
            assert await ours.rest() == [{"ack": 1}]


class TestStop:
    async def test_what_was_received_is_settled(self, server: Serving) -> None:
        """A stop stores and acks the whole lines that were received, and closes."""
        async with client(server) as ours:
            await ours.send(lines(0, 2000) + line(2000)[:20])
            await asyncio.sleep(0.2)
            await server.stream.stop()
            assert (await ours.rest())[-1] == {"ack": 2000}
        assert await server.stored() == list(range(2000))

    async def test_what_was_written_and_not_read(self, tmp_path: Path) -> None:
        """On a unix socket a client can write no more, and what it could write before is settled, each whole line."""
        async with serving(tmp_path) as server, raw(server) as ours:
            await until(lambda: server.stream.connections)
            written = fill(ours, lines(0, 20_000))
            await server.stream.stop()
            with pytest.raises(BrokenPipeError):
                ours.send(line(0))
            whole = lines(0, 20_000)[:written].count(b"\n")
            assert whole > 100
            assert (await received(ours))[-1] == {"ack": whole}
            assert await server.stored() == list(range(whole))

    @pytest.mark.parametrize("rest", [b"", b"\n"])
    async def test_an_end_that_was_not_read(self, tmp_path: Path, rest: bytes) -> None:
        """The last line of a client that has ended its side needs no newline at a stop either."""
        async with serving(tmp_path) as server, raw(server) as ours:
            await until(lambda: server.stream.connections)
            ours.send(lines(0, 10).rstrip() + rest)
            ours.shutdown(socket.SHUT_WR)
            await server.stream.stop()
            assert (await received(ours))[-1] == {"ack": 10}
            assert await server.stored() == list(range(10))

    async def test_clients_that_were_not_accepted_yet(self, server: Serving) -> None:
        """What clients have written that wait to be accepted when listening ends is settled, too."""
        async with raw(server) as first, raw(server) as second:
            # Nothing has run since they connected.
            first.send(lines(0, 10))
            second.send(lines(10, 20))
            second.shutdown(socket.SHUT_WR)
            await server.close_stream()
            assert (await received(first))[-1] == (await received(second))[-1] == {"ack": 10}
        assert sorted(await server.stored()) == list(range(20))

    async def test_tcp_is_read_until_it_is_quiet(self, tmp_path: Path) -> None:
        """Over TCP what comes in short succession after the stop has begun is acked; then both sides end in order."""
        async with serving(tmp_path, tcp=True) as server, client(server) as ours:
            await ours.send(lines(0, 10))
            await ours.acked(10)
            stopping = asyncio.create_task(server.stream.stop())
            for number in range(10, 15):
                await asyncio.sleep(0.05)
                await ours.send(line(number))
            assert (await ours.rest())[-1] == {"ack": 15}
            ours.writer.close()
            async with asyncio.timeout(1):
                await stopping
            assert await server.stored() == list(range(15))

    async def test_tcp_that_is_never_quiet(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A client over TCP that writes until it sees our end, and never looks at its acks, loses nothing by a stop."""
        monkeypatch.setattr("forwarder.ingest.stream._READ_SECONDS", 0.5)
        async with serving(tmp_path, tcp=True) as server, raw(server) as ours:
            loop, sent = asyncio.get_running_loop(), 0
            stopping: asyncio.Task[None] | None = None
            while True:
                # Poll for our end as a program does between two writes that it does not wait for.
                try:
                    if not ours.recv(65536):
                        break
                except BlockingIOError:
                    pass
                await loop.sock_sendall(ours, lines(sent, sent + 20))
                sent += 20
                await asyncio.sleep(0.001)
                if sent == 400:
                    stopping = asyncio.create_task(server.stream.stop())
            assert sent > 800
            ours.close()
            assert stopping is not None
            await stopping
            assert await server.stored() == list(range(sent))

    @pytest.mark.parametrize("is_tcp", [False, True])
    async def test_a_queue_that_stays_full(self, tmp_path: Path, is_tcp: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        """Lines that find no place are not acked, nor is any later line; the connection ends without a reset."""
        monkeypatch.setattr("forwarder.ingest.stream._STORE_SECONDS", 0.5)
        queue = StubbornQueue()
        async with serving(tmp_path, queue=queue, tcp=is_tcp) as server, raw(server) as ours:
            ours.send(line(0))
            assert await answer(ours) == {"ack": 1}
            queue.refusal = QueueFullError("full")
            sent = fill(ours, lines(1, 20_000))
            stopping = asyncio.create_task(server.stream.stop())
            await asyncio.sleep(0.7)
            queue.relent()
            assert await received(ours) == []
            ours.close()
            await stopping
        assert sent > 100_000
        assert queue.queued("main") == [line(0).rstrip()]

    @pytest.mark.parametrize("is_tcp", [False, True])
    async def test_a_queue_that_gets_room_in_time(self, tmp_path: Path, is_tcp: bool) -> None:
        """Lines that wait for the queue to have room again are still stored while the forwarder stops."""
        queue = StubbornQueue(QueueFullError("full"))
        async with serving(tmp_path, queue=queue, tcp=is_tcp) as server, raw(server) as ours:
            fill(ours, lines(0, 1000))
            await until(lambda: queue.attempts)
            stopping = asyncio.create_task(server.stream.stop())
            await asyncio.sleep(0.3)
            queue.relent()
            assert (await received(ours))[-1] == {"ack": 1000}
            ours.close()
            await stopping
        assert len(queue.queued("main")) == 1000

    @pytest.mark.parametrize("is_tcp", [False, True])
    async def test_a_stop_ends_in_time(self, tmp_path: Path, is_tcp: bool) -> None:
        """However full the queue and deaf the client, a stop takes no longer than it may."""
        queue = StubbornQueue(QueueFullError("full"))
        async with serving(tmp_path, queue=queue, tcp=is_tcp) as server, raw(server) as ours:
            fill(ours, b"{}\n" * 100 + lines(0, 20_000))
            await until(lambda: queue.attempts)
            async with asyncio.timeout(0.6):
                await server.stream.stop(0.3)

    async def test_a_client_that_reads_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Refusals that a client does not read keep none of its good lines from being stored; no ack covers them."""
        monkeypatch.setattr("forwarder.ingest.connection._UNREAD_SECONDS", 0.2)
        async with serving(tmp_path) as server, raw(server) as ours:
            # Their answers are more than the buffers take.
            ours.send(b"{}\n" * 10_000)
            await asyncio.sleep(0.3)
            ours.send(lines(0, 100))
            await server.stream.stop()
            assert await server.stored() == list(range(100))
            said = await received(ours)
            refused = max(number for number, _ in refusals(said))
            assert refused < 10_000
            assert max(found.get("ack", 0) for found in said) <= refused

    async def test_a_client_that_comes_late(self, served: Serving) -> None:
        """A client that is accepted while the forwarder stops is hung up on."""
        await served.stream.stop()
        async with client(served) as ours:
            assert await ours.rest() == []


class TestAccess:
    async def test_the_token_comes_first(self, tmp_path: Path) -> None:
        """Over TCP the first line carries the token; it is no event and does not count."""
        async with serving(tmp_path, tcp=True, token="s3cret") as server, client(server) as ours:
            await ours.send(b'\n{"token"')
            await asyncio.sleep(0.02)
            await ours.send(b': "s3cret"}\r\n{}\n' + line(0))
            assert refusals(await ours.acked(2)) == [(1, 422)]
            await ours.send(line(1))
            assert await ours.answer() == {"ack": 3}
            assert await server.stored() == [0, 1]

    @pytest.mark.parametrize(
        ("first", "words"),
        [
            (b'{"token":"wrong"}\n', "the bearer token is wrong"),
            (b'{"token":1}\n', "a token is required"),
            (line(0), "a token is required"),
            (b"\xff\xfe\x00\n", "a token is required"),
            (b'{"token":"\xff"}\n', "a token is required"),
            (b'{"\xff":1}\n', "a token is required"),
            (b"[" * 9000 + b"\n", "a token is required"),
            (b"x" * 100_000 + b"\n", "a token is required"),
        ],
    )
    async def test_no_token(self, tmp_path: Path, first: bytes, words: str) -> None:
        """Without the right token the connection is refused, as line 0, and nothing is stored."""
        async with serving(tmp_path, tcp=True, token="s3cret") as server, client(server) as ours:
            await ours.send(first + lines(0, 5000))
            # The end comes at once, and does not wait for us to hang up.
            async with asyncio.timeout(1):
                (said,) = await ours.rest()
            assert (said["refused"], said["status"]) == (0, 401)
            assert words in said["detail"]
            assert await server.stored() == []

    @pytest.mark.parametrize("drip", [b"", b"\n", b" ", b'{"token":"s3cret"'])
    async def test_a_token_that_does_not_come(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drip: bytes
    ) -> None:
        """A client that sends no token, or sends its line ever so slowly, is told so and hung up on in time."""
        monkeypatch.setattr("forwarder.ingest.connection._TOKEN_SECONDS", 0.3)
        async with serving(tmp_path, tcp=True, token="s3cret") as server, client(server) as ours:

            async def go_on() -> None:
                while drip:
                    for byte in drip:
                        await ours.send(bytes([byte]))
                        await asyncio.sleep(0.05)

            dripping = asyncio.create_task(go_on())
            async with asyncio.timeout(2):
                (said,) = await ours.rest()
            assert (said["refused"], said["status"]) == (0, 408)
            assert said["detail"].startswith("no line with a token came for 0.3 seconds")
            dripping.cancel()
            await asyncio.gather(dripping, return_exceptions=True)

    async def test_many_tokens_that_do_not_come(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Clients that have not said who they are take little memory, however much they send, and delay nobody."""
        monkeypatch.setattr("forwarder.ingest.connection._TOKEN_SECONDS", 1.0)
        async with serving(tmp_path, tcp=True, token="s3cret") as server, AsyncExitStack() as stack:
            tracemalloc.start()
            for _ in range(100):
                ours = await stack.enter_async_context(client(server))
                await ours.send(b'{"token":"' + b"x" * 8000)
            other = await stack.enter_async_context(client(server))
            await other.send(b'{"token":"s3cret"}\n' + line(0))
            assert await other.answer() == {"ack": 1}
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            await until(lambda: server.stream.connections == 1)
            await other.send(line(1))
            assert await other.answer() == {"ack": 2}
        assert peak < 4_000_000

    @pytest.mark.parametrize("blanks", [b"\n" * 2_000_000, b" " * 2_000_000 + b"\n"], ids=["lines", "one line"])
    async def test_blanks_over_tcp(self, tmp_path: Path, blanks: bytes) -> None:
        """However much white space a client over TCP begins with, what comes behind it is read, and told from HTTP."""
        async with serving(tmp_path, tcp=True) as server, client(server) as ours, client(server) as other:
            async with asyncio.timeout(30):
                await ours.send(blanks + line(0), end=True)
                assert (await ours.rest())[-1]["ack"] in {1, 2}
                await other.send(blanks + b"POST / HTTP/1.1\r\n\r\n" + line(1))
                assert (await other.rest())[-1].items() >= {"refused": 0, "status": 403}.items()
            assert await server.stored() == [0]

    async def test_silence_over_tcp(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A client over TCP that never sends anything is hung up on in time; one that has sent something is not."""
        monkeypatch.setattr("forwarder.ingest.connection._FIRST_BYTE_SECONDS", 0.3)
        async with serving(tmp_path, tcp=True) as server, client(server) as ours, client(server) as other:
            await other.send(b"\n")
            (said,) = await ours.rest()
            assert (said["refused"], said["status"]) == (0, 408)
            await asyncio.sleep(0.3)
            await other.send(line(0))
            assert await other.answer() == {"ack": 1}

    async def test_a_healthy_client_that_is_silent(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whoever has sent its token, or is on a unix socket, may be silent for as long as it likes."""
        for name in ("_TOKEN_SECONDS", "_FIRST_BYTE_SECONDS"):
            monkeypatch.setattr(f"forwarder.ingest.connection.{name}", 0.2)
        for kind in ("tcp", "unix"):
            folder = tmp_path / kind
            folder.mkdir()
            async with serving(folder, tcp=kind == "tcp", token="s3cret") as server, client(server) as ours:
                if kind == "tcp":
                    await ours.send(b'{"token":"s3cret"}\n')
                await asyncio.sleep(0.6)
                await ours.send(line(0))
                assert await ours.answer() == {"ack": 1}

    async def test_a_flood_of_tiny_lines(self, server: Serving) -> None:
        """What waits behind lines that take a close look is not looked at again and again meanwhile."""
        looked_at = 0

        class Counting(Envelope):
            def sift(self, data: bytes) -> tuple[Checked, list[Any], bytes]:
                nonlocal looked_at
                looked_at += len(data)
                return super().sift(data)

        server.intake.envelope = Counting(routes={"main": {}})
        flood = b"{}\n" * 50_000
        async with client(server) as ours:
            await ours.send(flood, end=True)
            assert (await ours.rest())[-1] == {"ack": 50_000}
        assert looked_at < 20 * len(flood)

    async def test_a_refused_client_that_goes_on(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A client that sends on and on after it was refused is hung up on in the end."""
        monkeypatch.setattr("forwarder.ingest.connection._LINGER_SECONDS", 0.1)
        async with serving(tmp_path, tcp=True, token="s3cret") as server, client(server) as ours:
            sending = asyncio.create_task(TestClientsThatMisbehave.send_all(ours, lines(0, 5000), 1_000_000))
            with pytest.raises(ConnectionError):
                await asyncio.wait_for(sending, 10)
            await until(lambda: not server.stream.connections)

    @pytest.mark.parametrize(("offset", "said"), [(0, {"ack": 1}), (1, {"refused": 0, "status": 403})])
    async def test_user_ids(self, tmp_path: Path, offset: int, said: Answer) -> None:
        """On a unix socket only allowed users get in; a token is not asked for there."""
        uids = frozenset({os.getuid() + offset})
        async with serving(tmp_path, uids=uids, token="s3cret") as server, client(server) as ours:
            await ours.send(line(0))
            assert said.items() <= (await ours.answer()).items()
            assert await server.stored() == ([0] if "ack" in said else [])


class TestBugs:
    async def test_a_bug_of_ours(self, tmp_path: Path, logs: Logs) -> None:
        """Where the forwarder fails, the client is told and hung up on, the log has it, and others are served."""

        class Faulty(Envelope):
            def sift(self, data: bytes) -> tuple[Checked, list[Any], bytes]:
                if b"boom" in data:
                    raise RuntimeError("a secret of the inside")
                return super().sift(data)

        rules = Faulty(routes={"main": {}})
        async with serving(tmp_path, envelope=rules) as server, client(server) as ours, client(server) as other:
            await ours.send(line(0))
            await ours.acked(1)
            await ours.send(json.dumps({**event(1), "x": "boom"}).encode() + b"\n")
            assert await ours.rest() == [
                {"refused": 0, "status": 500, "detail": "the forwarder has a bug; its log says more"}
            ]
            await other.send(line(2))
            await other.acked(1)
        assert [found["event"] for found in logs] == ["stream.failed"]
        logs.clear()

    async def test_a_bug_of_the_queue(self, tmp_path: Path, logs: Logs) -> None:
        """An error that the queue should not raise ends the connection without an ack."""
        queue = StubbornQueue(RuntimeError("a secret of the inside"))
        async with serving(tmp_path, queue=queue) as server, client(server) as ours:
            await ours.send(lines(0, 10))
            assert refusals(await ours.rest()) == [(0, 500)]
        assert [found["event"] for found in logs] == ["stream.failed"]
        logs.clear()
