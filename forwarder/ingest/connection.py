"""One client of the stream: read its lines, check and store them, and answer, in order.

Anybody may connect over TCP, so a client there has only a short time to send its token, or its first
byte where no token is required. After that it may be silent for as long as it likes.

When the forwarder stops, everything that a client has sent is still read, settled and acked, because
many clients never read their acks and assume that what they could write is stored. On a unix socket
the client is prevented from writing more, so this comes to an end. Over TCP that is not possible. So
we read until the client is quiet or its time is up, then send the last ack and end our side. What the
client writes before it notices that is still stored, but not acked.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import Protocol, cast

from forwarder.envelope import MAX_SEGMENT_BYTES, Checked, Excerpt, Refused, too_large_words
from forwarder.errors import ForbiddenError, RequestError, SilentClientError, TooLargeError, UnavailableError
from forwarder.ingest.answers import Answers
from forwarder.ingest.framing import Framer
from forwarder.ingest.greeting import Greeting
from forwarder.ingest.intake import Intake
from forwarder.ingest.peer import has_ended, has_more, is_hung_up, keep_alive, take_no_more
from forwarder.ingest.storing import Piece, Storing
from forwarder.observe.facts import Notice, Peer
from forwarder.problems import problem_type
from forwarder.web.access import Access
from forwarder.web.headroom import Headroom
from forwarder.web.peer import peer_of

# Bytes of lines that may be waiting on one connection before we stop reading from it.
_MAX_WAITING = 512 * 1024
# Bytes of lines that are checked in one go after some lines needed a close look. The quick check of everything that is
# waiting would probably fail again, so try it on less.
_CLOSE_BYTES = 16 * 1024
# Seconds that a client over TCP has to send its token line, or its first byte where it needs no token.
_TOKEN_SECONDS = 10.0
_FIRST_BYTE_SECONDS = 30.0
# Seconds that a client has to read why the connection ends, and to close it.
_LINGER_SECONDS = 2.0
# Seconds of silence after which a TCP client counts as quiet: longer than data takes to cross the world.
_QUIET_SECONDS = 0.25
# Seconds that a client has to read its answers once the forwarder stops.
_UNREAD_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Stop:
    """Deadlines of a stop, in loop time: for reading from clients that are never quiet, and for a full queue."""

    read_until: float
    store_until: float


class Server(Protocol):
    """The part of the server that a connection uses."""

    intake: Intake
    headroom: Headroom
    max_event_bytes: int

    @property
    def max_line_bytes(self) -> int: ...

    @property
    def stopping(self) -> Stop | None: ...

    def began(self, connection: Connection) -> None: ...

    def ended(self, connection: Connection) -> None: ...


class Connection(asyncio.Protocol):
    """One client. The transport's callbacks fill the framer; a single task, `run`, checks, stores and answers."""

    _transport: asyncio.Transport
    _answers: Answers
    _storing: Storing
    _peer: Peer

    def __init__(self, server: Server, access: Access) -> None:
        self._server = server
        self._intake = server.intake
        self._access = access
        self._framer = Framer(server.max_line_bytes)
        self._greeting = Greeting(access) if access.wants_token and not access.is_unix else None
        # A web page can make a browser post to any TCP port, and the lines of the body could be valid events. So where
        # no token protects us, a client that speaks HTTP is refused.
        self._may_be_http = self._greeting is None and not access.is_unix
        self._more = asyncio.Event()
        # The client will send nothing more.
        self._ended = False
        # Whatever else arrives is ignored: the client was refused or has been closed, or its events cannot be stored.
        self._is_over = False
        # During a stop: whether the client was prevented from sending more (unix socket) ...
        self._is_cut = False
        # ... when we last heard from it (TCP) ...
        self._heard: float | None = None
        # ... and whether it was found quiet, so that it is not read from any more.
        self._is_quiet = False
        self._lines = 0
        self._at_most = MAX_SEGMENT_BYTES

    # --- called by the transport ---------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not self._server.headroom.admits(transport):
            return
        self._transport = cast("asyncio.Transport", transport)
        self._answers = Answers(self._transport)
        self._peer = peer_of(transport)
        self._storing = Storing(self._intake, self._answers, self._patience, self._peer)
        self._server.began(self)

    def data_received(self, data: bytes) -> None:
        if self._ended or self._is_over:
            return
        if self._heard is not None:
            self._heard = asyncio.get_running_loop().time()
        if self._greeting is None:
            self._take(data)
            return
        self._greeting.feed(data)
        self._more.set()
        if self._greeting.is_full:
            self._pause()

    def _take(self, data: bytes) -> None:
        """Take bytes that are events, not a token."""
        self._framer.limit = self._server.max_line_bytes
        self._framer.feed(data)
        self._more.set()
        if self._framer.size > _MAX_WAITING:
            self._pause()

    def eof_received(self) -> bool:
        if self._greeting is not None:
            self._greeting.finish()
        # If we cut the client off ourselves, its last line may be only half of one.
        elif not self._is_cut:
            self._framer.finish()
        self._end()
        # Keep our side open, so that everything received can still be answered.
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._ended and not self._is_over and self._greeting is None:
            self._read_rest()
        self._answers.silence()
        self._end()

    def pause_writing(self) -> None:
        self._answers.pause()

    def resume_writing(self) -> None:
        self._answers.resume()

    def _read_rest(self) -> None:
        """Read what a client sent before it hung up.

        When an answer of ours cannot be written, the transport closes without reading what has already arrived.
        """
        with suppress(OSError):
            while data := os.read(self._socket.fileno(), 64 * 1024):
                self._framer.feed(data)
            if not self._is_cut:
                self._framer.finish()

    @property
    def _socket(self) -> socket.socket:
        return cast("socket.socket", self._transport.get_extra_info("socket"))

    def _end(self) -> None:
        self._ended = True
        self._more.set()

    def _pause(self) -> None:
        if not self._ended and not self._transport.is_closing() and self._transport.is_reading():
            self._transport.pause_reading()

    def _resume(self) -> None:
        if not (self._is_quiet or self._ended or self._transport.is_reading() or self._transport.is_closing()):
            self._transport.resume_reading()

    # --- the stop ------------------------------------------------------------------------------

    def stop(self, stop: Stop) -> None:
        """Read what the client has sent so far; `run` settles those lines and then ends the connection."""
        if self._ended or self._is_over or self._transport.is_closing():
            return
        loop = asyncio.get_running_loop()
        loop.call_later(_UNREAD_SECONDS, self._answers.silence_unread)
        if self._access.is_unix:
            # A client that has not ended its side may be in the middle of a line, which it will send again.
            self._is_cut = not has_ended(self._socket)
            with suppress(OSError):
                take_no_more(self._socket)
        else:
            self._heard = loop.time()
            self._wait_for_quiet(stop.read_until)

    def _wait_for_quiet(self, until: float) -> None:
        """Stop reading when the client has been quiet for long enough, or its time is up."""
        if self._ended or self._is_over or self._transport.is_closing():
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        # That nothing was heard proves nothing if it is we who have not been reading.
        if not self._transport.is_reading() or has_more(self._socket) or self._heard is None:
            self._heard = now
        if now < min(until, self._heard + _QUIET_SECONDS):
            loop.call_at(min(until, self._heard + _QUIET_SECONDS), self._wait_for_quiet, until)
            return
        self._pause()
        self._is_quiet = True
        self._more.set()

    async def _part(self) -> None:
        """End the connection for a stop, and store what the client writes before it notices."""
        await self._answers.flush(_UNREAD_SECONDS)
        if self._ended:
            return
        # The end of our side tells the client that there will be no more acks.
        self._answers.silence()
        self._transport.write_eof()
        self._is_quiet = False
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                await self._settle_all()

    # --- the one task --------------------------------------------------------------------------

    async def run(self) -> None:
        """Check, store and answer until the client ends or the forwarder stops."""
        try:
            self._access.check_peer(self._socket)
            await self._begin()
            await self._settle_all()
            if self._server.stopping is not None:
                await self._part()
        except UnavailableError:
            # The forwarder is stopping, or the client is gone. The client has to send again what was not acked.
            await self._hang_up()
        except RequestError as error:
            self._intake.refused("stream", error, self._peer)
            await self._hang_up(problem_type(type(error)).status, error.message)
        except Exception as error:
            self._intake.observer.saw(Notice("stream.failed", {}, error))
            await self._hang_up(500, "the forwarder has a bug; its log says more")
        except asyncio.CancelledError:
            # A client that does not read its answers must not keep the forwarder from stopping.
            self._transport.abort()
            raise
        finally:
            self._is_over = True
            self._transport.close()
            self._server.ended(self)

    async def _begin(self) -> None:
        """Wait for the token of a client over TCP, or for its first byte where it needs none. Raises RequestError."""
        if self._access.is_unix:
            return
        with suppress(OSError):
            keep_alive(self._socket)
        seconds = _FIRST_BYTE_SECONDS if self._greeting is None else _TOKEN_SECONDS
        try:
            async with asyncio.timeout(seconds):
                await (self._more.wait() if self._greeting is None else self._greet(self._greeting))
        except TimeoutError:
            missing = "nothing" if self._greeting is None else "no line with a token"
            raise SilentClientError(
                f"{missing} came for {seconds:g} seconds; connect when there is something to send"
            ) from None

    async def _greet(self, greeting: Greeting) -> None:
        """Wait for the token, and take the bytes after it as events."""
        while (rest := greeting.rest()) is None:
            # There will be no token. The caller finds nothing to settle, and the connection ends without an answer.
            if self._ended or self._is_quiet:
                return
            self._more.clear()
            await self._more.wait()
        self._greeting = None
        self._take(rest)

    async def _settle_all(self) -> None:
        """Check, store and ack piece after piece; while one is being stored the next is checked."""
        storing: asyncio.Task[None] | None = None
        try:
            while (lines := await self._next_lines()) is not None:
                piece = await self._check(lines)
                # Never store two pieces at once: acks are cumulative, so they must come in order.
                if storing is not None:
                    await storing
                storing = asyncio.create_task(self._store(piece))
                # Let the commit begin before the next piece is checked, so that disk and CPU work in parallel.
                await asyncio.sleep(0)
            if storing is not None:
                await storing
        finally:
            if storing is not None:
                storing.cancel()
                await asyncio.gather(storing, return_exceptions=True)

    async def _next_lines(self) -> bytes | Excerpt | None:
        """Wait for lines; return None when there will be no more, or when no more are wanted.

        Raises ForbiddenError for a client that speaks HTTP, of which nothing but blank lines has been taken by then.
        """
        while not self._is_over:
            lines = self._framer.take(self._at_most)
            if lines is None and (self._ended or self._is_quiet):
                return None
            self._resume()
            if lines is not None:
                if self._may_be_http:
                    self._refuse_http(lines.head if isinstance(lines, Excerpt) else lines)
                return lines
            self._more.clear()
            await self._more.wait()
        return None

    def _refuse_http(self, lines: bytes) -> None:
        """Raise ForbiddenError if a client begins with an HTTP method (RFC 9112 §3): a capital letter, unlike JSON."""
        begun = lines.lstrip()
        self._may_be_http = not begun
        if begun[:1].isupper():
            raise ForbiddenError(
                "HTTP is not spoken here: send one JSON event a line, or requests to ingest.http.listen"
            )

    async def _check(self, lines: bytes | Excerpt) -> Piece:
        """Check lines, and tell the client of the refused ones unless they are kept as dead letters."""
        if isinstance(lines, Excerpt):
            detail = too_large_words(lines.size, self._server.max_event_bytes)
            status = problem_type(TooLargeError).status
            checked, refused = Checked.of(b"", []), [Refused(0, status, detail, b"", lines)]
        else:
            checked, refused, rest = self._intake.envelope.sift(lines)
            if rest:
                self._framer.put_back(rest)
            self._at_most = _CLOSE_BYTES if rest else MAX_SEGMENT_BYTES
        piece = Piece(checked, refused, self._lines + 1, keeps_refused=self._intake.keeps_invalid)
        self._lines = piece.last
        if not piece.keeps_refused:
            await self._storing.refuse(piece.first, refused)
        return piece

    async def _store(self, piece: Piece) -> None:
        """Store events, then ack them. Raises UnavailableError if they cannot be stored and waiting has no use."""
        try:
            await self._storing.store(piece)
        except BaseException:
            self._is_over = True
            self._more.set()
            raise
        self._answers.settled(piece.last)

    def _patience(self) -> float:
        """Return for how many more seconds events may wait for a full queue; 0 if the client is gone."""
        if self._transport.is_closing() or is_hung_up(self._socket):
            return 0.0
        stopping = self._server.stopping
        return inf if stopping is None else max(0.0, stopping.store_until - asyncio.get_running_loop().time())

    async def _hang_up(self, status: int | None = None, detail: str = "") -> None:
        """Tell the client why the connection ends, if there is a reason, and wait for it to hang up.

        Closing a socket that has unread data resets the connection, and the reset may destroy our last
        answer before the client has read it.
        """
        self._is_over = True
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                if status is not None:
                    await self._answers.refuse(0, status, detail)
                if not self._transport.is_closing():
                    self._transport.write_eof()
                self._is_quiet = False
                self._resume()
                while not self._ended:
                    self._more.clear()
                    await self._more.wait()
