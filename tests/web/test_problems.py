"""Errors as problem details (RFC 9457)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from forwarder.errors import (
    DiskFullError,
    EventError,
    InvalidEventsError,
    MalformedError,
    QueueFullError,
    RequestError,
    UnauthorizedError,
    UnavailableError,
)
from forwarder.web.problems import problem_of, problem_response


def content(body: object) -> dict[str, Any]:
    assert isinstance(body, bytes)
    found: dict[str, Any] = json.loads(body)
    return found


@pytest.mark.parametrize(
    ("error", "status", "headers", "members"),
    [
        (MalformedError("no", hint="do"), 400, {}, {"type": "urn:forwarder:problem:malformed", "hint": "do"}),
        (UnauthorizedError("who"), 401, {"WWW-Authenticate": "Bearer"}, {"title": "Unauthorized"}),
        (QueueFullError("full"), 503, {"Retry-After": "5"}, {"type": "urn:forwarder:problem:queue-full"}),
        (DiskFullError("full"), 503, {"Retry-After": "10"}, {"type": "urn:forwarder:problem:disk-full"}),
        (
            InvalidEventsError([EventError(3, "eventType", "is required")]),
            422,
            {},
            {
                "type": "urn:forwarder:problem:invalid-event",
                "detail": "event 3, eventType: is required",
                "errors": [{"index": 3, "field": "eventType", "message": "is required"}],
            },
        ),
    ],
)
def test_errors(
    error: RequestError | UnavailableError, status: int, headers: dict[str, str], members: dict[str, Any]
) -> None:
    """An error becomes an answer with its status, its type, and what a client needs to go on."""
    response = problem_of(error)
    assert response.status == status
    assert response.content_type == "application/problem+json"
    assert {name: response.headers.get(name) for name in headers} == headers
    found = content(response.body)
    assert found["status"] == status
    assert members.items() <= found.items()


def test_members_of_a_problem() -> None:
    """A problem has exactly the members that it was given, and no empty ones."""
    assert content(problem_response(404, "not-found", "nothing here", more=1).body) == {
        "type": "urn:forwarder:problem:not-found",
        "title": "Not Found",
        "status": 404,
        "detail": "nothing here",
        "more": 1,
    }
