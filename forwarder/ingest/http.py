"""Events over HTTP: `POST /v1/events`, answered once they are synced to disk.

A request is accepted as a whole or refused as a whole. Bodies are objects, arrays or
newline-delimited JSON; every error is RFC 9457 problem+json and says what would be right.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import msgspec
import structlog
from aiohttp import hdrs, web

from forwarder.envelope import Checked
from forwarder.errors import IntakeError, MalformedError, TooLargeError, UnavailableError, UnsupportedError
from forwarder.ingest.access import Access
from forwarder.ingest.body import Body
from forwarder.ingest.intake import Intake
from forwarder.ingest.problems import problem_of, problem_response

# Bytes that all requests together may hold while they are being received; more than that is told
# to come back, so that many large requests at once cannot take all memory.
_MAX_RECEIVING = 256 * 1024 * 1024
# Bodies above this are checked in a thread, so that a large one does not hold up the others.
_THREAD_BYTES = 1024 * 1024
_READ_BUFFER = 256 * 1024

_JSON, _NDJSON = "application/json", "application/x-ndjson"
_PATHS = {"/v1/events": "POST", "/healthz": "GET, HEAD"}

log = structlog.get_logger(__name__)


class BusyError(UnavailableError):
    """More is being received at once than there is memory for."""

    problem = "busy"


class HttpIntake:
    """The HTTP side of the intake. `max_request_bytes` bounds a body once decompressed."""

    def __init__(self, intake: Intake, *, max_request_bytes: int) -> None:
        self._intake = intake
        self.max_request_bytes = max_request_bytes
        self._receiving = 0

    def server(self, access: Access) -> web.Server:
        """Return the server for the listeners that one access rule holds for."""
        return web.Server(self._handler(access), access_log=None, auto_decompress=False, read_bufsize=_READ_BUFFER)

    def _handler(self, access: Access) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            try:
                access.check(request)
                return await self._dispatch(request)
            except IntakeError as error:
                response = problem_of(error)
                # What is left of the body is not worth reading.
                if not request.content.at_eof():
                    response.force_close()
                return response
            except (ConnectionError, asyncio.CancelledError):
                raise
            except Exception:
                log.exception("intake.failed", path=request.path)
                return problem_response(500, "internal", "the forwarder has a bug; its log says more")

        return handle

    async def _dispatch(self, request: web.BaseRequest) -> web.Response:
        allowed = _PATHS.get(request.path)
        if allowed is None:
            known = ", ".join(_PATHS)
            return problem_response(404, "not-found", f"there is nothing at {request.path}; there is: {known}")
        if request.method not in allowed.split(", "):
            detail = f"{request.path} takes {allowed}, not {request.method}"
            return problem_response(405, "method-not-allowed", detail, headers={hdrs.ALLOW: allowed})
        if request.path == "/healthz":
            return web.Response(text="ok\n")
        return await self._post_events(request)

    async def _post_events(self, request: web.BaseRequest) -> web.Response:
        kind = _kind_of(request)
        wants_ids = _wants_ids(request)
        checked = await self._check(kind, await self._receive(request))
        await self._intake.accept(checked)
        if not wants_ids:
            return _accepted(b'{"accepted": %d}' % checked.events)
        return _accepted(msgspec.json.encode({"accepted": checked.events, "eventIds": checked.event_ids()}))

    async def _check(self, kind: str, body: bytes) -> Checked:
        parse = self._intake.envelope.parse if kind == _JSON else self._intake.envelope.parse_lines
        return parse(body) if len(body) <= _THREAD_BYTES else await asyncio.to_thread(parse, body)

    async def _receive(self, request: web.BaseRequest) -> bytes:
        """Read the body up to the limit."""
        body = Body(request.headers.get(hdrs.CONTENT_ENCODING, ""), self.max_request_bytes)
        if (request.content_length or 0) > self.max_request_bytes:
            raise TooLargeError(
                f"the request has {request.content_length:,} bytes, the limit is {self.max_request_bytes:,}"
                " (ingest.max_request_bytes)",
                hint="send the events in several requests",
            )
        await _expect(request)
        counted = 0
        try:
            while chunk := await request.content.readany():
                body.feed(chunk)
                self._receiving += body.size - counted
                counted = body.size
                if self._receiving > _MAX_RECEIVING:
                    raise BusyError("too much is being received at once; send again in a moment")
            return body.finish()
        finally:
            self._receiving -= counted


def _accepted(body: bytes) -> web.Response:
    return web.Response(status=HTTPStatus.ACCEPTED, body=body, content_type=_JSON)


def _kind_of(request: web.BaseRequest) -> str:
    kind = request.content_type if hdrs.CONTENT_TYPE in request.headers else ""
    if kind not in {_JSON, _NDJSON}:
        raise UnsupportedError(
            f"the content type {kind!r} is not known" if kind else "the Content-Type is missing",
            hint=f"send {_JSON} (an object or an array) or {_NDJSON} (an event a line)",
        )
    if (request.charset or "utf-8").lower() not in {"utf-8", "utf8", "us-ascii"}:
        raise UnsupportedError(f"the charset {request.charset!r} is not known", hint="JSON is UTF-8 (RFC 8259 §8.1)")
    return kind


def _wants_ids(request: web.BaseRequest) -> bool:
    wanted = request.query.get("return")
    if wanted not in {None, "ids"}:
        raise MalformedError(f"return={wanted} is not known", hint="use ?return=ids, or leave it out")
    return wanted == "ids"


async def _expect(request: web.BaseRequest) -> None:
    """Ask for a body that the client holds back (RFC 9110 §10.1.1); curl does so above 1 MiB."""
    if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue" and request.version >= (1, 1):
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # The interim response is no part of the answer that is still to be written.
        request.writer.output_size = 0
