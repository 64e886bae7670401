"""HTTP connections on which every request is answered, and every answer has our own form.

Requests that aiohttp refuses by itself are answered with problem details, too. Bytes that a client sent
are never repeated, neither to the client nor in the log. A bad request is not an error of ours: only a
bug is logged.

A client that ends its side of the connection after its requests still gets the answers to all of them;
then the connection is closed. If it ended its side in the middle of a body, the rest can never arrive,
so that request is refused at once.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from aiohttp import StreamReader, hdrs, web
from aiohttp.http_exceptions import BadHttpMessage, HttpProcessingError, LineTooLong

from forwarder.errors import ExpectationError, FieldsTooLargeError, RequestLineTooLongError
from forwarder.web.headroom import Headroom
from forwarder.web.problems import internal_problem, problem_of, problem_response

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

# The longest request line and the longest header field, in bytes. The two differ because the parser's
# error mentions only the limit, and we have to tell from that which of them was too long.
_MAX_LINE = 8192
_MAX_FIELD = 8190
# The most header fields of one request.
MAX_FIELDS = 128


class CutOffError(HttpProcessingError):
    """The client ended its side in the middle of a body."""

    def __init__(self) -> None:
        super().__init__(code=HTTPStatus.BAD_REQUEST, message="it ends too early")


class Protocol(web.RequestHandler):
    """One HTTP connection."""

    def __init__(self, server: Server, **how: Any) -> None:
        super().__init__(server, **how)
        self._headroom = server.headroom
        self.has_ended = False
        """Whether the client has ended its side and will send nothing more."""
        self.under_way: StreamReader | None = None
        """The body of the request that is being answered."""
        self.begun = 0
        """Requests whose handling has begun; pipelined requests that still wait are not counted."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self._headroom is None or self._headroom.admits(transport):
            super().connection_made(transport)

    # --- the client's end of its side ----------------------------------------------------------

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep the connection open for the answers that are still to come."""
        # uvloop calls this again whenever reading resumes after a pause, so it must be harmless to repeat.
        self.has_ended = True
        if self.under_way is None:
            self._soon_close()
        else:
            self._cut_off(self.under_way)
        return True

    def begin(self, body: StreamReader) -> None:
        """Record that a request is being handled."""
        self.begun += 1
        self.under_way = body
        if self.has_ended:
            self._cut_off(body)

    def log_access(self, request: web.BaseRequest, response: web.StreamResponse, time: float | None) -> None:
        """Record that the request was answered: aiohttp calls this method then."""
        super().log_access(request, response, time)
        self.under_way = None
        if self.has_ended:
            self._soon_close()

    def _soon_close(self) -> None:
        # After an answer, aiohttp takes up the next request that it has received, but only in the next turn of the
        # loop. So wait for two turns before closing, in order not to cut off a request that has already arrived.
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, self._close_unless_it_goes_on, self.begun)

    def _close_unless_it_goes_on(self, begun: int) -> None:
        if self.begun == begun and self.transport is not None:
            self.transport.close()

    def _cut_off(self, body: StreamReader) -> None:
        if not body.is_eof():
            body.set_exception(CutOffError())

    # --- a client that does not read -----------------------------------------------------------

    def pause_writing(self) -> None:
        """Stop reading from a client that does not read its answers, so that its requests do not pile up."""
        super().pause_writing()
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    # --- what aiohttp refuses ------------------------------------------------------------------

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the answer was sent already")
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            self.log_exception("HTTP request failed", exc_info=exc)
            response = internal_problem(status)
        else:
            response = _refusal(status, exc, message or "bad request")
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        # A client that goes away, or whose body is not HTTP, is not a fault of ours.
        if isinstance(kw.get("exc_info"), ConnectionError | HttpProcessingError | web.RequestPayloadError):
            self.log_debug(*args, **kw)
        else:
            super().log_exception(*args, **kw)


def _refusal(status: int, error: BaseException | None, message: str) -> web.Response:
    if isinstance(error, LineTooLong):
        if error.args[1] == _MAX_LINE:
            return problem_of(RequestLineTooLongError(f"the request line is longer than {_MAX_LINE:,} bytes"))
        return problem_of(FieldsTooLargeError(f"a header field is longer than {_MAX_FIELD:,} bytes"))
    if isinstance(error, BadHttpMessage) and message == "Too many headers received":
        return problem_of(FieldsTooLargeError(f"the request has more than {MAX_FIELDS} header fields"))
    return problem_response(status, "malformed", f"not HTTP: {first_line(message)}")


class Server(web.Server):
    """aiohttp's server with our own connections; `how` are the arguments for making them."""

    headroom: Headroom | None = None
    """Says whether there is room for a connection; None if that was checked before it came here."""

    def __init__(self, handler: Handler, *, request_factory: Callable[..., web.BaseRequest] | None = None, **how: Any):
        # The limits are set only here, because `_refusal` recognizes errors by them.
        limits = {"max_line_size": _MAX_LINE, "max_field_size": _MAX_FIELD, "max_headers": MAX_FIELDS}
        super().__init__(handler, request_factory=request_factory)
        make = self.request_factory

        def begin(message: Any, body: StreamReader, protocol: web.RequestHandler, *rest: Any) -> web.BaseRequest:
            if isinstance(protocol, Protocol):
                protocol.begin(body)
            return make(message, body, protocol, *rest)

        self.request_factory = begin
        self.how = {**how, **limits, "loop": asyncio.get_running_loop()}

    def __call__(self) -> web.RequestHandler:
        return Protocol(self, **self.how)

    @property
    def open_connections(self) -> int:
        """How many connections of clients are open."""
        return len(self.connections)


class Runner(web.ServerRunner):
    """Runs an application on connections of this kind."""

    def __init__(
        self,
        app: web.Application,
        *,
        shutdown_timeout: float = 60.0,
        headroom: Headroom | None = None,
        **how: Any,
    ) -> None:
        # AppRunner prepares the application and makes a server for it, whose handler and request factory are used
        # here; that server itself never gets a connection.
        self.application = web.AppRunner(app)
        server = Server(self._answer, request_factory=self._make_request, **how)
        server.headroom = headroom
        super().__init__(server, shutdown_timeout=shutdown_timeout)

    async def setup(self) -> None:
        await self.application.setup()
        await super().setup()

    async def shutdown(self) -> None:
        """End what would go on for ever, before what is under way is waited for."""
        await self.application.shutdown()

    async def cleanup(self) -> None:
        await super().cleanup()
        await self.application.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._made.request_handler(request)
        except web.HTTPExpectationFailed:
            # aiohttp raises this before it calls any middleware, so it has to be answered here.
            return problem_of(ExpectationError(request.headers[hdrs.EXPECT]))

    def _make_request(self, *parts: Any) -> web.BaseRequest:
        return self._made.request_factory(*parts)

    @property
    def _made(self) -> web.Server:
        if (server := self.application.server) is None:
            raise RuntimeError("call setup() first")
        return server


# Where the parser's message begins to quote what the client sent.
_quotes = re.compile(r"\n|: (?:bytearray\()?b['\"]").search


def first_line(message: str) -> str:
    """Return the parser's message, without the bytes that it quotes."""
    words = message.strip()
    quote = _quotes(words)
    return (words[: quote.start()] if quote else words).rstrip(": ")
