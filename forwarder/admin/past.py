"""What happened to each destination lately, step by step: `GET /v1/history`."""

from __future__ import annotations

from datetime import datetime

import msgspec

from forwarder.admin.status import utc
from forwarder.errors import MalformedError
from forwarder.observe.history import SPANS, History


class StepsState(msgspec.Struct):
    """One destination, the oldest step first: how many events in each step, and at its end."""

    accepted: list[int]
    delivered: list[int]
    queued: list[int]


class HistoryState(msgspec.Struct):
    """The whole answer: for every destination as many steps of equal length."""

    step_seconds: float
    begin: datetime = msgspec.field(name="from")
    """When the first step began."""
    destinations: dict[str, StepsState]


def build_history(history: History, span: str, now: float) -> HistoryState:
    """Build the answer for an hour or a day; `now` is in seconds since the epoch. Raises MalformedError."""
    if span not in SPANS:
        raise MalformedError(f"there is no span {span!r}", hint=f"ask for one of: {', '.join(SPANS)}")
    series = history.series(span)
    destinations = {name: StepsState(*steps) for name, steps in series.destinations.items()}
    return HistoryState(series.step_seconds, utc(now - series.age_seconds), destinations)
