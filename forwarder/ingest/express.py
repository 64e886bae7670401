"""Small requests over HTTP, in a lane of their own.

To take a request through an HTTP library costs many times what it costs to check and store one
event. So a connection begins here, and what comes in the plainest form is served here: `POST
/v1/events` with one JSON object or a small array of them, and nothing more before its answer.
Single events that came at the same moment, on whatever connections, are checked and stored
together; where something is wrong, each alone, so that none pays for another.

With anything else (a large array, another path, a header that asks for something, a request before
the answer to the last one) a connection goes over to aiohttp, for good, with all bytes that were
not served. Nothing of them has been stored, and `http` answers them: so there is one set of rules.
"""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from email.utils import formatdate
from functools import lru_cache, partial
from typing import Any, NamedTuple, cast

import structlog
from aiohttp import hdrs, web

from forwarder.envelope import Checked, Refused
from forwarder.errors import QueueFullError, RequestError, TooLargeError
from forwarder.ingest.intake import Intake, accepted
from forwarder.ingest.media import Kind, check, look, takes_long
from forwarder.ingest.room import Room
from forwarder.problems import TOLD
from forwarder.web.access import Access
from forwarder.web.headroom import Headroom
from forwarder.web.problems import internal_problem, problem_of
from forwarder.web.server import MAX_FIELDS, Server

# The longest head and the longest body, in bytes, that are served here.
_MAX_HEAD = 2048
_MAX_BODY = 64 * 1024
# Seconds without a request after which a connection is closed; it is aiohttp's time, too.
_IDLE_SECONDS = 3630.0
# Seconds for the rest of a request that came in part; then aiohttp waits for it, and says when it does no more.
_REST_SECONDS = 5.0

# Seconds more when a client has been waited for long enough: it may be us who stood still (a machine that
# was suspended), and what came meanwhile is still to be read.
GRACE_SECONDS = 0.2

# What stands in a head: a request line and fields (RFC 9112 §3, §5), all of it visible ASCII.
_matches = re.compile(
    rb"POST /v1/events HTTP/1\.1\r\n((?:[0-9A-Za-z!#$%&'*+.^_`|~-]+:[\t -~]*\r\n)+)\r\n", re.ASCII
).fullmatch
_is_length = re.compile(r"[0-9]{1,7}", re.ASCII).fullmatch
_KINDS = frozenset({"application/json", "application/json; charset=utf-8", "application/json;charset=utf-8"})
# Fields that change what a request means.
_MEANINGFUL = frozenset({hdrs.TRANSFER_ENCODING, hdrs.CONTENT_ENCODING, hdrs.EXPECT})
# What a connection may be said to be. Java's client offers HTTP/2 with each request (RFC 7540 §3.2); whoever does
# not know it goes on with HTTP/1.1.
_CONNECTION = frozenset({"keep-alive", "upgrade", "http2-settings"})

# With these the queue says that nothing is stored, and that what is too much together may fit alone.
_FIT_ALONE = (QueueFullError, TooLargeError)

log = structlog.get_logger(__name__)


class Head(NamedTuple):
    """The head of a request that is served here; `length` is that of its body in bytes."""

    length: int
    headers: Mapping[str, str]


# A client sends the same head again and again, but for the length.
@lru_cache(maxsize=256)
def read_head(head: bytes) -> Head | None:
    """Read a head with the empty line that ends it; return None unless it is of the plainest form."""
    found = _matches(head)
    if found is None:
        return None
    fields = [field.partition(":") for field in found[1].decode("ascii").split("\r\n")[:-1]]
    # Names are written as in aiohttp.hdrs.
    headers = {name.title(): value.strip(" \t") for name, _, value in fields}
    # What stands twice means one thing to one reader and another to the next.
    if len(headers) < len(fields) or len(fields) > MAX_FIELDS:
        return None
    # Without a host it is refused.
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


class Request(NamedTuple):
    """One event, or an array of them, that is to be stored, and the connection that waits for the answer."""

    connection: Connection
    body: bytes


class Lane:
    """Gathers what came at the same moment, and stores single events together."""

    def __init__(self, intake: Intake, room: Room) -> None:
        self._intake = intake
        self._room = room
        self._gathered: list[Request] = []
        self._storing: set[asyncio.Task[None]] = set()
        # One thread: what takes long is not made to take all of the machine.
        self._working = asyncio.Semaphore(1)
        self.max_body = _MAX_BODY
        """The longest body in bytes."""

    def limit(self, max_request_bytes: int) -> None:
        """Leave what is longer to those who say that it is too long."""
        self.max_body = min(_MAX_BODY, max_request_bytes)

    def add(self, request: Request) -> None:
        """Take a request; its connection is told the answer."""
        if not self._gathered:
            # This runs when all that can be read now has been read.
            asyncio.get_running_loop().call_soon(self._begin)
        self._gathered.append(request)

    def _begin(self) -> None:
        requests, self._gathered = self._gathered, []
        arrays = [request for request in requests if request.body[:1] == b"["]
        events = [request for request in requests if request.body[:1] != b"["] if arrays else requests
        if events:
            self._start(self._store(events))
        for request in arrays:
            self._start(self._store_alone(request))

    def _start(self, storing: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(storing, name="express")
        self._storing.add(task)
        task.add_done_callback(self._storing.discard)

    async def finish(self, timeout: float | None) -> None:
        """Wait until what was taken is answered."""
        if self._gathered:
            await asyncio.sleep(0)
        if self._storing:
            await asyncio.wait(self._storing, timeout=timeout)

    async def _store(self, requests: list[Request]) -> None:
        if len(requests) > 1:
            requests = await self._store_together(requests)
        if len(requests) == 1:
            await self._store_alone(requests[0])
        elif requests:
            await asyncio.gather(*map(self._store_alone, requests))

    async def _store_together(self, requests: list[Request]) -> list[Request]:
        """Store the good ones, and answer them; return the others, of which nothing is stored."""
        lines = b"\n".join([*[request.body for request in requests], b""])
        try:
            with self._room.taken(len(lines)):
                checked, refused, unseen = self._intake.envelope.sift(lines)
                if unseen or checked.events + len(refused) != len(requests):
                    return requests
                if not refused:
                    return await self._store_checked(requests, checked)
                bad = {refusal.index for refusal in refused}
                good = [request for index, request in enumerate(requests) if index not in bad]
                return [*await self._store_checked(good, checked), *[requests[index] for index in sorted(bad)]]
        except Exception:
            # Nothing is stored yet. Whatever it is, each of them meets it by itself, and is told, or does not meet it.
            return requests

    async def _store_checked(self, requests: list[Request], checked: Checked) -> list[Request]:
        """Store what was checked, and answer; return what may be stored alone, as it was checked."""
        try:
            await self._intake.accept(checked)
        except _FIT_ALONE:
            # With the ids that they were given: an event that is tried again is the same event.
            lines = checked.data.split(b"\n")
            return [request._replace(body=line) for request, line in zip(requests, lines, strict=False)]
        except Exception as error:
            # A failure may have come after the commit. What is stored again then is there twice.
            answer = _failure(error)
        else:
            answer = _accepted(int(time.time()), 1)
        for request in requests:
            request.connection.answer(answer)
        return []

    async def _store_alone(self, request: Request) -> None:
        try:
            with self._room.taken(len(request.body)):
                checked, invalid = await self._accept(request.body)
        except Exception as error:
            answer = _failure(error)
        else:
            body = accepted(checked, invalid) if invalid else None
            answer = _accepted(int(time.time()), checked.events) if body is None else _as_bytes(_response(body))
        request.connection.answer(answer)

    async def _accept(self, body: bytes) -> tuple[Checked, list[Refused]]:
        """Store the events of a request; return them, and what was kept as invalid."""
        envelope = self._intake.envelope
        # What is plain, as nearly everything is, never takes long.
        if (glanced := envelope.glance(body, are_lines=False)) is not None:
            await self._intake.accept(glanced)
            return glanced, []
        examine = partial(look, envelope, Kind.JSON, body, keeps_invalid=self._intake.keeps_invalid)
        if not takes_long(Kind.JSON, body):
            checked, invalid = examine()
        else:
            async with self._working:
                checked, invalid = await asyncio.to_thread(examine)
        await self._intake.accept_or(checked, invalid, partial(check, envelope, Kind.JSON, body))
        return checked, invalid


def _failure(error: Exception) -> bytes:
    """Return the answer where events are not stored; to be called where the error is handled."""
    if isinstance(error, TOLD):
        return _as_bytes(problem_of(error))
    log.exception("intake.failed", path="/v1/events")
    return _as_bytes(internal_problem())


@lru_cache(maxsize=16)
def _accepted(now: int, events: int) -> bytes:
    """Return the answer to so many events that are stored, as of a second."""
    return _as_bytes(_response(b'{"accepted": %d}' % events), now)


def _response(body: bytes) -> web.Response:
    return web.Response(status=202, body=body, content_type="application/json")


def _as_bytes(response: web.Response, now: float | None = None) -> bytes:
    """Return an answer as it is sent."""
    body = cast("bytes", response.body)
    fields = {**response.headers, hdrs.CONTENT_LENGTH: str(len(body)), hdrs.DATE: formatdate(now, usegmt=True)}
    lines = [f"HTTP/1.1 {response.status} {response.reason}", *[f"{name}: {value}" for name, value in fields.items()]]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Connection(asyncio.Protocol):
    """One client, until it sends what is not served here."""

    _transport: asyncio.Transport

    def __init__(self, server: ExpressServer, lane: Lane, access: Access) -> None:
        self._server = server
        self._lane = lane
        self._access = access
        self._loop = asyncio.get_running_loop()
        # A request is being stored; it is the last one; the client sends nothing more, or does not read its answers.
        self._is_waiting = False
        self._is_last = False
        self._has_ended = False
        self._is_choked = False
        self._part = bytearray()
        """The beginning of a request."""
        self._missing = 0
        """How many bytes of it are still to come."""
        self._more = b""
        """What came while the connection waited for an answer."""
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
            # A peer whose machine is gone without a word would stay for ever.
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._server.fresh.add(self)
        self._last_used = self._loop.time()
        self._idle_timer = self._loop.call_later(_IDLE_SECONDS, self._close_if_idle)

    def data_received(self, data: bytes) -> None:
        if self._is_waiting:
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
        if head is None or head.length > self._lane.max_body or self._is_choked or not self._may_come_in(head):
            self._hand_over(data)
        elif len(data) < start + head.length:
            self._part, self._missing = bytearray(data), start + head.length - len(data)
            self._rest_timer = self._loop.call_later(_REST_SECONDS, lambda: self._hand_over(self._take_part()))
        # An encoder may end what it writes with a newline.
        elif len(data) == start + head.length and _is_plain(body := data[start:].rstrip(b" \t\r\n")):
            self._is_waiting = True
            self._lane.add(Request(self, body))
        else:
            self._hand_over(data)

    def eof_received(self) -> bool:
        # Who only ends its own side still reads the answers.
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

    # --- the lane's and the server's side ------------------------------------------------------

    def answer(self, data: bytes) -> None:
        """Send the answer, if anybody is there to read it."""
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
        """Hang up, after the answer that is waited for."""
        self._is_last = True
        if not self._is_waiting:
            self._transport.close()

    def abort(self) -> None:
        """Hang up at once."""
        self._transport.abort()

    def _may_come_in(self, head: Head) -> bool:
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
        """Let aiohttp go on with the connection."""
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
    # A single event is a line from here on.
    is_event = body[:1] == b"{" and body[-1:] == b"}" and b"\n" not in body
    return is_event or (body[:1] == b"[" and body[-1:] == b"]")


class ExpressServer(Server):
    """aiohttp's server, but for connections that have sent nothing yet that needs it: `fresh` are those."""

    def __init__(
        self,
        lane: Lane,
        access: Access,
        clients: Headroom,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        **how: Any,
    ) -> None:
        super().__init__(handler, keepalive_timeout=_IDLE_SECONDS, **how)
        self._lane = lane
        self._access = access
        self.clients = clients
        self.fresh: set[Connection] = set()

    def __call__(self) -> Connection:  # type: ignore[override]
        return Connection(self, self._lane, self._access)

    def handler(self) -> web.RequestHandler:
        """Return a handler of aiohttp's."""
        return super().__call__()

    def pre_shutdown(self) -> None:
        """Hang up where nothing is under way."""
        for connection in list(self.fresh):
            connection.close()
        super().pre_shutdown()

    async def shutdown(self, timeout: float | None = None) -> None:
        """Wait for what is under way, and hang up."""
        # Those that went over to aiohttp are others.
        await asyncio.gather(self._end_fresh(timeout), super().shutdown(timeout))

    async def _end_fresh(self, timeout: float | None) -> None:
        await self._lane.finish(timeout)
        for connection in list(self.fresh):
            connection.abort()
