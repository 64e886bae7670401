"""A fast path for small requests over HTTP.

Taking a request through an HTTP library costs many times as much as checking and storing one event. So
every connection begins here, and requests of the simplest form are served here: `POST /v1/events` with
one JSON object or a small array of them, and nothing further until it is answered. Single events that
arrive at the same moment, on any connections, are checked and stored together (`coalescer`); if something
is wrong with one, each is stored alone, so that no request fails because of another.

On anything else (a large array, another path, a header that asks for something special, a request
before the last one was answered) the connection is handed to aiohttp for good, with all the bytes that
were not served. Nothing of them has been stored, and `http` answers them, so this path needs no error
answers and no rules of its own.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache, partial
from typing import Any, NamedTuple, cast

from aiohttp import hdrs, web

from forwarder.errors import RequestError
from forwarder.ingest.coalescer import Coalescer, Request
from forwarder.observe.facts import Peer
from forwarder.web.access import Access
from forwarder.web.headroom import Headroom
from forwarder.web.peer import peer_of
from forwarder.web.server import MAX_FIELDS, Server

# The longest head, in bytes, that is served here; the coalescer limits the body.
_MAX_HEAD = 2048
# Seconds without a request after which a connection is closed, here and after aiohttp has taken it over.
_IDLE_SECONDS = 3630.0
# Seconds to wait for the rest of a request that arrived in part; after that the connection goes to aiohttp, which
# waits longer and then refuses the request.
_REST_SECONDS = 5.0

# Seconds to wait once more after a timeout: it may be we who stood still (a machine that was suspended), and then what
# the client sent in the meantime has yet to be read.
GRACE_SECONDS = 0.2

TRACEPARENT = "Traceparent"
"""The field of W3C Trace Context by which a request belongs to a trace."""

# A head consists of a request line and fields (RFC 9112 §3, §5). One with anything but visible ASCII is left to
# aiohttp.
_matches = re.compile(
    rb"POST /v1/events HTTP/1\.1\r\n((?:[0-9A-Za-z!#$%&'*+.^_`|~-]+:[\t -~]*\r\n)+)\r\n", re.ASCII
).fullmatch
_is_length = re.compile(r"[0-9]{1,7}", re.ASCII).fullmatch
_KINDS = frozenset({"application/json", "application/json; charset=utf-8", "application/json;charset=utf-8"})
# Fields that change how a request has to be read; every other field can be ignored.
_MEANINGFUL = frozenset({hdrs.TRANSFER_ENCODING, hdrs.CONTENT_ENCODING, hdrs.EXPECT})
# Options of the Connection field that may be ignored. Java's client offers HTTP/2 with each request (RFC 7540 §3.2),
# and a server that does not support that simply goes on with HTTP/1.1.
_CONNECTION = frozenset({"keep-alive", "upgrade", "http2-settings"})


class Head(NamedTuple):
    """The head of a request that is served here; `length` is the size of its body in bytes."""

    length: int
    headers: Mapping[str, str]


# A client sends the same head again and again, except for the length, so most heads are read only once.
@lru_cache(maxsize=256)
def read_head(head: bytes) -> Head | None:
    """Read a head, including the empty line that ends it; return None unless it has the simplest form."""
    found = _matches(head)
    if found is None:
        return None
    fields = [field.partition(":") for field in found[1].decode("ascii").split("\r\n")[:-1]]
    # Names are written as in aiohttp.hdrs.
    headers = {name.title(): value.strip(" \t") for name, _, value in fields}
    # Readers differ in how they understand a field that occurs twice, so leave that to aiohttp.
    if len(headers) < len(fields) or len(fields) > MAX_FIELDS:
        return None
    # A request without Host has to be refused (RFC 9112 §3.2), which is left to aiohttp, too.
    if not _MEANINGFUL.isdisjoint(headers) or hdrs.HOST not in headers:
        return None
    length = _is_length(headers.get(hdrs.CONTENT_LENGTH, ""))
    if length is None or headers.get(hdrs.CONTENT_TYPE, "").lower() not in _KINDS:
        return None
    connection = headers.get(hdrs.CONNECTION, "keep-alive").lower()
    if not _CONNECTION.issuperset(map(str.strip, connection.split(","))):
        return None
    if headers.get(hdrs.UPGRADE, "h2c").lower() != "h2c":
        return None
    return Head(int(length[0]), headers)


class Connection(asyncio.Protocol):
    """One client, until it sends something that is not served here."""

    _transport: asyncio.Transport

    def __init__(self, server: ExpressServer, coalescer: Coalescer, access: Access) -> None:
        self._server = server
        self._coalescer = coalescer
        self._access = access
        self._loop = asyncio.get_running_loop()
        # A request is being stored.
        self._is_waiting = False
        # The connection closes after the answer to that request.
        self._is_last = False
        # The client has ended its side and will send nothing more.
        self._has_ended = False
        # The client does not read its answers.
        self._is_choked = False
        self._part = bytearray()
        """The beginning of a request whose head is complete, but not its body."""
        self._missing = 0
        """How many bytes of that request are still to come."""
        self._more = b""
        """Bytes that arrived while a request was being stored."""
        self._rest_timer: asyncio.TimerHandle | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self._last_used = 0.0

    # --- called by the transport ---------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not self._server.clients.admits(transport):
            return
        self._transport = cast("asyncio.Transport", transport)
        peer = self._transport.get_extra_info("socket")
        if peer.family != socket.AF_UNIX:
            # Without this, the connection of a machine that vanished without closing it would stay open for ever.
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._server.fresh.add(self)
        self._last_used = self._loop.time()
        self._idle_timer = self._loop.call_later(_IDLE_SECONDS, self._close_if_idle)

    def data_received(self, data: bytes) -> None:
        if self._is_waiting:
            # A second request before the answer to the first. Keep what has arrived, but do not read on.
            if not self._more:
                self._transport.pause_reading()
            self._more += data
            return
        if self._part:
            self._part += data
            self._missing -= len(data)
            if self._missing > 0:
                return
            data = self._take_part()
        start = data.find(b"\r\n\r\n", 0, _MAX_HEAD) + 4
        head = read_head(data[:start])
        if head is None or head.length > self._coalescer.max_body or self._is_choked or not self._may_come_in(head):
            self._hand_over(data)
        elif len(data) < start + head.length:
            self._part, self._missing = bytearray(data), start + head.length - len(data)
            self._rest_timer = self._loop.call_later(_REST_SECONDS, lambda: self._hand_over(self._take_part()))
        # Some JSON encoders end what they write with a newline, which has to go: the events become lines.
        elif len(data) == start + head.length and _is_plain(body := data[start:].rstrip(b" \t\r\n")):
            self._is_waiting = True
            self._coalescer.add(Request(body, self))
        else:
            self._hand_over(data)

    def eof_received(self) -> bool:
        # A client that has ended only its own side still reads the answers, so keep ours open while one is due.
        self._has_ended = True
        if self._part:
            self._hand_over(self._take_part())
            return True
        return self._is_waiting

    def pause_writing(self) -> None:
        self._is_choked = True

    def resume_writing(self) -> None:
        self._is_choked = False

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()

    # --- the coalescer's and the server's side ------------------------------------------------------

    @property
    def peer(self) -> Peer:
        """Who the client is."""
        return peer_of(self._transport)

    def answer(self, data: bytes) -> None:
        """Send the answer, unless the connection is already closing."""
        self._is_waiting = False
        if self._transport.is_closing():
            return
        self._transport.write(data)
        self._last_used = self._loop.time()
        if self._more and not self._is_last:
            more, self._more = self._more, b""
            self._transport.resume_reading()
            self._hand_over(more)
        elif self._is_last or self._has_ended:
            self._transport.close()

    def close(self) -> None:
        """Close the connection, after the answer if one is due."""
        self._is_last = True
        if not self._is_waiting:
            self._transport.close()

    def abort(self) -> None:
        """Close the connection at once."""
        self._transport.abort()

    def _may_come_in(self, head: Head) -> bool:
        if TRACEPARENT in head.headers and self._coalescer.wants_traces:
            return False
        try:
            self._access.check(head.headers, self._transport)
        except RequestError:
            return False
        return True

    def _take_part(self) -> bytes:
        part, self._part = bytes(self._part), bytearray()
        if self._rest_timer is not None:
            self._rest_timer.cancel()
        return part

    def _hand_over(self, data: bytes) -> None:
        """Let aiohttp take over the connection, with these bytes as the first that it reads."""
        self._leave()
        handler = self._server.handler()
        self._transport.set_protocol(handler)
        handler.connection_made(self._transport)
        if self._is_choked:
            handler.pause_writing()
        handler.data_received(data)
        if self._has_ended:
            handler.eof_received()

    def _leave(self) -> None:
        self._server.fresh.discard(self)
        for timer in (self._idle_timer, self._rest_timer):
            if timer is not None:
                timer.cancel()

    def _close_if_idle(self, *, is_last_look: bool = False) -> None:
        since = self._loop.time() - self._last_used
        if since < _IDLE_SECONDS or self._is_waiting:
            self._idle_timer = self._loop.call_later(max(_IDLE_SECONDS - since, 1.0), self._close_if_idle)
        elif not is_last_look:
            look = partial(self._close_if_idle, is_last_look=True)
            self._idle_timer = self._loop.call_later(GRACE_SECONDS, look)
        else:
            self._transport.close()


def _is_plain(body: bytes) -> bool:
    # A single event is joined with others to lines, so it must not contain a newline itself.
    is_event = body[:1] == b"{" and body[-1:] == b"}" and b"\n" not in body
    return is_event or (body[:1] == b"[" and body[-1:] == b"]")


class ExpressServer(Server):
    """aiohttp's server, with the fast path in front; `fresh` are the connections that aiohttp has not taken over."""

    def __init__(
        self,
        coalescer: Coalescer,
        access: Access,
        clients: Headroom,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        **how: Any,
    ) -> None:
        super().__init__(handler, keepalive_timeout=_IDLE_SECONDS, **how)
        self._coalescer = coalescer
        self._access = access
        self.clients = clients
        self.fresh: set[Connection] = set()

    def __call__(self) -> Connection:  # type: ignore[override]
        return Connection(self, self._coalescer, self._access)

    @property
    def open_connections(self) -> int:
        return len(self.fresh) + super().open_connections

    def handler(self) -> web.RequestHandler:
        """Return a new protocol of aiohttp's, to take over a connection."""
        return super().__call__()

    def pre_shutdown(self) -> None:
        """Close the connections on which no request is under way."""
        for connection in list(self.fresh):
            connection.close()
        super().pre_shutdown()

    async def shutdown(self, timeout: float | None = None) -> None:
        """Wait for the requests that are under way, and close their connections."""
        # `super` does so for the connections that aiohttp has taken over.
        await asyncio.gather(self._end_fresh(timeout), super().shutdown(timeout))

    async def _end_fresh(self, timeout: float | None) -> None:
        await self._coalescer.finish(timeout)
        for connection in list(self.fresh):
            connection.abort()
