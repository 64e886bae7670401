"""Stand in for the Event API on this machine.

Each request to `/put` is verified and checked, then stored or refused as a whole, unless the script of
faults says otherwise. Stored events can be read back as from the Event API, and are what tests and
benchmarks count. Everything is kept in memory, except for the `store` file.
"""

from __future__ import annotations

import asyncio
import os
import time
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from io import FileIO
from pathlib import Path
from typing import Self

import msgspec
from aiohttp import hdrs, web

from forwarder.errors import FaultScriptError, ForbiddenError, InputOutputError, UnauthorizedError, VerificationError
from forwarder.model import Address
from forwarder.receiver import tokens
from forwarder.receiver.account import Account, Keep, Record, Stats
from forwarder.receiver.faults import Action, Fault, Faults
from forwarder.receiver.feeds import DEFAULT_PAGE, Feeds, Window
from forwarder.receiver.payload import Envelope, PayloadError, one_line, read, split
from forwarder.signing import Verifier
from forwarder.waiting import wait_at_most
from forwarder.web.listening import BACKLOG, listen

MAX_BYTES = 64 * 1024 * 1024
# The records kept of past requests: enough to see what happened, and no burden for a test that runs for days.
_MAX_RECORDS = 10_000
# Begins with a byte that cannot begin an HTTP status line.
_GARBAGE = b"\x15\x03\x03\x00\x02\x02\x46 this is not HTTP\r\n\r\n"


class Refusal(Exception):  # noqa: N818 - an answer, not an error of the receiver
    """The request is answered with this status, and none of its events are stored."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class Receiver:
    """A local Event API; use `async with Receiver(…) as receiver`, and send to `receiver.url`.

    `public_keys` are PEM, JWK or JWKS texts; `reader_keys` are those for readers' tokens (default: the
    same). `keep` says what is kept of an event in memory: `events` all of it, `ids` its id, `counts`
    nothing. `on_request` is called after each request, `on_events` with the events that it stored.
    A receiver that was stopped can be started again, at the same address and with everything it had stored.
    """

    def __init__(
        self,
        address: Address,
        *,
        public_keys: Sequence[str | bytes],
        reader_keys: Sequence[str | bytes] | None = None,
        faults: Faults | str = "",
        keep: Keep = "events",
        max_events: int | None = None,
        max_bytes: int = MAX_BYTES,
        store: Path | None = None,
        on_request: Callable[[Record], None] | None = None,
        on_events: Callable[[list[bytes]], None] | None = None,
    ) -> None:
        self.address = address
        self.verifier = Verifier(public_keys)
        self.requests: deque[Record] = deque(maxlen=_MAX_RECORDS)
        self.faults = faults
        self._readers = self.verifier if reader_keys is None else Verifier(reader_keys)
        self._keep = keep
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._store_file = store
        self._stream: FileIO | None = None
        self._on_request = on_request
        self._on_events = on_events
        self._account = Account(keep)
        self._feeds = Feeds()
        self._stored = asyncio.Event()
        self._stopping = asyncio.Event()
        # Everything that `stop` closes.
        self._running = AsyncExitStack()

    # --- state ---------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The URL of `/put`; for a unix socket, the URL to use over that socket."""
        return f"{self.base_url}/put"

    @property
    def base_url(self) -> str:
        if self.address.is_unix:
            return "http://localhost"
        return f"http://{str(self.address).removeprefix('tcp:')}"

    @property
    def stats(self) -> Stats:
        return self._account.stats

    @property
    def ids(self) -> set[str]:
        """The ids of the stored events; empty if `keep` is `counts`."""
        return self._account.ids

    @property
    def events(self) -> list[bytes]:
        """The stored events as they were written, in order; empty unless `keep` is `events`."""
        return self._feeds.events

    @property
    def faults(self) -> Faults:
        """The faults in use. A script may be assigned too; it begins with the next request."""
        return self._faults

    @faults.setter
    def faults(self, faults: Faults | str) -> None:
        self._faults = Faults.parse(faults) if isinstance(faults, str) else faults

    async def wait_stored(self, events: int, timeout: float) -> None:
        """Wait until so many events (with duplicates) are stored. Raises TimeoutError after `timeout` seconds."""
        async with asyncio.timeout(timeout):
            while self.stats.stored < events:
                self._stored.clear()
                await self._stored.wait()

    # --- start and stop ------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, for port 0 at a free port. Raises ListenError or InputOutputError."""
        self._stopping.clear()
        # A handler that is waiting must end when its client goes away, and at once when the receiver stops.
        runner = web.AppRunner(self._application(), access_log=None, handler_cancellation=True, shutdown_timeout=0.5)
        async with AsyncExitStack() as stack:
            if self._store_file is not None:
                self._stream = stack.enter_context(_open_store(self._store_file))
            # Any address will do, because readers need a token, and senders are known by their signatures.
            listener = listen(self.address, has_token=True)
            stack.callback(listener.close)
            self.address = listener.address
            stack.push_async_callback(runner.cleanup)
            await runner.setup()
            await web.SockSite(runner, listener.socket, backlog=BACKLOG).start()
            self._running = stack.pop_all()

    async def stop(self) -> None:
        """Close every connection; requests that a fault keeps waiting get no answer."""
        self._stopping.set()
        await self._running.aclose()

    def _application(self) -> web.Application:
        application = web.Application(client_max_size=self._max_bytes)
        application.add_routes(
            [
                web.post("/put", self._put),
                web.get("/get/{feed}", self._get),
                web.get("/get/{type}/{id}", self._get),
                web.route("*", "/elsewhere", self._elsewhere),
                web.post("/faults", self._set_faults),
                web.get("/stats", self._get_stats),
                web.get("/healthz", self._healthz),
            ]
        )
        return application

    # --- receiving -----------------------------------------------------------------------------

    async def _put(self, request: web.Request) -> web.StreamResponse:
        fault = self._faults.next()
        record = Record(time.time(), str(fault))
        self.stats.requests += 1
        self.stats.faults += fault.action is not Action.OK
        self.requests.append(record)
        try:
            if fault.action is Action.CUT:
                return _cut(request)
            body = await self._read_body(request)
            record.size, record.checksum = len(body), zlib.crc32(body)
            if fault.stores:
                self._accept(request, body, record)
            return await self._answer(request, fault, record)
        except Refusal as refusal:
            self.stats.refused += refusal.status < 500
            record.status, record.detail = refusal.status, refusal.detail
            return web.Response(status=refusal.status, text=f"{refusal.detail}\n")
        finally:
            if self._on_request is not None:
                self._on_request(record)

    async def _read_body(self, request: web.Request) -> bytes:
        try:
            return await request.read()
        except web.HTTPRequestEntityTooLarge:
            raise Refusal(413, f"the body is over {self._max_bytes} bytes") from None

    def _accept(self, request: web.Request, body: bytes, record: Record) -> None:
        """Verify, check and store a request, in one go so that requests do not mix. Raises Refusal."""
        if request.content_type != "application/jose":
            raise Refusal(415, f"the content type is {request.content_type!r}, and must be application/jose")
        try:
            verified = self.verifier.verify(body)
        except VerificationError as error:
            self.stats.bad_signatures += not error.malformed
            raise Refusal(400 if error.malformed else 401, str(error)) from None
        self.stats.verified += 1
        record.alg, record.header = verified.alg, verified.header
        try:
            envelopes = read(verified.payload)
        except PayloadError as error:
            raise Refusal(400, str(error)) from None
        record.feeds = tuple(sorted({envelope.eventSourceId for envelope in envelopes}))
        self._check_rules(envelopes, verified.payload)
        self._store(envelopes, verified.payload)
        record.events = len(envelopes)
        record.duplicates = self._account.add(envelopes)
        self._stored.set()

    def _check_rules(self, envelopes: Sequence[Envelope], payload: bytes) -> None:
        for limit in (self._max_events, self._faults.max_events):
            if limit is not None and len(envelopes) > limit:
                raise Refusal(413, f"{len(envelopes)} events are more than {limit}")
        for text in self._faults.rejects:
            if msgspec.json.encode(text) in payload:
                raise Refusal(400, f"an event with {text!r} is not wanted")

    def _store(self, envelopes: Sequence[Envelope], payload: bytes) -> None:
        if self._keep != "events" and self._stream is None and self._on_events is None:
            return
        events = split(payload)
        if self._stream is not None:
            try:
                _write_whole(self._stream, b"".join(one_line(event) + b"\n" for event in events))
            except OSError as error:
                raise Refusal(507, f"{self._store_file}: {error.strerror}") from None
        if self._keep == "events":
            self._feeds.add(envelopes, events)
        if self._on_events is not None:
            self._on_events(events)

    async def _answer(self, request: web.Request, fault: Fault, record: Record) -> web.StreamResponse:
        """Answer as the script says; if the events are to be stored, they are by now."""
        match fault.action:
            case Action.CUT | Action.CUT_AFTER_STORE:
                return _cut(request)
            case Action.TIMEOUT:
                await self._pause(fault.seconds)
                return _cut(request)
            case Action.GARBAGE:
                return _cut(request, after=_GARBAGE)
            case Action.OK:
                record.status = 200
            case Action.SLOW:
                await self._pause(fault.seconds)
                record.status = 200
            case Action.STATUS:
                record.status = fault.status
            case Action.REDIRECT:
                record.status = 302
        headers = {}
        if fault.action is Action.STATUS and fault.seconds is not None:
            headers[hdrs.RETRY_AFTER] = f"{fault.seconds}"
        if 300 <= record.status < 400:
            headers[hdrs.LOCATION] = f"{self.base_url}/elsewhere"
        return web.Response(status=record.status, headers=headers)

    async def _pause(self, seconds: float | None) -> None:
        """Wait for so many seconds, or for ever if None; end early when the receiver stops or the client goes away."""
        await wait_at_most(seconds, self._stopping)

    async def _elsewhere(self, request: web.Request) -> web.Response:
        self.stats.redirects_followed += 1
        return web.Response(text="A redirect was followed.\n")

    # --- reading back and steering -------------------------------------------------------------

    async def _get(self, request: web.Request) -> web.Response:
        feed = tuple(request.match_info.values())
        try:
            tokens.check(request.headers.get(hdrs.AUTHORIZATION, ""), "/".join(feed), self._readers, time.time())
            window = _window(request)
        except UnauthorizedError as error:
            return web.Response(status=401, text=f"{error}\n", headers={hdrs.WWW_AUTHENTICATE: "Bearer"})
        except ForbiddenError as error:
            return web.Response(status=403, text=f"{error}\n")
        except ValueError as error:
            return web.Response(status=400, text=f"{error}\n")
        if self._keep != "events":
            return web.Response(status=501, text=f"this receiver keeps {self._keep}, not events\n")
        return web.Response(body=self._feeds.page(feed, window), content_type="application/json")

    async def _set_faults(self, request: web.Request) -> web.Response:
        try:
            self.faults = (await request.text()).strip()
        except FaultScriptError as error:
            return web.Response(status=400, text=f"{error}\n{error.hint}\n")
        return web.Response(status=204)

    async def _get_stats(self, _request: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(self.stats), content_type="application/json")

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")


def _cut(request: web.Request, *, after: bytes = b"") -> web.Response:
    """Close the connection without an answer that the client could understand."""
    if request.transport is not None:
        if after:
            request.transport.write(after)
            request.transport.close()
        else:
            request.transport.abort()
    # aiohttp wants a response, which is never sent because the connection is closed.
    return web.Response()


def _window(request: web.Request) -> Window:
    """Return the window that the query asks for; raises ValueError."""

    def number(name: str) -> int | None:
        text = request.query.get(name)
        if text is None:
            return None
        # Nanoseconds of this century have 19 digits.
        if not (text.isascii() and text.isdigit() and len(text) <= 20):
            raise ValueError(f"{name} is {text!r}, and must be a whole number")
        return int(text)

    newest = request.query.get("newest", "false")
    if newest not in {"true", "false"}:
        raise ValueError(f"newest is {newest!r}, and must be true or false")
    limit = number("maxEventCount")
    return Window(number("after"), number("before"), DEFAULT_PAGE if limit is None else limit, newest == "true")


def _write_whole(stream: FileIO, data: bytes) -> None:
    """Append `data`, or leave the file as it was; raises OSError."""
    end = os.fstat(stream.fileno()).st_size
    left = memoryview(data)
    try:
        while left:
            left = left[stream.write(left) :]
    except OSError:
        # A pipe or a device cannot be truncated; what was written to it is gone.
        with suppress(OSError):
            stream.truncate(end)
        raise


def _open_store(file: Path) -> FileIO:
    try:
        # Unbuffered, so that events are in the file by the time that their request is answered with 200.
        return file.open("ab", buffering=0)
    except OSError as error:
        raise InputOutputError(
            f"{file}: {error.strerror}", hint="name a file in a folder that exists and that you may write to"
        ) from None
