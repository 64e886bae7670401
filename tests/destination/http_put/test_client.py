"""One attempt, against real servers: those that behave, and those that do not."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import tracemalloc
import zlib
from dataclasses import replace

import pytest

from forwarder import __version__
from forwarder.destination.http_put.client import Client
from forwarder.destination.http_put.failure import NoAnswerError
from forwarder.destination.http_put.reply import Reply
from forwarder.model import Address
from forwarder.receiver import Receiver
from forwarder.signing import Signer
from tests.delivery.conftest import PATIENCE, destination, raw_server, read_request, until
from tests.destination.http_put.servers import OK, answer_to, answering, at, put_to, said, send
from tests.queue.building import segment


class TestRequest:
    async def test_is_what_the_event_api_wants(self) -> None:
        """The request is a POST of the compact JWS as it is, with exactly these headers."""
        seen: list[tuple[bytes, bytes]] = []

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.append(await read_request(reader))
            writer.write(OK)

        async with raw_server(handle) as port:
            config = destination(f"http://127.0.0.1:{port}/a/put?b=c", headers={"X-Tenant": "blue", "accept": "*/*"})
            assert await send(config, b"header.payload.signature") == said(200, "")
        [(head, body)] = seen
        first, *headers = head.decode().rstrip().split("\r\n")
        assert first == "POST /a/put?b=c HTTP/1.1"
        assert len(headers) == 7
        assert dict(header.split(": ", 1) for header in headers) == {
            "Host": f"127.0.0.1:{port}",
            "Content-Type": "application/jose",
            "accept": "*/*",
            "Accept-Encoding": "identity",
            "User-Agent": f"event-forwarder/{__version__}",
            "X-Tenant": "blue",
            "Content-Length": "24",
        }
        assert body == b"header.payload.signature"

    async def test_default_accept(self) -> None:
        """Where it is not configured, JSON is what is accepted as an answer."""
        heads: list[bytes] = []

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heads.append((await read_request(reader))[0])
            writer.write(OK)

        async with raw_server(handle) as port:
            await send(at(port))
        [head] = heads
        assert b"\r\nAccept: application/json\r\n" in head
        assert b"expect" not in head.lower()

    @pytest.mark.parametrize("kib", [100, 400, 700])
    async def test_a_large_body_arrives_whole(self, kib: int) -> None:
        """A body that is handed over in several pieces, or that is larger than any buffer, is what was signed."""
        sent = b".".join(bytes([ord("a") + number]) * (kib * 1024 + number) for number in range(5))
        seen: list[bytes] = []

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.append((await read_request(reader))[1])
            writer.write(OK)

        async with raw_server(handle) as port:
            assert (await send(at(port), sent)).status == 200
        # Not compared by the assertion: what it says of megabytes that differ takes minutes.
        assert [body == sent for body in seen] == [True]

    async def test_is_verified_by_the_receiver(self, signer: Signer) -> None:
        """A signed batch of several megabytes arrives whole, and no library warns about its size."""
        address = Address(host="127.0.0.1", port=0)
        async with Receiver(address, public_keys=[signer.public("pem")]) as receiver:
            data = segment(0, 50, filler=100_000).data
            jws = signer.sign(b"[" + data[:-1].replace(b"\n", b",") + b"]")
            assert len(jws) > 5 << 20
            assert await send(destination(receiver.url), jws) == said(200, "")
            assert (receiver.stats.stored, receiver.stats.distinct) == (50, 50)

    async def test_connections_are_used_again(self) -> None:
        """One connection serves many attempts, also where the answers have a body that comes late."""
        connections = 0

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connections
            connections += 1
            while True:
                await read_request(reader)
                for piece in (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", b"do", b"ne"):
                    writer.write(piece)
                    await asyncio.sleep(0.002)

        async with raw_server(handle) as port, put_to(at(port)) as client:
            for _ in range(5):
                assert (await client.send(b"a.b.c")).status == 200
        assert connections == 1

    async def test_a_fresh_attempt_has_a_connection_of_its_own(self) -> None:
        """Behind a balancer a new connection may lead to another server; the others go on with theirs."""
        served: list[int] = []
        connections = 0

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connections
            connections += 1
            mine = connections
            while True:
                await read_request(reader)
                served.append(mine)
                writer.write(OK)

        async with raw_server(handle) as port, put_to(at(port)) as client:
            for fresh in (False, False, True, True):
                assert await client.send(b"a.b.c", fresh=fresh) == said(200, "")
        assert served == [1, 1, 2, 3]

    async def test_cookies_are_not_kept(self) -> None:
        """What a destination wants to be remembered is not sent back, and takes no memory."""
        heads: list[bytes] = []

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                heads.append((await read_request(reader))[0])
                writer.write(b"HTTP/1.1 200 OK\r\nSet-Cookie: seen=1; Path=/\r\nContent-Length: 0\r\n\r\n")

        async with raw_server(handle) as port:
            config = destination(f"http://localhost:{port}/put")
            async with put_to(config) as client:
                await client.send(b"a.b.c")
                await client.send(b"a.b.c")
        assert len(heads) == 2
        assert b"cookie" not in heads[1].lower()

    @pytest.mark.parametrize("status", [200, 400, 503])
    async def test_a_second_answer_is_not_taken_for_the_next(self, status: int) -> None:
        """An answer that comes unasked, late, says nothing of the next batch: it goes over another connection."""
        connections = 0

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connections
            connections += 1
            await read_request(reader)
            if connections == 1:
                writer.write(OK)
                await asyncio.sleep(0.02)
                writer.write(b"HTTP/1.1 %d Late\r\nContent-Length: 0\r\n\r\n" % status)
                await writer.drain()
                unasked.set()
            else:
                writer.write(b"HTTP/1.1 429 Busy\r\nContent-Length: 0\r\n\r\n")
            await reader.read()

        unasked = asyncio.Event()
        async with raw_server(handle) as port, put_to(at(port)) as client:
            assert (await client.send(b"a.b.c")).status == 200
            await unasked.wait()
            assert (await client.send(b"a.b.c")).status == 429
        assert connections == 2

    @pytest.mark.parametrize("size", [0, 100])
    async def test_two_answers_at_once(self, size: int) -> None:
        """What comes behind an answer ends the connection, whether or not the answer has a body."""
        connections = 0

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connections
            connections += 1
            while True:
                await read_request(reader)
                writer.write((b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size) * 2)

        async with raw_server(handle) as port, put_to(at(port)) as client:
            for _ in range(3):
                assert (await client.send(b"a.b.c")).status == 200
        assert connections == 3

    async def test_who_speaks_first_is_not_answering(self) -> None:
        """A 200 that was there before anything was asked is no answer, on a new connection, too."""

        def speak(listener: socket.socket) -> None:
            while not done:
                connection, _ = listener.accept()
                connection.sendall(OK)
                held.append(connection)

        done = False
        held: list[socket.socket] = []
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            # It has spoken when the connection is there, as it does not depend on this event loop.
            thread = threading.Thread(target=speak, args=[listener], daemon=True)
            thread.start()
            # More than the system takes in where nobody reads.
            answer = await send(at(port, timeout=PATIENCE), b"x" * (32 << 20))
            done = True
            socket.create_connection(("127.0.0.1", port)).close()
            thread.join(PATIENCE)
        for connection in held:
            connection.close()
        assert answer.status is None
        assert "before" in answer.detail

    @pytest.mark.parametrize("status", [200, 204, 302, 400, 413, 503])
    async def test_an_early_answer(self, status: int) -> None:
        """A 3xx to 5xx before the request was written is an answer; a 2xx is none, as it saw no request."""

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 %d Early\r\nContent-Length: 0\r\n\r\n" % status)
            await asyncio.Event().wait()

        async with raw_server(handle) as port:
            answer = await send(at(port, timeout=PATIENCE), b"x" * (32 << 20))
        if status < 300:
            words = f"the answer {status} came before the request was sent: it is not taken for an answer"
            assert answer == said(None, words)
        else:
            assert answer == said(status, f"{status} Early")

    async def test_an_answer_after_which_the_connection_is_reset(self) -> None:
        """What was answered is read, also where the server closes with the request unread."""

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\n\r\nmore")
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        async with raw_server(handle) as port, put_to(at(port)) as client:
            for size in (5, 100_000, 3 << 20, 20 << 20):
                assert await client.send(b"x" * size) == said(413, "413 Too Large: more")

    async def test_a_connection_that_still_writes_is_not_used_again(self) -> None:
        """Where the answer comes before the request was read, the next request has a connection of its own."""
        answers = [b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n", OK]

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answers.pop(0))
            await asyncio.Event().wait()

        async with raw_server(handle) as port, put_to(at(port, timeout=PATIENCE)) as client:
            assert (await client.send(b"x" * (32 << 20))).status == 413
            assert (await client.send(b"a.b.c")).status == 200

    @pytest.mark.parametrize("delay", [0.0, 0.005])
    async def test_a_connection_that_was_closed_costs_no_failure(self, delay: float) -> None:
        """A server that closes idle connections at once, or a moment later, is sent each request anew, unseen."""
        requests = 0

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal requests
            await read_request(reader)
            requests += 1
            writer.write(OK)
            await asyncio.sleep(delay)

        async with raw_server(handle) as port, put_to(at(port)) as client:
            for number in range(20):
                answer = await client.send(b"a.b.c")
                # It may have gone out twice, which is no failure.
                assert replace(answer, is_repeated=False) == said(200, "")
                await asyncio.sleep(0.001 * (number % 8))
        assert requests == 20

    async def test_a_request_goes_out_again_once(self) -> None:
        """A kept connection that ends without an answer is forgiven; a new one that does is a failure."""
        requests = 0

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal requests
            await read_request(reader)
            requests += 1
            if requests == 1:
                writer.write(OK)
                await read_request(reader)
                requests += 1

        async with raw_server(handle) as port, put_to(at(port)) as client:
            assert await client.send(b"a.b.c") == said(200, "")
            again = await client.send(b"a.b.c")
            assert again == replace(said(None, "the connection was closed without an answer"), is_repeated=True)
        assert requests == 3

    @pytest.mark.parametrize(
        ("said_last", "is_answer"),
        [(OK, True), (b"HTTP/1.1 503 Busy\r\n\r\n", True), (b"HTTP/1.1 200 OK\r\n", False), (b"", False)],
    )
    async def test_that_it_went_out_twice_is_told(self, said_last: bytes, is_answer: bool) -> None:
        """An answer, and an error where there was none in time, says that the request may have been taken before."""
        requests = 0

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal requests
            await read_request(reader)
            requests += 1
            if requests == 1:
                writer.write(OK)
                await read_request(reader)
                return
            writer.write(said_last)
            await reader.read()

        async with raw_server(handle) as port:
            client = Client("main", at(port, timeout=0.5))
            try:
                assert not (await client.send(b"a.b.c")).is_repeated
                try:
                    found: Reply | NoAnswerError = await client.send(b"a.b.c")
                except NoAnswerError as error:
                    found = error
                assert found.is_repeated
                assert isinstance(found, Reply) == is_answer
            finally:
                await client.aclose()

    async def test_what_was_begun_to_be_answered_does_not_go_out_again(self) -> None:
        """A head that is cut off is no answer, and no sign that the request was not seen."""
        requests = 0

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal requests
            await read_request(reader)
            writer.write(OK)
            await read_request(reader)
            requests += 1
            writer.write(b"HTTP/1.1 200 OK\r\n")

        async with raw_server(handle) as port, put_to(at(port)) as client:
            assert (await client.send(b"a.b.c")).status == 200
            assert (await client.send(b"a.b.c")).status is None
        assert requests == 1

    async def test_an_old_connection_is_replaced(self) -> None:
        """After `max_connection_age`, and after `renew`, what is sent goes over a new connection."""
        served: list[int] = []
        connections = 0

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connections
            connections += 1
            mine = connections
            while True:
                await read_request(reader)
                served.append(mine)
                writer.write(OK)

        async with raw_server(handle) as port:
            async with put_to(at(port)) as client:
                await client.send(b"a.b.c")
                client.renew()
                await client.send(b"a.b.c")
                await client.send(b"a.b.c")
            async with put_to(at(port, max_connection_age=0.05)) as client:
                await client.send(b"a.b.c")
                await client.send(b"a.b.c")
                await asyncio.sleep(0.06)
                await client.send(b"a.b.c")
        assert served == [1, 2, 2, 3, 3, 4]

    @pytest.mark.parametrize(
        ("fields", "connections"),
        [
            (b"", 1),
            (b"Keep-Alive: timeout=5, max=100\r\n", 1),
            (b"Keep-Alive: timeout=0\r\n", 3),
            (b"Connection: close\r\n", 3),
            (b"connection: Keep-Alive, Close\r\n", 3),
            (b"Content-Length: 0\r\n", 3),
            (b"Transfer-Encoding: chunked\r\n", 3),
        ],
    )
    async def test_a_connection_is_kept_where_the_server_keeps_it(self, fields: bytes, connections: int) -> None:
        """A connection is used again only where the server means to, and where its answer's end is certain."""
        found = 0

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal found
            found += 1
            while True:
                await read_request(reader)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + fields + b"\r\n")

        async with raw_server(handle) as port, put_to(at(port)) as client:
            for _ in range(3):
                assert (await client.send(b"a.b.c")).status == 200
        assert found == connections

    async def test_requests_at_once_have_a_connection_each(self) -> None:
        """No request waits for another's answer, and the connections serve the next ones."""
        connections = 0
        barrier = asyncio.Barrier(4)

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connections
            connections += 1
            while True:
                _, body = await read_request(reader)
                await barrier.wait()
                writer.write(b"HTTP/1.1 400 " + body + b"\r\nContent-Length: 0\r\n\r\n")

        async with raw_server(handle) as port, put_to(at(port, in_flight=4)) as client:
            for _ in range(3):
                answers = await asyncio.gather(*(client.send(b"%d" % number) for number in range(4)))
                assert [answer.detail for answer in answers] == ["400 0", "400 1", "400 2", "400 3"]
        assert connections == 4

    async def test_no_connection_outlives_the_client(self) -> None:
        """Leaving the client ends its connections, those that wait and those of attempts that were cancelled."""
        ended = 0

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal ended
            try:
                await read_request(reader)
                writer.write(OK)
                await read_request(reader)
            finally:
                ended += 1

        async with raw_server(handle) as port:
            async with put_to(at(port)) as client:
                await client.send(b"a.b.c")
                attempt = asyncio.create_task(client.send(b"a.b.c", fresh=True))
                await asyncio.sleep(0.02)
            await attempt
            await until(lambda: ended == 2)


class TestAnswer:
    @pytest.mark.parametrize(
        ("pieces", "status", "detail"),
        [
            ([b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone"], 200, ""),
            ([b"HTTP/1.1 204 No Content\r\n\r\n"], 204, ""),
            ([b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", b"cut"], 200, ""),
            ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"no length\r\n"], 200, ""),
            ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno length\r\n"], 200, ""),
            ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r", b"\n\r\nno length\r\n"], 200, ""),
            ([b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Yes\r\nContent-Length: 1\r\n\r\nab\r\n\r\n"], 201, ""),
            ([b"HTTP/1.1 204 No Content\r\n\r\nhere it is"], 204, ""),
            ([b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\nno length\r\n"], 503, "503 Busy"),
            ([b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope"], 200, ""),
            ([b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"], 200, ""),
            ([b"HTTP/1.1 400 Bad\r\nContent-Length: 100\r\n\r\nwrong"], 400, "400 Bad: wrong"),
            (
                [b"HTTP/1.1 422 Odd\r\nContent-Length: 11\r\n\r\n", b"one\n", b"two\n", b"six"],
                422,
                "422 Odd: one two six",
            ),
            ([b"HTTP/1.1 400 Bad\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope"], 400, "400 Bad"),
            ([b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"], 302, "302 Found"),
            ([b"HTTP/1.1 200 OK\r\nX: " + b"y" * 8_191 + b"\r\nContent-Length: 0\r\n\r\n"], 200, ""),
            ([b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000 + b"\r\n\r\n"], 200, ""),
            ([b"HTTP/1.1 400 Bad\r\n" + b"X: y\r\n" * 129 + b"Content-Length: 3\r\n\r\nwhy"], 400, "400 Bad: why"),
            ([b"HTTP/1.1 401 No\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n"], 401, "401 No"),
            ([b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"], 200, ""),
            ([b"HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 0\r\n\r\n"], 200, ""),
            ([b"HTTP/1.1 200 OK\nContent-Length: 0\n\n"], 200, ""),
            ([b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\tc\r\nContent-Length: 0\r\n\r\n"], 200, ""),
            ([b"HTTP/1.1 200 OK\r\nX: a\0b\xff\r\nContent-Length: 0\r\n\r\n"], 200, ""),
            ([b"HTTP/1.1 200 OK\r\nno field at all\r\n: nameless\r\nContent-Length: -5\r\n\r\n"], 200, ""),
            ([b"HTTP/1.0 200 OK\r\n\r\n"], 200, ""),
            ([b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"], 200, ""),
            ([b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", b"HTTP/1.1 422 Odd\r\n\r\nwhy"], 422, "422 Odd: why"),
            ([b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n"], 999, "999 Odd"),
        ],
        ids=[
            "body",
            "no body",
            "cut",
            "broken chunk",
            "with its head",
            "with the end of its head",
            "too long",
            "unasked",
        ]
        + ["broken chunk of an error", "broken gzip", "100", "400", "pieces", "packed", "302"]
        + ["long field", "very long field", "many fields", "two lengths", "length and chunks", "blank before colon"]
        + ["bare LF", "folded", "control characters", "no field", "1.0", "no reason", "103", "999"],
    )
    async def test_a_status_counts(self, pieces: list[bytes], status: int, detail: str) -> None:
        """A status that has arrived counts, whatever happens to the rest of the answer."""
        assert await answer_to(*pieces) == said(status, detail)

    @pytest.mark.parametrize(
        ("pieces", "detail"),
        [
            ([], "the connection was closed without an answer"),
            ([b"HTTP/1.1 20"], "the connection was closed in the middle of the answer's head"),
            ([b"HTTP/1.1 200 OK\r\nX: a\r\n"], "the connection was closed in the middle of the answer's head"),
            ([b"HTTP/1.1 100 Continue\r\n\r\n"], "the connection was closed without an answer"),
            ([b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", OK], "the destination changed the protocol"),
            ([b"SSH-2.0-OpenSSH\r\n"], "the answer is not HTTP: SSH-2.0-OpenSSH"),
            ([b"HTTP/1.1 200OK\r\n\r\n"], "the answer is not HTTP: HTTP/1.1 200OK"),
            ([b"\x15\x03\x03\x00\x02\x02\x46"], "the port speaks TLS: use https://, or the port is wrong"),
            ([b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1_100_000], "the head of the answer has no end in 1024 KiB"),
        ],
        ids=[
            "nothing",
            "half a status",
            "half a head",
            "only 100",
            "101",
            "not HTTP",
            "odd status",
            "TLS",
            "endless head",
        ],
    )
    async def test_no_status_no_answer(self, pieces: list[bytes], detail: str) -> None:
        """What is no answer is told in a short line, without the URL."""
        answer = await answer_to(*pieces)
        assert answer.status is None
        assert answer.detail.startswith(detail)
        assert len(answer.detail) <= 512
        assert "/put" not in answer.detail

    async def test_retry_after_is_handed_on(self) -> None:
        """The seconds that a header asks for are handed on."""
        answer = await answer_to(b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n")
        assert answer == said(503, "503 Busy", 7.0)

    async def test_a_redirect_is_not_followed(self, signer: Signer) -> None:
        """Events go to the configured address, and to no other that it names."""
        address = Address(host="127.0.0.1", port=0)
        async with Receiver(address, public_keys=[signer.public("pem")], faults="redirect,loop") as receiver:
            assert (await send(destination(receiver.url))).status == 302
            assert receiver.stats.redirects_followed == 0

    async def test_of_a_huge_answer_only_the_start_is_read(self) -> None:
        """An answer of a hundred megabytes costs neither time nor memory."""
        sent = 0

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            await read_request(reader)
            writer.write(b"HTTP/1.1 400 Bad\r\nContent-Length: 104857600\r\n\r\n")
            for _ in range(1600):
                writer.write(b"x" * 65536)
                await writer.drain()
                sent += 65536

        async with raw_server(handle) as port, put_to(at(port)) as client:
            tracemalloc.start()
            try:
                answer = await client.send(b"a.b.c")
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
        assert answer == said(400, "400 Bad: " + "x" * 503)
        assert peak < 2 << 20
        assert sent < 32 << 20

    async def test_a_packed_answer_is_not_unpacked(self) -> None:
        """An answer that would be huge once it is unpacked costs no memory, although nobody asked for it packed."""
        body = zlib.compress(b"x" * (64 << 20))
        head = b"HTTP/1.1 400 Bad\r\nContent-Encoding: deflate\r\nContent-Length: %d\r\n\r\n" % len(body)
        async with raw_server(answering(head + body)) as port, put_to(at(port)) as client:
            tracemalloc.start()
            try:
                answer = await client.send(b"a.b.c")
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
        assert answer == said(400, "400 Bad")
        assert peak < 2 << 20

    async def test_a_slow_answer_does_not_hold_up(self) -> None:
        """An answer that drips without end is cut off soon after its status has arrived."""

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            writer.write(b"HTTP/1.1 400 Bad\r\nContent-Length: 100000\r\n\r\n")
            while True:
                writer.write(b"x")
                await asyncio.sleep(0.02)

        async with raw_server(handle) as port:
            answer = await send(at(port, timeout=PATIENCE * 2))
        assert answer.status == 400
        assert answer.detail.startswith("400 Bad: xxx")

    async def test_a_slow_answer_is_bound_by_the_timeout(self) -> None:
        """Where the timeout is shorter than that, it holds for the rest of the answer, too."""
        answer = await answer_to(b"HTTP/1.1 400 Bad\r\nContent-Length: 9\r\n\r\nwhy", forever=True, timeout=0.5)
        assert answer == said(400, "400 Bad: why")

    @pytest.mark.parametrize("closes", [True, False], ids=["closes", "waits"])
    @pytest.mark.parametrize("size", [2 << 20, 20 << 20])
    async def test_an_answer_before_the_request_was_read(self, size: int, closes: bool) -> None:
        """A destination that says 413 at once, without reading megabytes, is understood."""

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\n\r\nmore")
            await writer.drain()
            if not closes:
                await asyncio.Event().wait()

        async with raw_server(handle) as port:
            answer = await send(at(port), b"x" * size)
        assert answer == said(413, "413 Too Large: more")


class TestNoAnswer:
    @pytest.mark.parametrize("fault", ["cut", "cut-after-store"])
    async def test_cut(self, signer: Signer, fault: str) -> None:
        """A connection that is cut is no answer."""
        address = Address(host="127.0.0.1", port=0)
        jws = signer.sign(b"[" + segment(0).data[:-1] + b"]")
        async with Receiver(address, public_keys=[signer.public("pem")], faults=f"{fault},loop") as receiver:
            answer = await send(destination(receiver.url), jws)
            assert receiver.stats.stored == (1 if fault == "cut-after-store" else 0)
        assert (answer.status, answer.is_about_events, answer.timed_out) == (None, True, False)
        assert answer.detail in {"the connection was closed without an answer", "the connection broke: "} or (
            "reset" in answer.detail
        )

    async def test_timeout(self) -> None:
        """A destination that never answers is left after the timeout."""
        assert await answer_to(forever=True, timeout=0.5) == said(None, "no answer within 0.5 s", timed_out=True)

    async def test_cancelled(self) -> None:
        """An attempt that is cancelled ends at once."""
        async with raw_server(answering(forever=True)) as port, put_to(at(port)) as client:
            attempt = asyncio.create_task(client.send(b"a.b.c"))
            await asyncio.sleep(0)
            attempt.cancel()
            with pytest.raises(asyncio.CancelledError):
                await attempt
