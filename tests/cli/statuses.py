"""Statuses as a daemon could send them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from forwarder.admin.status import DestinationState, QueueState, Status
from forwarder.model import State

NOW = datetime(2026, 3, 1, 14, 0, tzinfo=UTC)


def destination(state: State = State.IDLE, **fields: Any) -> DestinationState:
    """Return a destination of which there is nothing to say but these fields."""
    account = {"accepted": 0, "queued": 0, "delivered": 0, "dead": 0, "dropped": 0}
    known = {"attempts": 0, "next_attempt_in_seconds": None, "last_success": None, "last_error": None, "set_aside": 0}
    rest = {"oldest_age_seconds": None, "reason": None}
    return DestinationState(state=state, **{**account, **known, **rest, **fields})


def status(destinations: dict[str, DestinationState] | None = None, **fields: Any) -> Status:
    """Return the status of a forwarder that is ready, with these destinations."""
    queue = QueueState("sqlite", 1 << 30, 4 << 30, False)
    ready = {"version": "1.2.3", "uptime_seconds": 65.0, "ready": True, "queue": queue}
    return Status(**{**ready, "destinations": destinations or {}, **fields})


def text(lines: Any) -> list[str]:
    """Return the words of lines, without their styles."""
    return ["".join(words for words, _style in line).rstrip() for line in lines]
