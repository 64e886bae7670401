"""Clients that speak over plain sockets, byte by byte where a test wants it, and a path for them to speak to."""

from __future__ import annotations

import contextlib
import json
import select
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from forwarder.model import Address
from forwarder.receiver import Receiver
from tests.integration.process import PATIENCE, Forwarder

MIB = 1 << 20
# Events that are sent at a time.
_STEP = 1000

# An event of about 430 bytes in two parts, with the twelve digits that its id ends with between them.
_HEAD = b'{"eventSourceId":"bench-app","eventType":"feature_use","eventId":"00000000-0000-4000-8000-'
_TAIL = b'","eventObjectType":"user","eventObjectId":"user-000000","data":{"eventTime":1700000000000,"text":"%b"}}' % (
    b"x" * 210
)


@contextlib.asynccontextmanager
async def running(folder: Path, **settings: Any) -> AsyncIterator[tuple[Forwarder, Receiver]]:
    """Run a forwarder that delivers to a receiver, which knows the events by their ids."""
    forwarder = Forwarder(folder / "f", "http://127.0.0.1:1/put", **settings)
    keys = [forwarder.signer.public("pem")]
    async with Receiver(Address(host="127.0.0.1", port=0), public_keys=keys, keep="ids") as receiver:
        forwarder.config["destinations"]["main"]["url"] = receiver.url
        async with forwarder:
            # What is loaded with the first request and the first delivery belongs to no test.
            assert (await forwarder.post(event(999_999_999_999)))[0] == 202
            await forwarder.settled()
            yield forwarder, receiver


def event(number: int) -> bytes:
    """Return an event of usual size with an id of its own."""
    return b"%b%012d%b" % (_HEAD, number, _TAIL)


def lines(first: int, count: int) -> bytes:
    """Return numbered events, one a line."""
    return b"".join(event(number) + b"\n" for number in range(first, first + count))


def number_of(found: bytes) -> int:
    """Return the number of an event that arrived."""
    return int(json.loads(found)["eventId"][-12:])


def http(body: bytes = b"", *, start: str = "POST /v1/events", **headers: str) -> bytes:
    """Return a request as it is sent; the headers' underscores are hyphens."""
    named = {"Host": "localhost", "Content-Type": "application/json", "Content-Length": str(len(body))}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"{start} HTTP/1.1\r\n{head}\r\n".encode() + body


@contextlib.contextmanager
def connected(path: Path, count: int) -> Iterator[list[socket.socket]]:
    """Connect so many times to a unix socket, and hang up at the end."""
    with contextlib.ExitStack() as stack:
        peers = []
        for _ in range(count):
            peer = stack.enter_context(socket.socket(socket.AF_UNIX))
            peer.settimeout(PATIENCE)
            peer.connect(str(path))
            peers.append(peer)
        yield peers


def status_of(peer: socket.socket) -> int:
    """Read an answer, which comes in one piece, and return its status."""
    answer = peer.recv(65536)
    assert answer.startswith(b"HTTP/1.1 "), answer
    return int(answer.split(b" ", 2)[1])


def send_all(peer: socket.socket, count: int) -> list[bytes]:
    """Send `count` numbered events over a stream, end it, and return every answer."""
    for first in range(0, count, _STEP):
        peer.sendall(lines(first, min(_STEP, count - first)))
    peer.shutdown(socket.SHUT_WR)
    with peer.makefile("rb") as file:
        return file.readlines()


def read_ack(peer: socket.socket, count: int) -> None:
    """Read until so many lines are acked; any refusal is an error."""
    found = b""
    while b'{"ack": %d}\n' % count not in found:
        more = peer.recv(65536)
        assert more, f"hung up after {found!r}"
        found += more
        assert b"refused" not in found, found


def is_quiet(peer: socket.socket) -> bool:
    """Say whether a peer is connected and has not been answered."""
    return not select.select([peer], [], [], 0)[0]


def free_port() -> int:
    """Return a port that nothing listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
