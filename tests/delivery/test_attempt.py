"""One attempt, against real servers: those that behave, and those that do not."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from forwarder import __version__
from forwarder.config import DestinationConfig, TlsConfig
from forwarder.delivery.attempt import Answer, Client, tls_context
from forwarder.errors import ConfigError
from forwarder.model import Address
from forwarder.receiver import Receiver
from forwarder.signing import Signer
from tests.delivery.certificates import Authority
from tests.delivery.conftest import PATIENCE, Handler, destination, raw_server, read_request, segment

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def at(port: int, **settings: Any) -> DestinationConfig:
    """Return the configuration of a destination on this machine."""
    return destination(f"http://127.0.0.1:{port}/put", **settings)


async def send(config: DestinationConfig, body: bytes = b"a.b.c", *, alike: bool = True) -> Answer:
    """Make the first attempt of a client and a later one of another; return what came of both.

    The first goes through all of aiohttp, later ones straight to a connection; nobody may see a difference.
    """
    async with Client("main", config) as client, asyncio.timeout(PATIENCE):
        first = await client.send(body)
    async with Client("main", config) as client, asyncio.timeout(PATIENCE):
        await begin(client)
        later = await client.send(body)
    assert later == first or not alike
    return later


async def begin(client: Client) -> None:
    """Let a client begin its first attempt, and no more."""
    attempt = asyncio.create_task(client.send(b"never sent"))
    await asyncio.sleep(0)
    attempt.cancel()
    await asyncio.wait([attempt])


def answering(*pieces: bytes, forever: bool = False) -> Handler:
    """Return a server that answers with these bytes, a piece at a time, and then closes or waits."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            # Long enough for the piece to travel alone; that it does is no condition of any test.
            await asyncio.sleep(0.01)
        if forever:
            await reader.read()

    return handle


async def answer_to(*pieces: bytes, forever: bool = False, **settings: Any) -> Answer:
    """Return what one attempt makes of these bytes."""
    async with raw_server(answering(*pieces, forever=forever)) as port:
        return await send(at(port, **settings))


class TestRequest:
    async def test_is_what_the_event_api_wants(self) -> None:
        """The request is a POST of the compact JWS as it is, with exactly these headers."""
        seen: list[tuple[bytes, bytes]] = []

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.append(await read_request(reader))
            writer.write(OK)

        async with raw_server(handle) as port:
            config = destination(f"http://127.0.0.1:{port}/a/put?b=c", headers={"X-Tenant": "blue", "accept": "*/*"})
            assert await send(config, b"header.payload.signature") == Answer(200, "")
        assert len(seen) == 2
        for head, body in seen:
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
        assert len(heads) == 2
        for head in heads:
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
        assert [body == sent for body in seen] == [True, True]

    async def test_is_verified_by_the_receiver(self, signer: Signer) -> None:
        """A signed batch of several megabytes arrives whole, and no library warns about its size."""
        address = Address(host="127.0.0.1", port=0)
        async with Receiver(address, public_keys=[signer.public("pem")]) as receiver:
            data = segment(0, 50, filler=100_000).data
            jws = signer.sign(b"[" + data[:-1].replace(b"\n", b",") + b"]")
            assert len(jws) > 5 << 20
            assert await send(destination(receiver.url), jws) == Answer(200, "")
            assert (receiver.stats.stored, receiver.stats.distinct) == (100, 50)

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

        async with raw_server(handle) as port, Client("main", at(port)) as client:
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

        async with raw_server(handle) as port, Client("main", at(port)) as client:
            for fresh in (False, False, True, True):
                assert await client.send(b"a.b.c", fresh=fresh) == Answer(200, "")
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
            async with Client("main", config) as client:
                await client.send(b"a.b.c")
                await client.send(b"a.b.c")
        assert len(heads) == 2
        assert b"cookie" not in heads[1].lower()

    async def test_later_attempts_do_not_go_through_a_session(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What a session costs is paid once: so it is a later attempt that the tests here compare with the first."""
        async with raw_server(answering(OK, forever=True)) as port, Client("main", at(port)) as client:
            await begin(client)
            monkeypatch.delattr(aiohttp.ClientSession, "post")
            assert await client.send(b"a.b.c") == Answer(200, "")
            with pytest.raises(AttributeError):
                await client.send(b"x" * (3 << 20))

    @pytest.mark.parametrize("size", [5, 3 << 20], ids=["straight", "through a session"])
    async def test_what_comes_unasked_is_no_answer(self, size: int) -> None:
        """A second answer to one request is not taken for that to the next: its events would be lost."""
        unasked = asyncio.Event()

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            if unasked.is_set():
                writer.write(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
            else:
                writer.write(OK)
                await asyncio.sleep(0.02)
                writer.write(OK)
                await writer.drain()
                unasked.set()
            await reader.read()

        async with raw_server(handle) as port, Client("main", at(port)) as client:
            assert (await client.send(b"a.b.c")).status == 200
            await unasked.wait()
            # It is in the socket's buffer by now, and is read before anything else is.
            await asyncio.sleep(0.02)
            assert (await client.send(b"x" * size)).status == 503

    async def test_who_greets_is_met_once_an_attempt(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A port at which something else than HTTP is spoken first is not connected to over and over."""
        connections = 0
        connect = aiohttp.TCPConnector.connect

        async def connect_slowly(*values: Any) -> Any:
            connection = await connect(*values)
            # Until the greeting has come.
            await asyncio.sleep(0.02)
            return connection

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connections
            connections += 1
            writer.write(b"220 mail.example ESMTP\r\n\r\n")
            await reader.read()

        monkeypatch.setattr(aiohttp.TCPConnector, "connect", connect_slowly)
        async with raw_server(handle) as port:
            answer = await send(at(port, timeout=1.0), alike=False)
        assert answer.status is None
        assert answer.detail.startswith("the answer is not HTTP: ")
        # Two attempts, and one that was broken off.
        assert connections <= 3

    async def test_a_connection_that_still_writes_is_not_used_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where the answer comes before the request was read, the next request has a connection of its own."""
        # More than the system takes in where nobody reads.
        monkeypatch.setattr("forwarder.delivery.attempt._AGAIN_BYTES", 32 << 20)
        answers = [b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n", OK]

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answers.pop(0))
            await asyncio.Event().wait()

        async with raw_server(handle) as port, Client("main", at(port, timeout=PATIENCE)) as client:
            await begin(client)
            assert (await client.send(b"x" * (32 << 20))).status == 413
            assert (await client.send(b"a.b.c")).status == 200

    async def test_a_client_must_be_entered(self) -> None:
        """A client that is not open says so, instead of calling it a failure of the network."""
        with pytest.raises(RuntimeError, match="async with"):
            await Client("main", destination()).send(b"a.b.c")


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
        + ["broken chunk of an error", "broken gzip", "100", "400", "pieces", "packed", "302", "999"],
    )
    async def test_a_status_counts(self, pieces: list[bytes], status: int, detail: str) -> None:
        """A status that has arrived counts, whatever happens to the rest of the answer."""
        assert await answer_to(*pieces) == Answer(status, detail)

    @pytest.mark.parametrize(
        ("pieces", "detail"),
        [
            ([], "the connection was closed without an answer"),
            ([b"HTTP/1.1 20"], "the connection was closed without an answer"),
            ([b"\x15\x03\x03\x00\x02\x02\x46 this is not HTTP\r\n\r\n"], "the answer is not HTTP: "),
            ([b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000 + b"\r\n\r\n"], "the answer is not HTTP: "),
        ],
        ids=["nothing", "half a status", "garbage", "endless header"],
    )
    async def test_no_status_no_answer(self, pieces: list[bytes], detail: str) -> None:
        """What is no answer is told in a short line, without the URL."""
        answer = await answer_to(*pieces)
        assert answer.status is None
        assert answer.detail.startswith(detail)
        assert len(answer.detail) <= 512
        assert "/put" not in answer.detail

    async def test_retry_after_is_handed_on(self) -> None:
        """The header is handed on as it is."""
        answer = await answer_to(b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n")
        assert answer == Answer(503, "503 Busy", "7")

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

        async with raw_server(handle) as port, Client("main", at(port)) as client:
            tracemalloc.start()
            try:
                answer = await client.send(b"a.b.c")
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
        assert answer == Answer(400, "400 Bad: " + "x" * 503)
        assert peak < 2 << 20
        assert sent < 32 << 20

    async def test_a_packed_answer_is_not_unpacked(self) -> None:
        """An answer that would be huge once it is unpacked costs no memory, although nobody asked for it packed."""
        body = zlib.compress(b"x" * (64 << 20))
        head = b"HTTP/1.1 400 Bad\r\nContent-Encoding: deflate\r\nContent-Length: %d\r\n\r\n" % len(body)
        async with raw_server(answering(head + body)) as port, Client("main", at(port)) as client:
            tracemalloc.start()
            try:
                answer = await client.send(b"a.b.c")
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
        assert answer == Answer(400, "400 Bad")
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
            answer = await send(at(port, timeout=PATIENCE * 2), alike=False)
        assert answer.status == 400
        assert answer.detail.startswith("400 Bad: xxx")

    async def test_a_slow_answer_is_bound_by_the_timeout(self) -> None:
        """Where the timeout is shorter than that, it holds for the rest of the answer, too."""
        answer = await answer_to(b"HTTP/1.1 400 Bad\r\nContent-Length: 9\r\n\r\nwhy", forever=True, timeout=0.1)
        assert answer == Answer(400, "400 Bad: why")

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
            answer = await send(at(port), b"x" * size, alike=not closes)
        # A server that closes may reset the connection before its answer was read.
        assert answer == Answer(413, "413 Too Large: more") or (closes and answer.status is None)


class TestNoConnection:
    async def test_refused(self) -> None:
        """Nobody listens: host and port are told, in the system's words."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        words = f"cannot connect to 127.0.0.1:{port}: Connection refused"
        assert await send(at(port)) == Answer(None, words, reached=False)

    async def test_unknown_host(self) -> None:
        """A name that nobody knows is told."""
        answer = await send(destination("http://nobody.invalid/put"))
        assert (answer.status, answer.reached) == (None, False)
        assert answer.detail.startswith("nobody.invalid cannot be resolved: ")

    @pytest.mark.parametrize("fault", ["cut", "cut-after-store"])
    async def test_cut(self, signer: Signer, fault: str) -> None:
        """A connection that is cut is no answer."""
        address = Address(host="127.0.0.1", port=0)
        jws = signer.sign(b"[" + segment(0).data[:-1] + b"]")
        async with Receiver(address, public_keys=[signer.public("pem")], faults=f"{fault},loop") as receiver:
            answer = await send(destination(receiver.url), jws, alike=False)
            assert receiver.stats.stored == (2 if fault == "cut-after-store" else 0)
        assert (answer.status, answer.reached, answer.timed_out) == (None, True, False)
        assert answer.detail in {"the connection was closed without an answer", "the connection broke: "} or (
            "reset" in answer.detail
        )

    async def test_timeout(self) -> None:
        """A destination that never answers is left after the timeout."""
        assert await answer_to(forever=True, timeout=0.05) == Answer(None, "no answer within 0.05 s", timed_out=True)

    async def test_cancelled(self) -> None:
        """An attempt that is cancelled ends at once."""
        async with raw_server(answering(forever=True)) as port, Client("main", at(port)) as client:
            attempt = asyncio.create_task(client.send(b"a.b.c"))
            await asyncio.sleep(0)
            attempt.cancel()
            with pytest.raises(asyncio.CancelledError):
                await attempt


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"), "our")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Another authority, whose certificates nobody trusts."""
    return Authority(tmp_path_factory.mktemp("other"), "other")


@asynccontextmanager
async def tls_server(
    authority: Authority, *, wants_clients: bool = False, host: str = "localhost"
) -> AsyncIterator[int]:
    """Serve 200 over TLS."""
    certificate, key = authority.issue(host)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.file)
    context.load_cert_chain(certificate, key)
    if wants_clients:
        context.verify_mode = ssl.CERT_REQUIRED
    async with raw_server(answering(OK), ssl=context) as port:
        yield port


class TestTls:
    async def test_private_authority(self, authority: Authority) -> None:
        """Certificates of a configured authority are trusted."""
        async with tls_server(authority) as port:
            config = destination(f"https://localhost:{port}/put", tls=TlsConfig(ca_file=authority.file))
            assert await send(config) == Answer(200, "")

    async def test_system_authorities_do_not_trust_it(self, authority: Authority) -> None:
        """Without the setting a private certificate is refused, and the detail says why."""
        async with tls_server(authority) as port:
            answer = await send(destination(f"https://localhost:{port}/put"))
        assert (answer.status, answer.reached) == (None, False)
        assert answer.detail.startswith(f"the certificate of localhost:{port} is not trusted: ")

    async def test_another_authority(self, authority: Authority, stranger: Authority) -> None:
        """The configured authority stands in place of all others."""
        async with tls_server(stranger) as port:
            config = destination(f"https://localhost:{port}/put", tls=TlsConfig(ca_file=authority.file))
            answer = await send(config)
        assert answer.status is None
        assert "is not trusted" in answer.detail

    async def test_another_host(self, authority: Authority) -> None:
        """A certificate for another name is refused."""
        async with tls_server(authority, host="elsewhere.example") as port:
            config = destination(f"https://localhost:{port}/put", tls=TlsConfig(ca_file=authority.file))
            answer = await send(config)
        assert answer.status is None
        assert "Hostname mismatch" in answer.detail

    async def test_client_certificate(self, authority: Authority) -> None:
        """A destination that wants to know who we are gets the configured certificate."""
        certificate, key = authority.issue("forwarder.example")
        tls = TlsConfig(ca_file=authority.file, cert_file=certificate, key_file=key)
        async with tls_server(authority, wants_clients=True) as port:
            config = destination(f"https://localhost:{port}/put", tls=tls)
            assert await send(config) == Answer(200, "")
            without = await send(replace(config, tls=TlsConfig(ca_file=authority.file)), alike=False)
            assert without.status is None

    async def test_plain_http_to_a_tls_port(self, authority: Authority) -> None:
        """The wrong scheme is no answer."""
        async with tls_server(authority) as port:
            assert (await send(at(port))).status is None

    async def test_tls_to_a_plain_port(self) -> None:
        """A server that does not speak TLS is told from one that is down."""
        async with raw_server(answering(OK)) as port:
            answer = await send(destination(f"https://127.0.0.1:{port}/put", timeout=0.3))
        assert answer.status is None
        assert "Connection refused" not in answer.detail

    @pytest.mark.parametrize("content", [None, b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
    def test_unusable_authority(self, tmp_path: Path, content: bytes | None) -> None:
        """A file that is missing, empty or broken is named, with the setting."""
        file = tmp_path / "ca.pem"
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(ConfigError, match=r"destinations\.main\.tls\.ca_file: .*ca\.pem"):
            tls_context(TlsConfig(ca_file=file), "destinations.main.tls")

    def test_unusable_client_certificate(self, authority: Authority, tmp_path: Path) -> None:
        """A key that does not belong to the certificate is refused before anything is sent."""
        certificate, _ = authority.issue("one.example")
        _, key = authority.issue("two.example")
        with pytest.raises(ConfigError, match=r"destinations\.main\.tls\.cert_file"):
            tls_context(TlsConfig(cert_file=certificate, key_file=key), "destinations.main.tls")

    @pytest.mark.parametrize("field", ["ca_file", "cert_file", "key_file"])
    def test_a_pipe_is_not_waited_for(self, authority: Authority, tmp_path: Path, field: str) -> None:
        """A named pipe in the place of a file is refused at once, by the name of the setting."""
        os.mkfifo(tmp_path / "pipe", 0o600)
        certificate, key = authority.issue("one.example")
        tls = replace(
            TlsConfig(ca_file=authority.file, cert_file=certificate, key_file=key), **{field: tmp_path / "pipe"}
        )
        with pytest.raises(ConfigError, match=rf"destinations\.main\.tls\.{field}: .*pipe: is not a regular file"):
            tls_context(tls, "destinations.main.tls")

    def test_a_client_key_is_kept_as_a_secret(self, authority: Authority) -> None:
        """The private key of a client certificate is refused where others may read it, as signing keys are."""
        certificate, key = authority.issue("one.example")
        key.chmod(0o644)
        with pytest.raises(ConfigError, match=r"tls\.key_file: .*its mode is 0644"):
            tls_context(TlsConfig(cert_file=certificate, key_file=key), "destinations.main.tls")

    def test_an_encrypted_key_asks_nobody(self, authority: Authority) -> None:
        """A key that needs a passphrase is refused; nobody is asked for it on the terminal."""
        certificate, key = authority.issue("forwarder.example", passphrase=b"secret")
        script = (
            "import sys; from forwarder.config import TlsConfig; from forwarder.delivery.attempt import tls_context;"
            "tls_context(TlsConfig(cert_file=sys.argv[1], key_file=sys.argv[2]), 'destinations.main.tls')"
        )
        # Without a terminal, standard input is asked; it stays open and says nothing.
        with subprocess.Popen(
            [sys.executable, "-c", script, certificate, key],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        ) as process:
            assert process.stderr is not None
            try:
                assert process.wait(PATIENCE) == 1
            finally:
                process.kill()
            assert b"unencrypted key" in process.stderr.read()


@asynccontextmanager
async def proxy(seen: list[bytes], *, refuses: bool = False) -> AsyncIterator[int]:
    """Serve as an HTTP proxy: CONNECT is tunnelled, anything else is answered with 200."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        seen.append(head)
        if refuses:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        elif head.startswith(b"CONNECT "):
            host, port = head.split()[1].decode().rsplit(":", 1)
            there = await asyncio.open_connection(host, int(port))
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await asyncio.gather(pass_on(reader, there[1]), pass_on(there[0], writer))
        else:
            writer.write(OK)

    async with raw_server(handle) as port:
        yield port


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy one direction of a tunnel."""
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()


class TestProxy:
    async def test_plain(self) -> None:
        """A plain request goes to the proxy, with the whole URL and the credentials for the proxy."""
        seen: list[bytes] = []
        async with proxy(seen) as port:
            config = destination("http://api.invalid/put", proxy=f"http://user:secret@127.0.0.1:{port}")
            assert (await send(config)).status == 200
        assert len(seen) == 2
        for head in seen:
            assert head.startswith(b"POST http://api.invalid/put HTTP/1.1\r\n")
            assert b"Proxy-Authorization: Basic dXNlcjpzZWNyZXQ=" in head

    async def test_tunnel(self, authority: Authority) -> None:
        """With TLS the proxy only tunnels: it sees the host, and neither headers nor events."""
        seen: list[bytes] = []
        async with tls_server(authority) as server, proxy(seen) as port:
            config = destination(
                f"https://localhost:{server}/put",
                proxy=f"http://127.0.0.1:{port}",
                headers={"Authorization": "Bearer header-secret"},
                tls=TlsConfig(ca_file=authority.file),
            )
            assert await send(config) == Answer(200, "")
        assert len(seen) == 2
        for head in seen:
            assert head.startswith(f"CONNECT localhost:{server} HTTP/1.1\r\n".encode())
            assert b"header-secret" not in head

    async def test_refused_by_the_proxy(self) -> None:
        """A proxy that refuses the tunnel is no answer of the destination, and its credentials are not told."""
        async with proxy([], refuses=True) as port:
            config = destination("https://api.invalid/put", proxy=f"http://user:secret@127.0.0.1:{port}")
            answer = await send(config)
        assert answer == Answer(None, "the proxy answered 407 Proxy Authentication Required", reached=False)

    async def test_proxies_of_the_environment_are_not_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where no proxy is configured, none is used, whatever the environment says."""
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:1")
        assert await answer_to(OK) == Answer(200, "")
