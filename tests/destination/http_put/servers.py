"""Servers for the tests of the client: they answer byte for byte, speak TLS, or are a proxy."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, aclosing, asynccontextmanager, contextmanager, suppress
from typing import Any, cast

from forwarder.config import DestinationConfig
from forwarder.destination.base import Answer
from forwarder.destination.http_put.put import HttpPut
from forwarder.destination.http_put.resolver import Address, Lookup, look_up
from forwarder.destination.http_put.responses import outcome_of
from forwarder.model import Outcome
from forwarder.signing import Signer
from tests.certificates import DAY, Authority
from tests.delivery.conftest import PATIENCE, Handler, destination, raw_server, read_request

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def at(port: int, **settings: Any) -> DestinationConfig:
    """Return the configuration of a destination on this machine."""
    return destination(f"http://127.0.0.1:{port}/put", **settings)


class Unsigned:
    """Signs nothing: what is sent in these tests was prepared by nobody."""

    alg = thumbprint = "none"


@asynccontextmanager
async def put_to(config: DestinationConfig, *, lookup: Lookup = look_up) -> AsyncIterator[HttpPut]:
    """Return a destination of which the connections end with the block."""
    async with aclosing(HttpPut("main", config, cast("Signer", Unsigned()), lookup=lookup)) as put:
        yield put


def said(
    status: int | None,
    detail: str = "",
    retry_after: float | None = None,
    *,
    reached: bool = True,
    timed_out: bool = False,
) -> Answer:
    """Return what a status is said to mean, or that there was none, because of `detail`."""
    outcome = outcome_of(status, {})
    is_about_events = reached and retry_after is None and outcome is not Outcome.DELIVERED
    return Answer(
        outcome,
        detail,
        retry_after,
        status,
        timed_out=timed_out,
        is_about_events=is_about_events,
        refuses_key=status in {401, 403},
    )


async def send(config: DestinationConfig, body: bytes = b"a.b.c") -> Answer:
    """Make the first attempt at a destination; return what came of it."""
    async with put_to(config) as put, asyncio.timeout(PATIENCE):
        return await put.send(body)


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


@asynccontextmanager
async def tls_server(
    authority: Authority,
    handler: Handler = answering(OK),  # noqa: B008 - a function
    *,
    wants_clients: bool = False,
    host: str = "localhost",
    version: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED,
    ends_in: float = DAY,
) -> AsyncIterator[int]:
    """Serve over TLS, 200 where nothing else is wanted."""
    certificate, key = authority.issue(host, ends_in=ends_in)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.file)
    context.maximum_version = version
    context.load_cert_chain(certificate, key)
    if wants_clients:
        context.verify_mode = ssl.CERT_REQUIRED
    async with raw_server(handler, ssl=context) as port:
        yield port


@contextmanager
def alerting_server(authority: Authority, version: ssl.TLSVersion) -> Iterator[int]:
    """Serve over TLS to those with a certificate; others get an alert, which asyncio's own servers do not send."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.file)
    context.maximum_version = version
    context.load_cert_chain(*authority.issue("localhost"))
    context.verify_mode = ssl.CERT_REQUIRED

    def serve() -> None:
        while not is_done.is_set():
            sock, _ = listener.accept()
            with suppress(OSError), sock, context.wrap_socket(sock, server_side=True) as connection:
                connection.recv(65536)

    is_done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        is_done.set()
        socket.create_connection(listener.getsockname()).close()
        thread.join(PATIENCE)


@asynccontextmanager
async def proxy(seen: list[bytes], *, refuses: bool = False, **settings: Any) -> AsyncIterator[int]:
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
            try:
                await asyncio.gather(pass_on(reader, there[1]), pass_on(there[0], writer))
            finally:
                there[1].close()
        else:
            writer.write(OK)

    async with raw_server(handle, **settings) as port:
        yield port


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy one direction of a tunnel."""
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()


@contextmanager
def silent() -> Iterator[Address]:
    """An address that answers nothing: connections to a full backlog hang."""
    with socket.socket() as listener, ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(address)
        yield Address(socket.AF_INET, address)
