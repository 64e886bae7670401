"""Events over a stream socket: one a line in, acks and refusals out.

`{"ack": n}` says that the first n lines of the connection are settled: stored and synced, or
refused. `{"refused": n, "status": …, "detail": …}` says that line n was not stored, and comes before
the ack that covers it. Blank lines do not count. While one piece of lines is being committed the
next is read and checked, and no more: a client that sends faster than the disk takes waits in its
own socket, and so does every client while the queue is full.

A client that does not read its acks costs nothing: acks are cumulative, so only the last one is
kept for it; a client that does not read its refusals is not read from.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import cast

import msgspec
import structlog

from forwarder.envelope import Checked, Refused, canonical_lines, too_large_words
from forwarder.errors import IntakeError, TooLargeError, UnauthorizedError, UnavailableError
from forwarder.ingest.access import Access
from forwarder.ingest.framing import Framer, Overlong
from forwarder.ingest.intake import Intake
from forwarder.ingest.listening import Listener

# Bytes of lines that one connection may have waiting before it is not read from.
_MAX_WAITING = 512 * 1024
# Bytes of answers that may wait in the socket's buffer.
_MAX_ANSWERS = 64 * 1024
# Seconds between attempts to store while the queue cannot take events.
_RETRY_SECONDS = 1.0

# Seconds that connections have to settle what they have received when the forwarder stops.
_STOP_SECONDS = 5.0

log = structlog.get_logger(__name__)


class Connection(asyncio.Protocol):
    """One client. Reading fills the framer; one task checks, stores and answers, in order."""

    def __init__(self, server: StreamIntake, access: Access) -> None:
        self._server = server
        self._intake = server.intake
        self._access = access
        self._framer = Framer(server.max_event_bytes)
        self._more = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._ended = False
        self._lost = False
        self._lines = 0
        self._acked = 0
        self._settled = 0
        self._needs_token = access.wants_token and not access.is_unix
        self._is_paused = False
        self._transport: asyncio.Transport | None = None

    # --- called by the transport ---------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_MAX_ANSWERS)
        self._server.began(self)

    def data_received(self, data: bytes) -> None:
        self._framer.feed(data)
        self._more.set()
        if self._framer.size > _MAX_WAITING and self._transport is not None and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        self._end()
        self._framer.finish()
        # Keep our side open: what was received is still answered.
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._writable.set()
        self._end()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()
        self._answer_ack()

    def _end(self) -> None:
        self._ended = True
        self._more.set()

    def stop(self) -> None:
        """Read nothing more; what was received is settled."""
        if self._transport is not None and not self._ended:
            with suppress(RuntimeError):
                self._transport.pause_reading()
        self._end()

    # --- the one task --------------------------------------------------------------------------

    async def run(self) -> None:
        """Check, store and answer until the client ends or the forwarder stops."""
        storing: asyncio.Task[None] | None = None
        try:
            self._check_peer()
            while (piece := await self._next_piece()) is not None:
                checked, lines = await self._check(piece)
                if storing is not None:
                    await storing
                storing = asyncio.create_task(self._store(checked, lines))
                # Let the commit begin before the next piece is checked.
                await asyncio.sleep(0)
            if storing is not None:
                await storing
        except IntakeError as error:
            await self._answer({"refused": self._lines, "status": error.status, "detail": error.message})
        except Exception:
            log.exception("stream.failed")
        finally:
            if storing is not None and not storing.done():
                storing.cancel()
            if self._transport is not None:
                self._transport.close()
            self._server.ended(self)

    def _check_peer(self) -> None:
        if self._transport is not None and (peer := self._transport.get_extra_info("socket")) is not None:
            self._access.check_peer(cast("socket.socket", peer))

    async def _next_piece(self) -> bytes | Overlong | None:
        """Wait for lines; return None when there will be no more."""
        while (piece := self._framer.take()) is None:
            if self._ended:
                return None
            self._more.clear()
            if self._is_paused and self._transport is not None:
                self._is_paused = False
                self._transport.resume_reading()
            await self._more.wait()
        if self._is_paused and not self._ended and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()
        return piece

    async def _check(self, piece: bytes | Overlong) -> tuple[Checked, int]:
        """Check a piece and answer its refusals; return what is to be stored and the lines settled by it."""
        refused: list[Refused]
        if isinstance(piece, Overlong):
            checked = Checked(0, b"", [])
            refused = [Refused(0, TooLargeError.status, too_large_words(piece.size, self._server.max_event_bytes))]
            count = 1
        else:
            lines = canonical_lines(piece)
            if self._needs_token and lines:
                lines = self._check_token(lines)
            count = lines.count(b"\n")
            checked, refused = self._intake.envelope.sift(lines)
        for refusal in refused:
            line = self._lines + refusal.index + 1
            await self._answer({"refused": line, "status": refusal.status, "detail": refusal.detail})
        self._lines += count
        return checked, self._lines

    def _check_token(self, lines: bytes) -> bytes:
        """Check the first line, which carries the token and does not count; return the others."""
        first, _, rest = lines.partition(b"\n")
        try:
            token = msgspec.json.decode(first, type=_Token).token
        except msgspec.DecodeError:
            raise UnauthorizedError('a token is required: send {"token": "…"} as the first line') from None
        self._access.check_token(token)
        self._needs_token = False
        return rest

    async def _store(self, checked: Checked, lines: int) -> None:
        """Store events, waiting for as long as the queue cannot take them, then ack."""
        while checked.segments:
            try:
                await self._intake.accept(checked)
                break
            except UnavailableError:
                if self._server.is_stopping:
                    return
                await self._intake.wait_space(_RETRY_SECONDS)
        self._settled = lines
        self._answer_ack()

    def _answer_ack(self) -> None:
        if self._settled > self._acked and self._writable.is_set() and not self._lost and self._transport is not None:
            self._acked = self._settled
            self._transport.write(b'{"ack": %d}\n' % self._settled)

    async def _answer(self, message: dict[str, object]) -> None:
        await self._writable.wait()
        if not self._lost and self._transport is not None:
            self._transport.write(msgspec.json.encode(message) + b"\n")


class _Token(msgspec.Struct):
    token: str


class StreamIntake:
    """The stream side of the intake. `max_event_bytes` bounds a line."""

    def __init__(self, intake: Intake, *, max_event_bytes: int) -> None:
        self.intake = intake
        self.max_event_bytes = max_event_bytes
        self.is_stopping = False
        self._running: dict[Connection, asyncio.Task[None]] = {}

    async def serve(self, listener: Listener, access: Access) -> asyncio.Server:
        """Serve at a listener; close the returned server to accept no more connections."""
        loop = asyncio.get_running_loop()
        if listener.address.is_unix:
            return await loop.create_unix_server(lambda: Connection(self, access), sock=listener.socket)
        return await loop.create_server(lambda: Connection(self, access), sock=listener.socket)

    def began(self, connection: Connection) -> None:
        self._running[connection] = asyncio.create_task(connection.run(), name="stream-connection")

    def ended(self, connection: Connection) -> None:
        self._running.pop(connection, None)

    async def stop(self) -> None:
        """Settle what was received on each connection, ack it, and close."""
        self.is_stopping = True
        for connection in list(self._running):
            connection.stop()
        if self._running:
            _done, stuck = await asyncio.wait(list(self._running.values()), timeout=_STOP_SECONDS)
            for task in stuck:
                task.cancel()
