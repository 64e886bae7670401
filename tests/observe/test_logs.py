"""The line that each fact makes."""

from __future__ import annotations

from typing import Any

import pytest
import structlog.testing

from forwarder.model import Burial, Outcome, State
from forwarder.observe.catalogue import LINES
from forwarder.observe.facts import (
    Accepted,
    Acted,
    Attempted,
    Committed,
    Fact,
    Notice,
    Refused,
    Settled,
    StateChanged,
)
from forwarder.observe.logs import Logs

DEAD_LIST = "see forwarder dead list"
MEND = "mend the destination, then: forwarder queue resume -d NAME"
NOBODY = "everything that waits is refused, and nothing is given up"
REJECTED = Burial("rejected", 400, "no")


def logged(fact: Fact) -> list[Any]:
    """Return the lines that a fact makes."""
    with structlog.testing.capture_logs() as lines:
        Logs().saw(fact)
    return lines


@pytest.mark.parametrize(
    ("fact", "level", "key", "fields"),
    [
        (
            Attempted("main", 0, Outcome.DELIVERED, 3, 500, 0.1, 200),
            "debug",
            "batch.delivered",
            {"events": 3, "bytes": 500},
        ),
        (
            StateChanged("main", State.BACKING_OFF, 3, 503, "busy", 1.23456),
            "warning",
            "destination.failing",
            {
                "events": 3,
                "status": 503,
                "detail": "busy",
                "retry_in": 1.235,
                "hint": LINES["destination.failing"].hint,
            },
        ),
        (
            StateChanged("main", State.BACKING_OFF, 3, 503, "busy", 1.23456, 60.12345, 7, is_news=False),
            "debug",
            "batch.deferred",
            {"events": 3, "status": 503, "detail": "busy", "retry_in": 1.235, "seconds": 60.123, "attempts": 7},
        ),
        (
            StateChanged("main", State.HOLDING, 3, 403, "no key", 5.0),
            "warning",
            "destination.held",
            {"events": 3, "status": 403, "detail": "no key", "retry_in": 5.0, "hint": LINES["destination.held"].hint},
        ),
        (
            StateChanged("main", State.HOLDING, 3, 403, "no key", 5.0, 60.0, 7, is_news=False),
            "debug",
            "batch.held",
            {"events": 3, "status": 403, "detail": "no key", "retry_in": 5.0, "seconds": 60.0, "attempts": 7},
        ),
        (
            StateChanged("main", State.HOLDING, None, 400, "no", 5.0),
            "warning",
            "destination.held",
            {"status": 400, "detail": "no", "retry_in": 5.0, "reason": NOBODY, "hint": MEND},
        ),
        (
            StateChanged("main", State.DELIVERING, 500, seconds=61.23456, attempts=9),
            "info",
            "destination.recovered",
            {"seconds": 61.235, "attempts": 9, "events": 500},
        ),
        (
            Settled("main", 30, REJECTED, ids=tuple(map(str, range(30)))),
            "warning",
            "event.dead",
            {
                "events": 30,
                "reason": "rejected",
                "status": 400,
                "detail": "no",
                "hint": DEAD_LIST,
                "ids": [str(number) for number in range(20)],
            },
        ),
        (
            Settled("main", 2, Burial("expired", 503, "busy"), waited=True),
            "error",
            "events.expired",
            {"events": 2, "hint": DEAD_LIST},
        ),
    ],
)
def test_of_a_destination(fact: Fact, level: str, key: str, fields: dict[str, Any]) -> None:
    """What happens to a destination and its batches is one line, with the answer and the next step."""
    assert logged(fact) == [{"event": key, "log_level": level, "destination": "main", **fields}]


def test_of_an_act() -> None:
    """Who did it, what it was done to and what came of it are fields of one line; so is why it failed."""
    parts = ("purge", {"uid": 0, "pid": 7}, {"destination": "main"}, {"dropped": 3})
    fields = {"act": "purge", "uid": 0, "pid": 7, "destination": "main", "dropped": 3, "log_level": "warning"}
    assert logged(Acted(*parts)) == [{"event": "admin.act", **fields}]
    assert logged(Acted(*parts, "no room")) == [{"event": "admin.act_failed", **fields, "reason": "no room"}]


def test_of_a_notice() -> None:
    """A notice has the level and the hint of the catalogue, unless it knows a better hint."""
    line = {"event": "destination.removed", "log_level": "warning", "destination": "main"}
    fact = Notice("destination.removed", {"destination": "main"})
    assert logged(fact) == [line | {"hint": "what is queued for it is kept"}]
    assert logged(fact._replace(details={"destination": "main", "hint": "look"})) == [line | {"hint": "look"}]


def test_of_a_bug() -> None:
    """A bug brings its traceback."""
    error = RuntimeError("a bug")
    assert logged(Notice("stream.failed", {}, error)) == [
        {"event": "stream.failed", "log_level": "error", "exc_info": error}
    ]


@pytest.mark.parametrize(
    "fact",
    [
        Accepted("http", 3, 0, 500, 0.1),
        Refused("stream", "invalid-event", 1),
        Committed(3, 500, 0.1),
        Attempted("main", 0, Outcome.HELD, 3, 500, 0.1, 403),
        Settled("main", 3),
        StateChanged("main", State.DELIVERING, 3, is_news=False),
    ],
)
def test_of_what_is_only_counted(fact: Fact) -> None:
    """What goes well, and what another line says already, is no line."""
    assert logged(fact) == []


@pytest.mark.parametrize(
    ("status", "detail", "shown"),
    [
        (403, "403 Forbidden: no key for eyJhbGciOi", "403 Forbidden"),
        (400, "400 " + "x" * 100, "400 " + "x" * 36),
        (503, "503 Service Unavailable", "503 Service Unavailable"),
        (None, "cannot connect to localhost:1: refused", "cannot connect to localhost:1: refused"),
    ],
)
def test_of_an_answer(status: int | None, detail: str, shown: str) -> None:
    """Of what a destination answered the log has the status and the reason: the rest may repeat what was sent."""
    waits = StateChanged("main", State.HOLDING, 1, status, detail)
    died = Settled("main", 1, Burial("rejected", status, detail))
    assert [line["detail"] for fact in (waits, died) for line in logged(fact)] == [shown, shown]
