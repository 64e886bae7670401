"""Errors as RFC 9457 problem details: `application/problem+json` with a `urn:forwarder:problem:…` type."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import hdrs, web

from forwarder.errors import InvalidEventsError, RequestError, UnavailableError
from forwarder.problems import problem_type


def problem_response(
    status: int, problem: str, detail: str, *, headers: dict[str, str] | None = None, **extra: Any
) -> web.Response:
    """Build the answer; `problem` is the last part of the type, `extra` holds further members."""
    body = {
        "type": f"urn:forwarder:problem:{problem}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        **extra,
    }
    return web.Response(
        body=msgspec.json.encode(body), status=status, headers=headers, content_type="application/problem+json"
    )


def internal_problem(status: int = 500) -> web.Response:
    """Build the answer for a fault of the forwarder itself."""
    return problem_response(status, "internal", "the forwarder has a bug; its log says more")


def problem_of(error: RequestError | UnavailableError) -> web.Response:
    """Build the answer for an error that the client should know about."""
    status, name, retry_after = problem_type(type(error))
    headers: dict[str, str] = {}
    extra: dict[str, Any] = {}
    if retry_after is not None:
        headers[hdrs.RETRY_AFTER] = str(retry_after)
    if status == HTTPStatus.UNAUTHORIZED:
        headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
    if isinstance(error, InvalidEventsError):
        extra["errors"] = error.errors
    if error.hint:
        extra["hint"] = error.hint
    return problem_response(status, name, error.message, headers=headers, **extra)
