"""One client of the stream: who is let in, and who misbehaves."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import tracemalloc
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from forwarder.envelope import Checked, Envelope
from forwarder.model import DeadSegment, Segment
from forwarder.queue.base import Appended
from tests.fixtures import PATIENCE
from tests.ingest.serving import Serving, StubbornQueue, connect, line, lines, serving
from tests.ingest.stream_client import (
    Answer,
    SinkQueue,
    client,
    refusals,
    send_all,
    until,
)


@pytest.mark.slow
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
        async with asyncio.timeout(PATIENCE):
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

            async def append(self, segments: Sequence[Segment], dead: Sequence[DeadSegment] = ()) -> Sequence[Appended]:
                await self.go.wait()
                return await super().append(segments)

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
            sending = asyncio.create_task(send_all(deaf, block, total // 500))
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

    async def test_never_reading_refusals(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A client that never reads its refusals is not read from in the end, slows nobody, and delays no stop."""
        monkeypatch.setattr("forwarder.ingest.stream._STOP_SECONDS", 0.2)
        queue = SinkQueue()
        async with serving(tmp_path, queue=queue) as server, client(server) as deaf, client(server) as other:
            deaf.writer.transport.pause_reading()  # type: ignore[attr-defined]
            sending = asyncio.create_task(send_all(deaf, b"{}\n" * 100_000, 1000))
            await asyncio.sleep(0.5)
            for number in range(5):
                await other.send(line(number))
                await other.acked(number + 1)
            assert not sending.done()
            async with asyncio.timeout(PATIENCE):
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
        await until(lambda: served.stream.connections == 400)
        for ours in clients:
            ours.close()
        await until(lambda: served.stream.connections == 0)


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
    async def test_no_token(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: bytes, words: str) -> None:
        """Without the right token the connection is refused, as line 0, and nothing is stored."""
        monkeypatch.setattr("forwarder.ingest.connection._LINGER_SECONDS", 2 * PATIENCE)
        async with serving(tmp_path, tcp=True, token="s3cret") as server, client(server) as ours:
            await ours.send(first + lines(0, 5000))
            # The end comes at once, and does not wait for us to hang up.
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

    @pytest.mark.slow
    @pytest.mark.parametrize("blanks", [b"\n" * 700_000, b" " * 700_000 + b"\n"], ids=["lines", "one line"])
    async def test_blanks_over_tcp(self, tmp_path: Path, blanks: bytes) -> None:
        """However much white space a client over TCP begins with, what comes behind it is read, and told from HTTP."""
        async with serving(tmp_path, tcp=True) as server, client(server) as ours, client(server) as other:
            async with asyncio.timeout(PATIENCE):
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

    @pytest.mark.slow
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
            sending = asyncio.create_task(send_all(ours, lines(0, 5000), 1_000_000))
            with pytest.raises(ConnectionError):
                await asyncio.wait_for(sending, PATIENCE)
            await until(lambda: not server.stream.connections)

    @pytest.mark.parametrize(("offset", "said"), [(0, {"ack": 1}), (1, {"refused": 0, "status": 403})])
    async def test_user_ids(self, tmp_path: Path, offset: int, said: Answer) -> None:
        """On a unix socket only allowed users get in; a token is not asked for there."""
        uids = frozenset({os.getuid() + offset})
        async with serving(tmp_path, uids=uids, token="s3cret") as server, client(server) as ours:
            await ours.send(line(0))
            assert said.items() <= (await ours.answer()).items()
            assert await server.stored() == ([0] if "ack" in said else [])
