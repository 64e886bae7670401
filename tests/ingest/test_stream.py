"""Events over the stream socket: real sockets, well-behaved clients and others."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from forwarder.envelope import Checked, Envelope
from forwarder.errors import QueueFullError, TooLargeError
from forwarder.model import DeadSegment, Segment
from forwarder.queue.base import Appended
from tests.fixtures import PATIENCE, Logs
from tests.ingest.serving import MAX_EVENT, Serving, StubbornQueue, event, line, lines, serving
from tests.ingest.stream_client import (
    answer,
    client,
    fill,
    raw,
    received,
    refusals,
    until,
)


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
            async def append(self, segments: Sequence[Segment], dead: Sequence[DeadSegment] = ()) -> Sequence[Appended]:
                if sum(len(segment.data) for segment in segments) > 2000:
                    raise TooLargeError("can never fit into the queue")
                return await super().append(segments)

        queue = SmallQueue()
        async with serving(tmp_path, queue=queue) as server, client(server) as ours:
            await ours.send(b"{}\n" + lines(0, 20) + line(20, 5000) + b"{}\n" + lines(21, 40), end=True)
            said = await ours.rest()
            assert sorted(refusals(said)) == [(1, 422), (22, 413), (23, 422)]
            assert said[-1] == {"ack": 42}
            assert await server.stored() == [*range(20), *range(21, 40)]


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

    async def test_tcp_is_read_until_it_is_quiet(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Over TCP what comes in short succession after the stop has begun is acked; then both sides end in order."""
        monkeypatch.setattr("forwarder.ingest.connection._LINGER_SECONDS", 2 * PATIENCE)
        async with serving(tmp_path, tcp=True) as server, client(server) as ours:
            await ours.send(lines(0, 10))
            await ours.acked(10)
            stopping = asyncio.create_task(server.stream.stop())
            for number in range(10, 15):
                await asyncio.sleep(0.05)
                await ours.send(line(number))
            assert (await ours.rest())[-1] == {"ack": 15}
            ours.writer.close()
            async with asyncio.timeout(PATIENCE):
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
            async with asyncio.timeout(PATIENCE):
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
