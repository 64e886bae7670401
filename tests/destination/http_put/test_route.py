"""The way to a destination, against real servers: names, addresses, TLS, proxies."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from dataclasses import replace

import pytest

from forwarder.config import TlsConfig
from forwarder.destination.http_put.resolver import Address as AnyAddress
from tests.certificates import Authority
from tests.delivery.conftest import PATIENCE, Handler, destination, raw_server, read_request
from tests.destination.http_put.servers import (
    OK,
    alerting_server,
    answer_to,
    answering,
    at,
    proxy,
    put_to,
    said,
    send,
    silent,
    tls_server,
)


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Another authority, whose certificates nobody trusts."""
    return Authority(tmp_path_factory.mktemp("other"), "other")


class TestNoConnection:
    async def test_refused(self) -> None:
        """Nobody listens: host and port are told, in the system's words."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        words = f"cannot connect to 127.0.0.1:{port}: Connection refused"
        assert await send(at(port)) == said(None, words, reached=False)

    async def test_unknown_host(self) -> None:
        """A name that nobody knows is told."""
        answer = await send(destination("http://nobody.invalid/put"))
        assert (answer.status, answer.is_about_events) == (None, False)
        assert answer.detail.startswith("nobody.invalid cannot be resolved: ")


class TestTls:
    async def test_private_authority(self, authority: Authority) -> None:
        """Certificates of a configured authority are trusted."""
        async with tls_server(authority) as port:
            config = destination(f"https://localhost:{port}/put", tls=TlsConfig(ca_file=authority.file))
            assert await send(config) == said(200, "")

    async def test_system_authorities_do_not_trust_it(self, authority: Authority) -> None:
        """Without the setting a private certificate is refused, and the detail says why."""
        async with tls_server(authority) as port:
            answer = await send(destination(f"https://localhost:{port}/put"))
        assert (answer.status, answer.is_about_events) == (None, False)
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
            assert await send(config) == said(200, "")
            without = await send(replace(config, tls=TlsConfig(ca_file=authority.file)))
            assert without.status is None

    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    async def test_a_client_certificate_is_required(self, authority: Authority, version: ssl.TLSVersion) -> None:
        """The alert is told, also where it comes after the handshake; the destination was not reached."""
        with alerting_server(authority, version) as port:
            config = destination(f"https://localhost:{port}/put", tls=TlsConfig(ca_file=authority.file))
            async with put_to(config) as client:
                for size in (5, 5 << 20):
                    answer = await client.send(b"x" * size)
                    what = "certificate required" if version is ssl.TLSVersion.TLSv1_3 else "handshake failure"
                    words = f"localhost:{port} refused TLS: {what} (look at tls.cert_file)"
                    assert answer == said(None, words, reached=False)

    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    async def test_a_client_certificate_of_a_stranger(
        self, authority: Authority, stranger: Authority, version: ssl.TLSVersion
    ) -> None:
        """A certificate that the other side does not know is told as such."""
        certificate, key = stranger.issue("forwarder.example")
        tls = TlsConfig(ca_file=authority.file, cert_file=certificate, key_file=key)
        with alerting_server(authority, version) as port:
            answer = await send(destination(f"https://localhost:{port}/put", tls=tls))
        assert answer == said(None, f"localhost:{port} refused TLS: unknown ca (look at tls.cert_file)", reached=False)

    async def test_plain_http_to_a_tls_port(self, authority: Authority) -> None:
        """The wrong scheme is no answer."""
        async with tls_server(authority) as port:
            assert (await send(at(port))).status is None

    async def test_tls_to_a_plain_port(self) -> None:
        """A server that speaks HTTP to a TLS handshake is told as that."""

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(5)
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        async with raw_server(handle) as port:
            answer = await send(destination(f"https://127.0.0.1:{port}/put"))
        words = f"127.0.0.1:{port} does not speak TLS: use http://, or the port is wrong"
        assert answer == said(None, words, reached=False)

    @pytest.mark.parametrize("size", [5, 3 << 20, 20 << 20])
    async def test_a_connection_is_used_again(self, authority: Authority, size: int) -> None:
        """One handshake serves many attempts, whatever their size."""
        handshakes = 0

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal handshakes
            handshakes += 1
            while True:
                await read_request(reader)
                writer.write(OK)

        async with tls_server(authority, handle) as port:
            config = destination(f"https://localhost:{port}/put", tls=TlsConfig(ca_file=authority.file))
            async with put_to(config) as client:
                for _ in range(3):
                    assert await client.send(b"x" * size) == said(200, "")
        assert handshakes == 1

    @pytest.mark.parametrize("status", [200, 413])
    async def test_an_early_answer(self, authority: Authority, status: int) -> None:
        """Under TLS, too, a refusal may come before the request was written, and a 2xx may not."""

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 %d Early\r\nContent-Length: 0\r\n\r\n" % status)
            await asyncio.Event().wait()

        async with tls_server(authority, handle) as port:
            config = destination(f"https://localhost:{port}/put", tls=TlsConfig(ca_file=authority.file))
            answer = await send(config, b"x" * (32 << 20))
        assert answer.status == (None if status == 200 else status)

    async def test_a_second_answer_is_not_taken_for_the_next(self, authority: Authority) -> None:
        """An answer that comes unasked ends the connection, under TLS, too."""
        unasked = asyncio.Event()

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            if not unasked.is_set():
                writer.write(OK)
                await asyncio.sleep(0.02)
            writer.write(b"HTTP/1.1 429 Busy\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            unasked.set()
            await reader.read()

        async with tls_server(authority, handle) as port:
            config = destination(f"https://localhost:{port}/put", tls=TlsConfig(ca_file=authority.file))
            async with put_to(config) as client:
                assert (await client.send(b"a.b.c")).status == 200
                await unasked.wait()
                assert (await client.send(b"a.b.c")).status == 429


class TestTime:
    """Every step of the way is bound by the timeout, and told."""

    async def test_name(self) -> None:
        """A name server that is silent."""
        may_end = threading.Event()

        def lookup(host: str, port: int) -> list[AnyAddress]:
            may_end.wait(PATIENCE)
            return []

        async with put_to(destination("http://api.example/put", timeout=0.05), lookup=lookup) as client:
            words = "api.example was not resolved within 0.05 s"
            assert await client.send(b"a.b.c") == said(None, words, reached=False, timed_out=True)
        may_end.set()

    async def test_connection(self) -> None:
        """An address that is silent."""
        with silent() as address:
            port = address.sockaddr[1]
            words = f"127.0.0.1:{port} took no connection within 0.05 s"
            answer = await send(destination(f"http://127.0.0.1:{port}/put", timeout=0.05))
        assert answer == said(None, words, reached=False, timed_out=True)

    async def test_handshake(self) -> None:
        """A port that takes the connection and says nothing."""
        async with raw_server(answering(forever=True)) as port:
            answer = await send(destination(f"https://127.0.0.1:{port}/put", timeout=0.5))
        words = f"127.0.0.1:{port} did not end the TLS handshake within 0.5 s"
        assert answer == said(None, words, reached=False, timed_out=True)

    async def test_tunnel(self) -> None:
        """A proxy that does not answer."""
        async with raw_server(forever) as port:
            config = destination("https://api.invalid/put", proxy=f"http://127.0.0.1:{port}", timeout=0.5)
            answer = await send(config)
        words = f"the proxy 127.0.0.1:{port} did not open a tunnel within 0.5 s"
        assert answer == said(None, words, reached=False, timed_out=True)

    async def test_handshake_in_the_tunnel(self) -> None:
        """A destination that says nothing behind its proxy."""
        async with raw_server(forever) as server, proxy([]) as port:
            config = destination(f"https://127.0.0.1:{server}/put", proxy=f"http://127.0.0.1:{port}", timeout=0.5)
            answer = await send(config)
        words = f"127.0.0.1:{server} did not end the TLS handshake within 0.5 s"
        assert answer == said(None, words, reached=False, timed_out=True)


class TestNames:
    async def test_a_new_connection_goes_to_the_address_of_now(self) -> None:
        """After `renew`, and at the age that is set, what is sent goes where the name leads then."""
        served: list[int] = []

        def server(number: int) -> Handler:
            async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                while True:
                    await read_request(reader)
                    served.append(number)
                    writer.write(OK)

            return handle

        async with raw_server(server(1)) as one, raw_server(server(2)) as two:
            now = [one]

            def lookup(host: str, port: int) -> list[AnyAddress]:
                assert (host, port) == ("api.example", 80)
                return [AnyAddress(socket.AF_INET, ("127.0.0.1", now[0]))]

            async with put_to(destination("http://api.example/put"), lookup=lookup) as client:
                await client.send(b"a.b.c")
                now[0] = two
                await client.send(b"a.b.c")
                client.renew()
                await client.send(b"a.b.c")
        assert served == [1, 1, 2]

    async def test_the_next_address_is_tried(self, authority: Authority) -> None:
        """Of several addresses the one that answers is taken; the certificate is that of the name."""
        async with tls_server(authority) as server:

            def lookup(host: str, port: int) -> list[AnyAddress]:
                return [
                    AnyAddress(socket.AF_INET6, ("::1", server, 0, 0)),
                    AnyAddress(socket.AF_INET, ("127.0.0.1", server)),
                ]

            config = destination(f"https://localhost.:{server}/put", tls=TlsConfig(ca_file=authority.file))
            async with put_to(config, lookup=lookup) as client:
                assert await client.send(b"a.b.c") == said(200, "")


async def forever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take all and answer nothing."""
    await reader.read()


class TestProxy:
    async def test_plain(self) -> None:
        """A plain request goes to the proxy, with the whole URL and the credentials for the proxy."""
        seen: list[bytes] = []
        async with proxy(seen) as port:
            config = destination("http://api.invalid/put", proxy=f"http://user:secret@127.0.0.1:{port}")
            assert (await send(config)).status == 200
        [head] = seen
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
            assert await send(config) == said(200, "")
        [head] = seen
        assert head.startswith(f"CONNECT localhost:{server} HTTP/1.1\r\n".encode())
        assert b"header-secret" not in head

    async def test_refused_by_the_proxy(self) -> None:
        """A proxy that refuses the tunnel is no answer of the destination, and its credentials are not told."""
        async with proxy([], refuses=True) as port:
            config = destination("https://api.invalid/put", proxy=f"http://user:secret@127.0.0.1:{port}")
            answer = await send(config)
        assert answer == said(None, "the proxy answered 407 Proxy Authentication Required", reached=False)

    async def test_over_tls(self, authority: Authority) -> None:
        """A proxy may be spoken to over TLS, and tunnel TLS within it."""
        seen: list[bytes] = []
        certificate, key = authority.issue("localhost")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
        async with tls_server(authority) as server, proxy(seen, ssl=context) as port:
            config = destination(
                f"https://localhost:{server}/put",
                proxy=f"https://localhost:{port}",
                tls=TlsConfig(ca_file=authority.file),
            )
            assert await send(config, b"x" * (3 << 20)) == said(200, "")
            plain = await send(destination("http://api.invalid/put", proxy=config.proxy, tls=config.tls))
            assert plain == said(200, "")
        assert [head.split(b" ")[0] for head in seen] == [b"CONNECT", b"POST"]

    @pytest.mark.parametrize(
        ("answer", "detail"),
        [
            (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 500\r\n\r\nno", "the proxy answered 502 Bad Gateway"),
            (b"HTTP/1.1 302 Found\r\n\r\n", "the proxy answered 302 Found"),
            (b"SSH-2.0-x\r\n", "the proxy 127.0.0.1:PORT opened no tunnel: the answer is not HTTP: SSH-2.0-x"),
            (b"", "the proxy 127.0.0.1:PORT opened no tunnel: the connection was closed without an answer"),
            (OK + OK, "127.0.0.1:PORT spoke before it was asked"),
            (b"HTTP/1.1 103 Hints\r\n\r\n" + OK, "api.invalid:443 ended the connection during the TLS handshake"),
        ],
    )
    async def test_what_a_proxy_answers_is_no_answer(self, answer: bytes, detail: str) -> None:
        """Whatever a proxy says to CONNECT settles nothing."""

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)

        async with raw_server(handle) as port:
            found = await send(destination("https://api.invalid/put", proxy=f"http://127.0.0.1:{port}"))
        assert (found.status, found.is_about_events) == (None, False)
        assert found.detail == detail.replace("PORT", str(port)) or "TLS with api.invalid:443 failed" in found.detail

    async def test_proxies_of_the_environment_are_not_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where no proxy is configured, none is used, whatever the environment says."""
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:1")
        assert await answer_to(OK) == said(200, "")
