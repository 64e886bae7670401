"""Events over a stream socket: one a line in, acks and refusals out.

`{"ack": n}` says that the first n lines of the connection are settled: stored and synced, or
refused. `{"refused": n, "status": …, "detail": …}` says that line n was not stored, and comes before
the ack that covers it; line 0 is the connection itself, which ends with that. Blank lines do not
count, nor does the line with the token. While one piece of lines is being committed the next is
read and checked, and no more: a client that sends faster than the disk takes waits in its own
socket, and so does every client while the queue is full.

A client that does not read its acks costs nothing: acks are cumulative, so only the last one is
kept for it; a client that does not read its refusals is not read from. Whole lines of a client
that is gone are stored like any others, unless they would have to wait for space: nobody has been
told of them, and a client that comes again brings them again.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

import msgspec
import structlog

from forwarder.envelope import MAX_SEGMENT_BYTES, Checked, Refused, too_large_words
from forwarder.errors import IntakeError, TooLargeError, UnauthorizedError, UnavailableError
from forwarder.ingest.access import Access
from forwarder.ingest.framing import Framer, Overlong
from forwarder.ingest.intake import Intake
from forwarder.ingest.listening import BACKLOG, Listener

# Bytes of lines that one connection may have waiting before it is not read from.
_MAX_WAITING = 512 * 1024
# Bytes of answers that may wait in the socket's buffer.
_MAX_ANSWERS = 64 * 1024
# Seconds between attempts to store while the queue cannot take events.
_RETRY_SECONDS = 1.0
# Seconds that a client has to read why it is refused, and to hang up.
_LINGER_SECONDS = 2.0
# Seconds that connections have to settle what they have received when the forwarder stops.
_STOP_SECONDS = 5.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Piece:
    """Lines that were checked together, `first` to `last`, counted from 1 over the connection."""

    checked: Checked
    refused: list[Refused]
    first: int

    @property
    def last(self) -> int:
        return self.first + self.checked.events + len(self.refused) - 1

    def numbers(self) -> list[int]:
        """Return the lines of the events in `checked`."""
        refused = {refusal.index for refusal in self.refused}
        return [line for line in range(self.first, self.last + 1) if line - self.first not in refused]


class Connection(asyncio.Protocol):
    """One client. Reading fills the framer; one task checks, stores and answers, in order."""

    _transport: asyncio.Transport

    def __init__(self, server: StreamIntake, access: Access) -> None:
        self._server = server
        self._intake = server.intake
        self._access = access
        self._framer = Framer(server.max_line_bytes)
        self._more = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        # The client will send nothing more; the connection is gone; nothing more is of interest,
        # as it was refused, is closed or cannot be stored.
        self._ended = False
        self._lost = False
        self._is_over = False
        self._lines = 0
        self._acked = 0
        self._settled = 0
        self._needs_token = access.wants_token and not access.is_unix
        self._is_paused = False

    # --- called by the transport ---------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_MAX_ANSWERS)
        self._server.began(self)

    def data_received(self, data: bytes) -> None:
        if self._ended or self._is_over:
            return
        self._framer.limit = self._server.max_line_bytes
        self._framer.feed(data)
        self._more.set()
        if self._framer.size > _MAX_WAITING and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        self._framer.finish()
        self._end()
        # Keep our side open: what was received is still answered.
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        if not self._ended and not self._is_over:
            self._read_rest()
        self._writable.set()
        self._end()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()
        self._answer_ack()

    def _read_rest(self) -> None:
        """Read what a client sent before it hung up: where our answer met a closed door, reading ended, too."""
        with suppress(OSError):
            while data := os.read(self._socket.fileno(), 64 * 1024):
                self._framer.feed(data)
            self._framer.finish()

    @property
    def _socket(self) -> socket.socket:
        return cast("socket.socket", self._transport.get_extra_info("socket"))

    def _end(self) -> None:
        self._ended = True
        self._more.set()

    def _resume(self) -> None:
        if self._is_paused and not self._ended and not self._transport.is_closing():
            self._is_paused = False
            self._transport.resume_reading()

    def stop(self) -> None:
        """Read nothing more; what was received is settled."""
        if not self._ended and not self._is_paused and not self._transport.is_closing():
            self._is_paused = True
            self._transport.pause_reading()
        self._end()

    # --- the one task --------------------------------------------------------------------------

    async def run(self) -> None:
        """Check, store and answer until the client ends or the forwarder stops."""
        try:
            self._access.check_peer(self._socket)
            await self._settle_all()
        except UnavailableError:
            # The forwarder stops, or the client is gone: what was not acked is the client's to send again.
            pass
        except IntakeError as error:
            await self._hang_up(error.status, error.message)
        except Exception:
            log.exception("stream.failed")
            await self._hang_up(500, "the forwarder has a bug; its log says more")
        except asyncio.CancelledError:
            # Whoever does not read its answers keeps nobody from stopping.
            self._transport.abort()
            raise
        finally:
            self._is_over = True
            self._transport.close()
            self._server.ended(self)

    async def _settle_all(self) -> None:
        """Check, store and ack piece after piece; one is stored while the next is checked."""
        storing: asyncio.Task[None] | None = None
        try:
            while (lines := await self._next_lines()) is not None:
                piece = await self._check(lines)
                if storing is not None:
                    await storing
                storing = asyncio.create_task(self._store(piece))
                # Let the commit begin before the next piece is checked.
                await asyncio.sleep(0)
            if storing is not None:
                await storing
        finally:
            if storing is not None:
                storing.cancel()
                await asyncio.gather(storing, return_exceptions=True)

    async def _next_lines(self) -> bytes | Overlong | None:
        """Wait for lines; return None when there will be no more, or no use for them."""
        while not self._is_over:
            lines = self._framer.take(MAX_SEGMENT_BYTES)
            if lines is None and self._ended:
                return None
            self._resume()
            if lines is not None:
                return lines
            self._more.clear()
            await self._more.wait()
        return None

    async def _check(self, lines: bytes | Overlong) -> _Piece:
        """Check lines and answer the refusals."""
        if isinstance(lines, Overlong):
            if self._needs_token:
                raise _no_token()
            detail = too_large_words(lines.size, self._server.max_event_bytes)
            checked, refused = Checked.of(b"", []), [Refused(0, TooLargeError.status, detail, b"")]
        else:
            if self._needs_token and (lines := lines.lstrip()):
                lines = self._check_token(lines)
            checked, refused, rest = self._intake.envelope.sift(lines)
            if rest:
                self._framer.put_back(rest)
        piece = _Piece(checked, refused, self._lines + 1)
        self._lines = piece.last
        for refusal in refused:
            await self._refuse(piece.first + refusal.index, refusal.status, refusal.detail)
        return piece

    def _check_token(self, lines: bytes) -> bytes:
        """Check the first line, which carries the token and does not count; return the others."""
        first, _, rest = lines.partition(b"\n")
        try:
            token = msgspec.json.decode(first, type=_Token).token
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise _no_token() from None
        self._access.check_token(token)
        self._needs_token = False
        return rest

    async def _store(self, piece: _Piece) -> None:
        """Store events, then ack. Raises UnavailableError where they cannot be stored and nobody waits for it."""
        try:
            await self._append(piece)
        except BaseException:
            self._is_over = True
            self._more.set()
            raise
        self._settled = piece.last
        self._answer_ack()

    async def _append(self, piece: _Piece) -> None:
        try:
            await self._append_together(piece.checked)
        except TooLargeError:
            await self._append_apart(piece.checked, piece.numbers())

    async def _append_together(self, checked: Checked) -> None:
        """Store events, waiting for as long as the queue cannot take them."""
        while checked.events:
            try:
                await self._intake.accept(checked)
                break
            except UnavailableError:
                if self._server.is_stopping or self._lost or _is_hung_up(self._socket):
                    raise
            await self._intake.wait_space(_RETRY_SECONDS)

    async def _append_apart(self, checked: Checked, numbers: list[int]) -> None:
        """Store events that do not fit into the queue together; refuse those that do not fit alone."""
        try:
            await self._append_together(checked)
        except TooLargeError as error:
            if checked.events == 1:
                await self._refuse(numbers[0], error.status, error.message)
                return
            head, tail = checked.split()
            await self._append_apart(head, numbers[: head.events])
            await self._append_apart(tail, numbers[head.events :])

    # --- answers -------------------------------------------------------------------------------

    def _answer_ack(self) -> None:
        if self._settled > self._acked and self._writable.is_set() and not self._lost:
            self._acked = self._settled
            self._transport.write(b'{"ack": %d}\n' % self._settled)

    async def _refuse(self, line: int, status: int, detail: str) -> None:
        await self._writable.wait()
        if not self._lost:
            answer = {"refused": line, "status": status, "detail": detail}
            self._transport.write(msgspec.json.encode(answer) + b"\n")

    async def _hang_up(self, status: int, detail: str) -> None:
        """Say why the connection ends, and wait for the client to hang up.

        A socket that is closed while something is still to be read from it is reset, and the reset
        may overtake what was said.
        """
        self._is_over = True
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                await self._refuse(0, status, detail)
                if not self._transport.is_closing():
                    self._transport.write_eof()
                self._resume()
                while not self._ended:
                    self._more.clear()
                    await self._more.wait()


class _Token(msgspec.Struct):
    token: str


def _no_token() -> UnauthorizedError:
    return UnauthorizedError('a token is required: send {"token": "…"} as the first line')


def _is_hung_up(peer: socket.socket) -> bool:
    """Say whether the client has closed both sides; while we do not read, nothing else tells us."""
    poll = select.poll()
    poll.register(peer.fileno(), 0)
    return bool(poll.poll(0))


class StreamIntake:
    """The stream side of the intake. `max_event_bytes` bounds an event."""

    def __init__(self, intake: Intake, *, max_event_bytes: int) -> None:
        self.intake = intake
        self.max_event_bytes = max_event_bytes
        self.is_stopping = False
        self._running: dict[Connection, asyncio.Task[None]] = {}

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._running)

    @property
    def max_line_bytes(self) -> int:
        """The longest line that is looked at: an event, and the carriage return of a CRLF."""
        return self.max_event_bytes + 1

    async def serve(self, listener: Listener, access: Access) -> asyncio.Server:
        """Serve at a listener; close the returned server to accept no more connections."""
        loop = asyncio.get_running_loop()
        if listener.address.is_unix:
            create = loop.create_unix_server
            return await create(lambda: Connection(self, access), sock=listener.socket, backlog=BACKLOG)
        return await loop.create_server(lambda: Connection(self, access), sock=listener.socket, backlog=BACKLOG)

    def began(self, connection: Connection) -> None:
        self._running[connection] = asyncio.create_task(connection.run(), name="stream-connection")
        if self.is_stopping:
            connection.stop()

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
            if stuck:
                await asyncio.wait(stuck)
