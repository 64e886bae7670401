"""The destinations: one small HTTP server that verifies, fails by chance, and writes everything down.

It shares no code with the forwarder or its receiver, and reads HTTP from the bare stream, so that a
connection can be cut at any byte and each request is known in the order in which it came.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import select
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate
from random import Random
from time import monotonic, time

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from tests.campaigns.killing.events import Events, Key
from tests.campaigns.killing.faults import Fault, Faults
from tests.campaigns.killing.shot import Sight

TIMEOUT = 1.0
"""Seconds that the forwarder waits for an answer."""
_HEADER = base64.urlsafe_b64encode(b'{"alg":"RS256"}').rstrip(b"=")


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came, and what it was answered."""

    route: str
    life: int
    events: tuple[Key, ...]
    digest: bytes
    status: int | None
    """None where no answer was given."""
    is_stored: bool
    is_lost: bool
    """Whether it is stored, and the forwarder cannot know it."""
    is_stale: bool = False
    """Whether the forwarder had hung up before it was looked at: it may come behind what was sent after it."""


class _Data(msgspec.Struct):
    n: int


class _Event(msgspec.Struct):
    eventSourceId: str  # noqa: N815 - the Event API's name
    data: _Data


_raws = msgspec.json.Decoder(list[msgspec.Raw])
_event = msgspec.json.Decoder(_Event)


class Receiver:
    """Serves every destination at `http://127.0.0.1:PORT/NAME`. Use as `async with`."""

    def __init__(self, public_key: str, faults: dict[str, Faults], events: Events, saw: Callable[[Sight], None]):
        key = load_pem_public_key(public_key.encode())
        assert isinstance(key, rsa.RSAPublicKey)
        self._key = key
        self._faults = faults
        self._events = events
        self._saw = saw
        self._life = 0
        self._is_over = asyncio.Event()
        self._serving: set[asyncio.Task[None]] = set()
        self._ids: dict[Key, bytes] = {}
        self.requests: list[Request] = []
        self.wrongs: list[str] = []
        """What must not come, at all."""

    async def __aenter__(self) -> Receiver:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self.end_life()

    def begin_life(self, life: int) -> None:
        """Count what comes from now on to another life of the forwarder."""
        self._life = life
        self._is_over = asyncio.Event()

    async def end_life(self) -> None:
        """Read what the forwarder, which has ended, had still sent."""
        self._is_over.set()
        # What is in the listener's backlog is accepted by then.
        for _ in range(5):
            await asyncio.sleep(0)
        while self._serving:
            await asyncio.wait(self._serving)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            # Whoever was killed closes its connections at any byte.
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._serve(self._life, reader, writer)
        finally:
            self._serving.discard(task)
            writer.transport.abort()

    async def _serve(self, life: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            began = monotonic()
            self._saw(Sight.HEAD)
            route = head.split(" ", 2)[1].strip("/")
            size = next(line.split(":")[1] for line in head.split("\r\n") if line.lower().startswith("content-length:"))
            fault = self._faults[route].next()
            if fault is Fault.CUT_HEAD:
                return
            body = await reader.readexactly(int(size))
            is_stale = _is_hung_up(writer)
            self._saw(Sight.BODY)
            events = self._read(route, body)
            status, is_stored = self._decide(fault, route, events)
            if fault is Fault.SLOW and is_stored:
                await self._sleep(self._faults[route].chance.uniform(0.01, TIMEOUT / 4))
            # Where this machine was slower than the forwarder's patience, it has not seen the answer.
            is_late = monotonic() - began > TIMEOUT / 2
            is_lost = is_stored and (is_late or is_stale or fault in {Fault.CUT_ANSWER, Fault.SILENT_STORED})
            digest = hashlib.sha256(body).digest()
            self.requests.append(Request(route, life, events, digest, status, is_stored, is_lost, is_stale))
            if status is None or not self._answer(writer, fault, status, self._faults[route].chance):
                if fault in {Fault.SILENT, Fault.SILENT_STORED}:
                    await self._hung_up(reader)
                return

    def _decide(self, fault: Fault, route: str, events: tuple[Key, ...]) -> tuple[int | None, bool]:
        """Return the status (None for no answer) and whether the events are stored."""
        chance = self._faults[route].chance
        if fault is Fault.UNAVAILABLE:
            return chance.choice([500, 502, 503, 504]), False
        if fault is Fault.TOO_MANY:
            return 429, False
        if fault in {Fault.CUT_BODY, Fault.SILENT}:
            return None, False
        # Whatever else a fault does, what is bad is not stored.
        if any(self._events.is_poison(*key, route) for key in events):
            return 400, False
        if fault is Fault.TOO_LARGE and len(events) > 1:
            return 413, False
        return (None if fault is Fault.SILENT_STORED else 200), True

    def _answer(self, writer: asyncio.StreamWriter, fault: Fault, status: int, chance: Random) -> bool:
        """Write an answer, or a part of it; return whether the connection goes on."""
        if status == 200 and fault is Fault.CUT_ANSWER:
            writer.write(chance.choice([b"", b"HT", b"HTTP/1.1 200 OK\r\nContent-Le"]))
            writer.close()
            return False
        if status == 200 and fault is Fault.CUT_AFTER_HEAD:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
            writer.close()
            self._saw(Sight.DELIVERED)
            return False
        more = ""
        if status == 429:
            more = f"Retry-After: {chance.choice(['0', '1', '3600', 'soon', formatdate(time() + 1, usegmt=True)])}\r\n"
        body = b"" if status == 200 else b'{"error": "by chance"}'
        writer.write(b"HTTP/1.1 %d X\r\n%bContent-Length: %d\r\n\r\n%b" % (status, more.encode(), len(body), body))
        self._saw(
            Sight.DELIVERED if status == 200 else Sight.REJECTED if status in {400, 413} else Sight.DEFERRED,
        )
        return True

    async def _sleep(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._is_over.wait()

    async def _hung_up(self, reader: asyncio.StreamReader) -> None:
        """Return when the forwarder has closed the connection."""
        while await reader.read(1 << 16):
            pass

    # --- what came -----------------------------------------------------------------------------

    def _read(self, route: str, body: bytes) -> tuple[Key, ...]:
        """Verify a body and return its events; whatever is wrong with it is written down."""
        try:
            events = _raws.decode(self._payload(body))
            return tuple(self._key_of(route, bytes(event)) for event in events)
        except (ValueError, InvalidSignature, msgspec.DecodeError) as error:
            self.wrongs.append(f"{route}: a body cannot be read: {error!r}: {body[:200]!r}")
            return ()

    def _payload(self, body: bytes) -> bytes:
        """Return the payload of a compact JWS (RFC 7515 §7.1) that the forwarder's key has signed (RS256)."""
        signed, _, signature = body.rpartition(b".")
        header, _, payload = signed.partition(b".")
        if header != _HEADER:
            raise ValueError(f"the header is {header!r}")
        self._key.verify(_decoded(signature), signed, padding.PKCS1v15(), hashes.SHA256())
        return _decoded(payload)

    def _key_of(self, route: str, event: bytes) -> Key:
        found = _event.decode(event)
        key = (found.eventSourceId, found.data.n)
        name = self._events.id_of_arrived(*key, event)
        if name is None:
            self.wrongs.append(f"{route}: {key} is not what was sent: {event[:300]!r}")
        elif self._ids.setdefault(key, name) != name:
            self.wrongs.append(f"{route}: {key} came as {name!r} and as {self._ids[key]!r}")
        return key


def _is_hung_up(writer: asyncio.StreamWriter) -> bool:
    """Say whether the other side has closed the connection, even if that is still to be read."""
    poll = select.poll()
    poll.register(writer.get_extra_info("socket").fileno(), select.POLLRDHUP)
    return bool(poll.poll(0))


def _decoded(text: bytes) -> bytes:
    return base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
