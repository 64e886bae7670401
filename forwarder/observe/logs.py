"""The log: an observer that writes a line for each fact that has one in the catalogue."""

from __future__ import annotations

from typing import Any

import structlog

from forwarder.model import Outcome, State
from forwarder.observe.catalogue import LINES
from forwarder.observe.facts import (
    Accepted,
    Acted,
    Attempted,
    Committed,
    ConditionChanged,
    Fact,
    Notice,
    Refused,
    Settled,
    StateChanged,
)

# What comes most often has no line, and is not looked at any closer.
_COUNTED = frozenset({Accepted, Refused, Committed})
# The longest status and reason of an answer, in characters: the longest that is registered has 35.
_LONGEST_REASON = 40
# Ids in a line about dead letters: as many as one still reads.
_MOST_IDS = 20
_ALL_REFUSED = {
    "reason": "everything that waits is refused, and nothing is given up",
    "hint": "mend the destination, then: forwarder queue resume -d NAME",
}


class Logs:
    """Writes facts as lines of the log."""

    def __init__(self) -> None:
        self._log = structlog.get_logger("forwarder")

    def saw(self, fact: Fact) -> None:
        """Log a fact, if it has a line."""
        found = None if type(fact) in _COUNTED else line_of(fact)
        if found is not None:
            key, details = found
            line = LINES[key]
            hint = {"hint": line.hint} if line.hint and "hint" not in details else {}
            error = {"exc_info": fact.error} if isinstance(fact, Notice) and fact.error else {}
            getattr(self._log, line.level)(key, **details, **hint, **error)


def brief(status: int | None, detail: str) -> str:
    """Return what a destination said as far as it may be logged: of an answer its status and reason alone.

    The rest may repeat the events that were sent, or the whole JWS; it is shown by `status`, and with the dead letter.
    """
    return detail if status is None else detail.partition(": ")[0][:_LONGEST_REASON]


def line_of(fact: Fact) -> tuple[str, dict[str, Any]] | None:
    """Return the key and the fields of a fact's line; None for what is counted only."""
    match fact:
        case Notice(key, details):
            return key, {**details}
        case Attempted(outcome=Outcome.DELIVERED):
            return "batch.delivered", {"destination": fact.destination, "events": fact.events, "bytes": fact.bytes}
        case Settled() if fact.burial is not None:
            return _died(fact)
        case StateChanged(state=State.DELIVERING, is_news=False):
            # Nobody was told that it had failed.
            return None
        case StateChanged():
            return _changed(fact)
        case ConditionChanged():
            return _condition(fact)
        case Acted(act, who, what, result, None):
            return "admin.act", {"act": act, **who, **what, **result}
        case Acted(act, who, what, result, failure):
            return "admin.act_failed", {"act": act, **who, **what, **result, "reason": failure}
    return None


def _died(fact: Settled) -> tuple[str, dict[str, Any]]:
    found = {"destination": fact.destination, "events": fact.events}
    if fact.waited or fact.burial is None:
        return "events.expired", found
    status, detail = fact.burial.status, brief(fact.burial.status, fact.burial.detail)
    why = {"reason": fact.burial.reason, "status": status, "detail": detail}
    ids = {"ids": list(fact.ids[:_MOST_IDS])} if fact.ids else {}
    return "event.dead", found | why | ids


def _changed(fact: StateChanged) -> tuple[str, dict[str, Any]]:
    about: dict[str, Any] = {"destination": fact.destination}
    lasted = {"seconds": round(fact.seconds, 3), "attempts": fact.attempts}
    if fact.state is State.DELIVERING:
        return "destination.recovered", {**about, **lasted, "events": fact.events}
    detail = brief(fact.status, fact.detail)
    said = {"status": fact.status, "detail": detail, "retry_in": round(fact.retry_in, 3)}
    about |= _ALL_REFUSED if fact.events is None else {"events": fact.events}
    is_held = fact.state is State.HOLDING
    if fact.is_news:
        return "destination.held" if is_held else "destination.failing", {**about, **said}
    return "batch.held" if is_held else "batch.deferred", {**about, **said, **lasted}


def _condition(fact: ConditionChanged) -> tuple[str, dict[str, Any]]:
    about = {} if fact.destination is None else {"destination": fact.destination}
    if fact.active:
        return fact.key, {**about, "detail": fact.detail}
    return "condition.ended", {"condition": fact.key, **about, "detail": fact.detail, "seconds": round(fact.seconds, 3)}
