"""HTTP connections on which every answer is ours: what aiohttp refuses by itself is problem details, too.

What a client sends is repeated neither to it nor in the log, and is no error of ours: a log line
is written only for a bug.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError

from forwarder.errors import IntakeError
from forwarder.ingest.problems import internal_problem, problem_of, problem_response


class ExpectationError(IntakeError):
    """The client expects what this server does not know (RFC 9110 §10.1.1)."""

    status = 417
    problem = "expectation-failed"

    def __init__(self, expected: str) -> None:
        super().__init__(f"the expectation {expected!r} is not known", hint="send Expect: 100-continue or none")


class _Protocol(web.RequestHandler):
    """One HTTP connection: what aiohttp refuses by itself is answered, and told, in our way."""

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
            response = problem_response(status, "malformed", f"not HTTP: {first_line(message or 'bad request')}")
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        # A client that goes away, or whose body is not HTTP, is no fault of ours.
        if isinstance(kw.get("exc_info"), ConnectionError | HttpProcessingError | web.RequestPayloadError):
            self.log_debug(*args, **kw)
        else:
            super().log_exception(*args, **kw)


class Server(web.Server):
    """aiohttp's server with our own protocol."""

    def __call__(self) -> web.RequestHandler:
        return _Protocol(self, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """Runs an application on such connections."""

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            try:
                return await made.request_handler(request)
            except web.HTTPExpectationFailed:
                # Raised before any middleware is asked.
                return problem_of(ExpectationError(request.headers[hdrs.EXPECT]))

        return Server(handle, request_factory=made.request_factory, **made._kwargs)


# Where the parser begins to repeat what it was sent.
_quotes = re.compile(r"\n|: (?:bytearray\()?b['\"]").search


def first_line(message: str) -> str:
    """Return what the parser says, without the bytes that it points at."""
    words = message.strip()
    quote = _quotes(words)
    return (words[: quote.start()] if quote else words).rstrip(": ")
