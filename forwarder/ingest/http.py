"""Events over HTTP: `POST /v1/events`, answered once they are synced to disk.

A request is accepted or refused as a whole; but if invalid events are to be kept as dead letters, it is
accepted with them. Bodies are objects, arrays or newline-delimited JSON; every error is problem+json
(RFC 9457) and says what would be right. The probe `GET /healthz` needs no token. `GET /openapi.json`
describes the whole API.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from http import HTTPStatus

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError

from forwarder.envelope import Checked, Refused
from forwarder.errors import ExpectationError, MalformedError, SilentClientError, TooLargeError
from forwarder.ingest.admission import LARGE_BYTES, Admission
from forwarder.ingest.body import Body
from forwarder.ingest.coalescer import Coalescer
from forwarder.ingest.express import GRACE_SECONDS, TRACEPARENT, ExpressServer
from forwarder.ingest.intake import Intake, accepted
from forwarder.ingest.media import Kind, check, kind_of, look, takes_long
from forwarder.observe.facts import Notice
from forwarder.problems import TOLD
from forwarder.web.access import Access
from forwarder.web.description import description_response
from forwarder.web.headroom import Headroom
from forwarder.web.peer import peer_of
from forwarder.web.problems import internal_problem, problem_of, problem_response
from forwarder.web.server import first_line

# Large bodies, and others that take long to check, are checked in threads so that they do not hold up
# other requests. Only so many are at once, because each then takes several times its size in memory.
_LARGE_AT_ONCE = 2
_READ_BUFFER = 256 * 1024
# Seconds without a byte after which we stop waiting for the rest of a body: the part that was received
# takes memory that other requests may need.
_IDLE_SECONDS = 60.0
# Seconds that a client which is still sending has to read why it was refused.
_LINGER_SECONDS = 2.0

_PATHS = {"/v1/events": "POST", "/healthz": "GET, HEAD", "/openapi.json": "GET, HEAD"}


class HttpIntake:
    """The HTTP side of the intake. `max_request_bytes` limits a body, as sent and decompressed."""

    def __init__(self, intake: Intake, *, max_request_bytes: int) -> None:
        self._intake = intake
        self.headroom = Headroom("http", intake.observer)
        self._admission = Admission()
        self._coalescer = Coalescer(intake, self._admission)
        self._large = asyncio.Semaphore(_LARGE_AT_ONCE)
        self._working = asyncio.Semaphore(_LARGE_AT_ONCE)
        self.limit(max_request_bytes)

    def limit(self, max_request_bytes: int) -> None:
        """Apply another limit from the next request on."""
        self._max_request_bytes = max_request_bytes
        self._coalescer.limit(max_request_bytes)

    def server(self, access: Access) -> web.Server:
        """Return a server for listeners with this access rule."""
        return ExpressServer(
            self._coalescer,
            access,
            self.headroom,
            self._handler(access),
            access_log=None,
            auto_decompress=False,
            read_bufsize=_READ_BUFFER,
            lingering_time=_LINGER_SECONDS,
        )

    def _handler(self, access: Access) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            response = await self._answer(access, request)
            # If a request was refused early, the rest of its body is not worth reading; after `Expect` it may never
            # come at all. So the connection cannot be used again.
            if not request.content.is_eof():
                response.force_close()
            return response

        return handle

    async def _answer(self, access: Access, request: web.BaseRequest) -> web.Response:
        try:
            access.check(request.headers, request.transport, without_token=request.path == "/healthz")
            return await self._dispatch(access, request)
        except TOLD as error:
            self._intake.refused("http", error, peer_of(request.transport))
            return problem_of(error)
        except HttpProcessingError as error:
            refusal = MalformedError(f"the body is not well-formed HTTP: {first_line(error.message)}")
            self._intake.refused("http", refusal, peer_of(request.transport))
            return problem_of(refusal)
        except ConnectionError:
            raise
        except Exception as error:
            self._intake.observer.saw(Notice("intake.failed", {"path": request.path}, error))
            return internal_problem()

    async def _dispatch(self, access: Access, request: web.BaseRequest) -> web.Response:
        allowed = _PATHS.get(request.path)
        if allowed is None:
            known = ", ".join(_PATHS)
            return problem_response(404, "not-found", f"there is nothing at {request.path}; there is: {known}")
        if request.method not in allowed.split(", "):
            detail = f"{request.path} takes {allowed}, not {request.method}"
            return problem_response(405, "method-not-allowed", detail, headers={hdrs.ALLOW: allowed})
        if request.path == "/healthz":
            return web.Response(text="ok\n")
        if request.path == "/openapi.json":
            return description_response("forwarder.ingest", wants_token=access.wants_token)
        return await self._post_events(request)

    async def _post_events(self, request: web.BaseRequest) -> web.Response:
        kind = kind_of(request)
        wants_ids, keeps_invalid = _wants_ids(request), _keeps_invalid(request)
        body = await self._receive(request)
        size = len(body)
        try:
            trace = request.headers.get(TRACEPARENT) if self._intake.wants_traces else None
            answer = await self._store(kind, body, wants_ids=wants_ids, keeps_invalid=keeps_invalid, trace=trace)
        finally:
            self._admission.free(size)
        return web.Response(status=HTTPStatus.ACCEPTED, body=answer, content_type="application/json")

    async def _store(
        self, kind: Kind, body: bytes, *, wants_ids: bool, keeps_invalid: bool | None, trace: str | None
    ) -> bytes:
        """Check a body, store its events, and return the body of the answer."""
        envelope = self._intake.envelope
        keeps_invalid = self._intake.keeps_invalid if keeps_invalid is None else keeps_invalid

        def look_closely() -> tuple[Checked, list[Refused], bytes]:
            checked, invalid = look(envelope, kind, body, keeps_invalid=keeps_invalid)
            # The answer is made here, before anything is stored and no deeper in the stack than the check. Reading
            # the ids decodes the events again, and how deep they may be nested depends on the stack that is left; if
            # that fails, it has to fail before the events are stored.
            return checked, invalid, accepted(checked, invalid, with_ids=wants_ids)

        async def store(checked: Checked, invalid: list[Refused], answer: bytes) -> bytes:
            refuse = partial(check, envelope, kind, body)
            await self._intake.accept_or("http", checked, invalid, refuse, traceparent=trace)
            return answer

        if len(body) > LARGE_BYTES:
            async with self._large:
                return await store(*await asyncio.to_thread(look_closely))
        # Nearly every body passes the quick check, which never takes long.
        if (checked := envelope.glance(body, are_lines=kind is Kind.LINES)) is not None:
            return await store(checked, [], accepted(checked, [], with_ids=wants_ids))
        if not takes_long(kind, body):
            return await store(*look_closely())
        async with self._working:
            found = await asyncio.to_thread(look_closely)
        return await store(*found)

    async def _receive(self, request: web.BaseRequest) -> bytes:
        """Read the body, up to the limit. The caller has to free its size in `_admission`."""
        body = Body(", ".join(request.headers.getall(hdrs.CONTENT_ENCODING, [])), self._max_request_bytes)
        if (request.content_length or 0) > self._max_request_bytes:
            raise TooLargeError(
                f"the request has {request.content_length:,} bytes, the limit is {self._max_request_bytes:,}"
                " (ingest.max_request_bytes)",
                hint="send the events in several requests",
            )
        counted = await self._admission.reserve(request.content_length or 0)
        try:
            await _expect(request)
            while chunk := await _next_chunk(request):
                body.feed(chunk)
                counted = self._admission.count(counted, body.size)
                while body.is_behind:
                    async with self._working:
                        await asyncio.to_thread(body.catch_up)
                    counted = self._admission.count(counted, body.size)
            data = body.finish()
        except BaseException:
            self._admission.free(counted)
            raise
        self._admission.free(counted - len(data))
        return data


async def _next_chunk(request: web.BaseRequest) -> bytes:
    """Wait for more of the body; return an empty chunk at its end."""
    content = request.content
    # Most bodies have already arrived: do not set up a timer for them.
    chunk = content.read_nowait()
    if chunk or content.at_eof():
        return chunk
    for seconds in (_IDLE_SECONDS, GRACE_SECONDS):
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                return await content.readany()
    raise SilentClientError(f"nothing more of the body came for {_IDLE_SECONDS:g} seconds")


def _wants_ids(request: web.BaseRequest) -> bool:
    wanted = request.query.get("return") if request.query_string else None
    if wanted not in {None, "ids"}:
        raise MalformedError(f"return={wanted} is not known", hint="use ?return=ids, or leave it out")
    return wanted == "ids"


def _keeps_invalid(request: web.BaseRequest) -> bool | None:
    """Return whether the request wants invalid events to be kept; None if it does not say."""
    wanted = request.query.get("invalid") if request.query_string else None
    if wanted not in {None, "refuse", "dead_letter"}:
        raise MalformedError(f"invalid={wanted} is not known", hint="use ?invalid=dead_letter or ?invalid=refuse")
    return None if wanted is None else wanted == "dead_letter"


async def _expect(request: web.BaseRequest) -> None:
    """Ask for the body if the client holds it back (RFC 9110 §10.1.1), as curl does above 1 MiB."""
    expected = request.headers.get(hdrs.EXPECT)
    if expected is None or request.version < (1, 1):
        return
    if expected.strip().lower() != "100-continue":
        raise ExpectationError(expected)
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    # aiohttp must not count the interim response as part of the final one.
    request.writer.output_size = 0
