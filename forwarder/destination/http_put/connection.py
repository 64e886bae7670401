"""One connection, which carries one request at a time and its answer.

It tells an answer from what was said unasked: whatever waits in the socket is read before a request is
written, and anything that arrives while no request is under way ends the connection.

The answer is read while the request is still being written, as a server may refuse a body without reading
it, and then close. Writing to such a connection fails, and the transport drops what had arrived by then;
so a second descriptor of the socket is kept, and what is left is read from that one.

The body is handed to the transport as it is, and in pieces only if it is very large.
"""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from forwarder.destination.http_put.failure import NoAnswerError, cause, not_secured
from forwarder.destination.http_put.reply import Reply
from forwarder.destination.http_put.tls import Tls
from forwarder.waiting import wait_at_most

# How much of a body is handed to the transport at once, in bytes, before others have their turn.
_AT_ONCE_BYTES = 1024 * 1024
# Seconds to wait for the rest of an answer once its status is known.
_REST_SECONDS = 1.0
# Turns of the event loop in which what waits in a socket is read; one would do, but loops differ in their order.
_TURNS = 5
# How much is shown of what was said unasked, in bytes.
_SHOWN_BYTES = 80
# How much is read from a lost connection, in bytes: more than the head of an answer, which is all that counts.
_LEFT_BYTES = 256 * 1024


class Connection(asyncio.Protocol):
    """A connection to `where`, over a socket; `on_lost` is called once, when it has ended."""

    def __init__(self, where: str, sock: socket.socket, on_lost: Callable[[Connection], None]) -> None:
        self._where = where
        self._sock = sock.dup()
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._poll = select.poll()
        self._poll.register(self._sock, select.POLLIN)
        # From the wire up: TLS with a proxy, TLS with the destination.
        self._layers: list[Tls] = []
        self.certificate_ends: dict[str, float] = {}
        """By host and port, when the certificates that were shown end, in seconds since the epoch."""
        self._reply: Reply | None = None
        # Done when the answer has ended, or the handshake.
        self._done: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._rest: asyncio.TimerHandle | None = None
        self._is_paused = False
        # Whether a part of the request has not been handed to the transport yet.
        self._is_sending = False
        self._error: Exception | None = None
        self._unasked = b""
        # Set when it is lost, or when something was said unasked.
        self._ended = asyncio.Event()
        self.opened_at = self._loop.time()
        self.is_closed = False

    @property
    def tls_version(self) -> str | None:
        """The version of TLS; None if the connection is not encrypted."""
        return self._layers[-1].version if self._layers else None

    # --- life ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    async def secure(self, context: ssl.SSLContext, host: str, where: str) -> None:
        """Speak TLS from now on, with `host` at `where`. Raises NoAnswerError."""
        self._where = where
        if not await self.is_silent():
            raise self._not_silent() if self._unasked else not_secured(where, self._error)
        layer = Tls(context, host)
        self._done = self._loop.create_future()
        self._send(layer.reply())
        self._layers.append(layer)
        try:
            await self._done
        finally:
            self._done = None
        if not layer.is_agreed:
            raise not_secured(where, layer.error or self._error)
        if (ends := layer.certificate_ends) is not None:
            self.certificate_ends[where] = ends

    def close(self) -> None:
        """End it in good order; `on_lost` is called when it has ended."""
        if not self._transport.is_closing():
            for depth in reversed(range(len(self._layers))):
                self._send(self._layers[depth].goodbye(), depth)
        self._transport.close()

    def abort(self) -> None:
        """End it at once."""
        self._transport.abort()
        self._lose(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None and not self.is_closed:
            self._read_left()
        self._lose(exc)

    def _read_left(self) -> None:
        """Read what had arrived before a write found the connection lost."""
        # The request was not written whole, and never will be.
        self._is_sending = True
        left = _LEFT_BYTES
        # The socket may have nothing to read, or only the error with which the connection was lost.
        with suppress(OSError):
            while left > 0 and (data := self._sock.recv(left)):
                left -= len(data)
                self.data_received(data)

    def _lose(self, error: Exception | None) -> None:
        if self.is_closed:
            return
        self.is_closed = True
        self._error = self._error or error
        self._poll.unregister(self._sock)
        self._sock.close()
        self._ended.set()
        self._end()
        self._on_lost(self)

    # --- asking ----------------------------------------------------------------------------------

    async def is_silent(self) -> bool:
        """Whether it is open and the other side has said nothing; what has arrived is read first."""
        for _ in range(_TURNS):
            if self.is_closed or self._unasked or self._transport.is_closing():
                return False
            if not self._poll.poll(0):
                return True
            await asyncio.sleep(0)
        return False

    async def require_silent(self) -> None:
        """Raise NoAnswerError unless it is open and the other side has said nothing."""
        if not await self.is_silent():
            raise self._not_silent()

    async def wait_refused(self, seconds: float) -> None:
        """Give the other side so many seconds to end it, or to speak unasked. Raises NoAnswerError if that happens."""
        await wait_at_most(seconds, self._ended)
        await self.require_silent()

    async def exchange(self, head: bytes, body: bytes, reply: Reply) -> None:
        """Send a request over a silent connection, and read the answer until no more of it is wanted.

        Raises NoAnswerError. The connection can be used again only if `reply.may_keep`.
        """
        self._reply, self._done = reply, self._loop.create_future()
        self._is_sending = False
        try:
            self._send(head)
            if len(body) <= _AT_ONCE_BYTES:
                self._send(body)
            else:
                await self._send_in_pieces(body, self._done)
            await self._done
        finally:
            if self._rest is not None:
                self._rest.cancel()
            if not (self._done.done() and reply.may_keep) or self._is_writing():
                reply.may_keep = False
                self.abort()
            self._reply = self._done = self._rest = None
        if reply.status is None:
            raise self._no_answer(reply)

    def _send(self, data: bytes | memoryview, depth: int | None = None) -> None:
        """Write through the layers below a depth, or through all of them."""
        try:
            for layer in reversed(self._layers[:depth]):
                data = layer.wrap(data)
        except ssl.SSLError as error:
            self._fail(error)
        else:
            if data:
                self._transport.write(data)

    async def _send_in_pieces(self, body: bytes, done: asyncio.Future[None]) -> None:
        """Send a large body, and stop as soon as it is answered."""
        self._is_sending = True
        view = memoryview(body)
        for start in range(0, len(view), _AT_ONCE_BYTES):
            if not await self._wants_more(done):
                return
            self._is_sending = start + _AT_ONCE_BYTES < len(view)
            self._send(view[start : start + _AT_ONCE_BYTES])

    async def _wants_more(self, done: asyncio.Future[None]) -> bool:
        """Wait until more can be written; return False if the answer came first."""
        if self._is_paused and not done.done():
            self._drained = self._loop.create_future()
            try:
                await asyncio.wait([self._drained, done], return_when=asyncio.FIRST_COMPLETED)
            finally:
                self._drained = None
        return not done.done()

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def _is_writing(self) -> bool:
        """Whether a part of what was sent has not been handed to the system yet."""
        if self._is_sending:
            return True
        return not self._transport.is_closing() and self._transport.get_write_buffer_size() > 0

    # --- being answered --------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        for depth, layer in enumerate(self._layers):
            data = layer.unwrap(data)
            if not self._transport.is_closing():
                self._send(layer.reply(), depth)
        if data:
            self._take(data)
        if self._layers:
            self._look_at(self._layers[-1])

    def _take(self, data: bytes) -> None:
        reply = self._reply
        if reply is None:
            self._unasked += data[:_SHOWN_BYTES]
            self._ended.set()
            self._transport.close()
            return
        reply.feed(data, is_written=not self._is_writing())
        if reply.is_ended:
            self._finish()
        elif reply.status is not None and self._rest is None:
            self._rest = self._loop.call_later(_REST_SECONDS, self._end)

    def _look_at(self, layer: Tls) -> None:
        """Act on what TLS says by itself: that it has failed, ended or been agreed on."""
        if any(found.error or found.is_ended for found in self._layers):
            self._fail(next((found.error for found in self._layers if found.error), None))
        elif layer.is_agreed and self._reply is None:
            self._finish()

    def _fail(self, error: ssl.SSLError | None) -> None:
        """End the connection, as TLS has ended."""
        self._error = self._error or error
        self._transport.close()
        self._end()

    def eof_received(self) -> None:
        self._end()

    def _end(self) -> None:
        """Take note that no more of the answer comes, or not in time."""
        if self._reply is not None:
            self._reply.end()
        self._finish()

    def _finish(self) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_result(None)

    def _not_silent(self) -> NoAnswerError:
        if self._unasked:
            words = " ".join(self._unasked[:_SHOWN_BYTES].decode(errors="replace").split())
            return NoAnswerError(f"{self._where} spoke before it was asked: {words}")
        return self._lost(reached=False)

    def _no_answer(self, reply: Reply) -> NoAnswerError:
        if reply.has_begun or self._error is None:
            words = reply.wrong or "the connection was closed without an answer"
            return NoAnswerError(words, reached=True, unanswered=not reply.has_begun)
        return self._lost(reached=True)

    def _lost(self, *, reached: bool) -> NoAnswerError:
        match self._error:
            case ssl.SSLError():
                # An alert: with TLS 1.3 a client certificate is refused after the handshake.
                return not_secured(self._where, self._error)
            case None:
                return NoAnswerError("the connection was closed without an answer", reached=reached, unanswered=True)
        return NoAnswerError(f"the connection broke: {cause(self._error)}", reached=reached, unanswered=True)
