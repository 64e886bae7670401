"""A destination that does as little as it can: it counts the events of each body, and says when the last one came.

It runs in a process of its own. A body is a JSON array, or a compact JWS that carries one; signatures
are not verified, so that what is measured is who sends.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import pybase64
import uvloop

from forwarder.model import Address
from tests.benchmarks import load

MARK = b'"eventType"'
"""Stands once in each event."""

_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@dataclass(frozen=True)
class Count:
    """How many events have come, and when the last of them did, in seconds since the epoch."""

    events: int
    last: float


@dataclass(frozen=True)
class Sink:
    """Where the sink listens."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/put"

    def counted(self) -> Count:
        """Ask the sink."""
        with urllib.request.urlopen(self.url, timeout=10) as answer:
            events, last = answer.read().split()
        return Count(int(events), float(last))

    def wait_for(self, events: int, timeout: float = 600) -> Count:
        """Wait until so many events have come."""
        deadline = time.monotonic() + timeout
        while (count := self.counted()).events < events:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{count.events:,} of {events:,} events came within {timeout:g} s")
            time.sleep(0.05)
        return count


@contextlib.contextmanager
def running() -> Iterator[Sink]:
    """Run a sink at a port of its own; what it counted is forgotten with it."""
    port = load.free_port()
    process = multiprocessing.Process(target=_serve, args=(port,), daemon=True)
    process.start()
    try:
        load.wait_until_open(Address(host="127.0.0.1", port=port))
        yield Sink(port)
    finally:
        process.kill()
        process.join()


def _serve(port: int) -> None:
    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", port)
        await server.serve_forever()

    uvloop.run(serve())


class _Connection(asyncio.Protocol):
    _transport: asyncio.Transport
    _events = 0
    _last = 0.0

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._missing = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._parts.append(data)
        self._missing -= len(data)
        if self._missing > 0:
            return
        found = b"".join(self._parts)
        head, end, body = found.partition(b"\r\n\r\n")
        fields = head.lower()
        length = int(fields.partition(b"content-length:")[2].split(b"\r\n", 1)[0] or 0)
        self._parts, self._missing = [found], length - len(body)
        if not end or self._missing > 0:
            return
        self._parts, self._missing = [], 0
        if fields.startswith(b"get "):
            said = b"%d %f" % (_Connection._events, _Connection._last)
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(said), said))
            return
        _Connection._events += _payload(body).count(MARK)
        _Connection._last = time.time()
        self._transport.write(_OK)


def _payload(body: bytes) -> bytes:
    if body[:1] == b"[":
        return body
    encoded = body.split(b".")[1]
    return pybase64.urlsafe_b64decode(encoded + b"=" * (-len(encoded) % 4))
