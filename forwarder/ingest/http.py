"""Events over HTTP: `POST /v1/events`, answered once they are synced to disk.

A request is accepted as a whole or refused as a whole; where what is invalid is kept, it is accepted
with that. Bodies are objects, arrays or newline-delimited JSON; every error is RFC 9457 problem+json
and says what would be right. The probe `GET /healthz` wants no token. `GET /openapi.json` describes
all of it.
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
from forwarder.ingest.express import GRACE_SECONDS, ExpressServer
from forwarder.ingest.intake import Intake, accepted
from forwarder.ingest.media import Kind, check, kind_of, look, takes_long
from forwarder.observe.facts import Notice
from forwarder.problems import TOLD
from forwarder.web.access import Access
from forwarder.web.description import description_response
from forwarder.web.headroom import Headroom
from forwarder.web.problems import internal_problem, problem_of, problem_response
from forwarder.web.server import first_line

# Large bodies are checked in a thread, so that one of them does not hold up the others; and only so
# many at once, as each takes several times its size meanwhile. So is whatever else takes long.
_LARGE_AT_ONCE = 2
_READ_BUFFER = 256 * 1024
# Seconds without a byte after which the rest of a body is not waited for: what was received of it
# takes memory that other requests may want.
_IDLE_SECONDS = 60.0
# Seconds that a client has to read why it is refused while it still sends.
_LINGER_SECONDS = 2.0

_PATHS = {"/v1/events": "POST", "/healthz": "GET, HEAD", "/openapi.json": "GET, HEAD"}


class HttpIntake:
    """The HTTP side of the intake. `max_request_bytes` bounds a body once decompressed."""

    def __init__(self, intake: Intake, *, max_request_bytes: int) -> None:
        self._intake = intake
        self.headroom = Headroom("http", intake.observer)
        self._admission = Admission()
        self._coalescer = Coalescer(intake, self._admission)
        self._large = asyncio.Semaphore(_LARGE_AT_ONCE)
        self._working = asyncio.Semaphore(_LARGE_AT_ONCE)
        self.limit(max_request_bytes)

    def limit(self, max_request_bytes: int) -> None:
        """Let another limit hold from the next request on."""
        self._max_request_bytes = max_request_bytes
        self._coalescer.limit(max_request_bytes)

    def server(self, access: Access) -> web.Server:
        """Return the server for the listeners that one access rule holds for."""
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
            # What is still to come of the body is not worth reading; after `Expect` it may never come.
            if not request.content.is_eof():
                response.force_close()
            return response

        return handle

    async def _answer(self, access: Access, request: web.BaseRequest) -> web.Response:
        try:
            access.check(request.headers, request.transport, without_token=request.path == "/healthz")
            return await self._dispatch(access, request)
        except TOLD as error:
            self._intake.refused("http", error)
            return problem_of(error)
        except HttpProcessingError as error:
            refusal = MalformedError(f"the body is not well-formed HTTP: {first_line(error.message)}")
            self._intake.refused("http", refusal)
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
            answer = await self._store(kind, body, wants_ids=wants_ids, keeps_invalid=keeps_invalid)
        finally:
            self._admission.free(size)
        return web.Response(status=HTTPStatus.ACCEPTED, body=answer, content_type="application/json")

    async def _store(self, kind: Kind, body: bytes, *, wants_ids: bool, keeps_invalid: bool | None) -> bytes:
        """Check a body, store what may be stored, and return the answer."""
        envelope = self._intake.envelope
        keeps_invalid = self._intake.keeps_invalid if keeps_invalid is None else keeps_invalid

        def look_closely() -> tuple[Checked, list[Refused], bytes]:
            checked, invalid = look(envelope, kind, body, keeps_invalid=keeps_invalid)
            # Made here, no deeper in the stack than the check: how deep an event may be nested is
            # what the stack still has room for. Whatever fails has to fail before it is stored.
            return checked, invalid, accepted(checked, invalid, with_ids=wants_ids)

        async def store(checked: Checked, invalid: list[Refused], answer: bytes) -> bytes:
            await self._intake.accept_or("http", checked, invalid, partial(check, envelope, kind, body))
            return answer

        if len(body) > LARGE_BYTES:
            async with self._large:
                return await store(*await asyncio.to_thread(look_closely))
        # What is plain, as nearly everything is, never takes long.
        if (checked := envelope.glance(body, are_lines=kind is Kind.LINES)) is not None:
            return await store(checked, [], accepted(checked, [], with_ids=wants_ids))
        if not takes_long(kind, body):
            return await store(*look_closely())
        async with self._working:
            found = await asyncio.to_thread(look_closely)
        return await store(*found)

    async def _receive(self, request: web.BaseRequest) -> bytes:
        """Read the body up to the limit; it stays counted as being received."""
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
    """Wait for more of the body; return nothing at its end."""
    content = request.content
    # Most bodies are there already: no timer is set up for them.
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
    """Return what the request says is to be done with what is invalid; None where it says nothing."""
    wanted = request.query.get("invalid") if request.query_string else None
    if wanted not in {None, "refuse", "dead_letter"}:
        raise MalformedError(f"invalid={wanted} is not known", hint="use ?invalid=dead_letter or ?invalid=refuse")
    return None if wanted is None else wanted == "dead_letter"


async def _expect(request: web.BaseRequest) -> None:
    """Ask for a body that the client holds back (RFC 9110 §10.1.1); curl does so above 1 MiB."""
    expected = request.headers.get(hdrs.EXPECT)
    if expected is None or request.version < (1, 1):
        return
    if expected.strip().lower() != "100-continue":
        raise ExpectationError(expected)
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    # The interim response is no part of the answer that is still to be written.
    request.writer.output_size = 0
