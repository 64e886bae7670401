"""Why a destination does not deliver everything, and what to do about it, in words for people.

This is the one place for such sentences: `status`, `top` and the dashboard show what stands here. A reason says what
is so; a next step names the setting or the command, so that it can be followed at three in the morning by somebody
who has never seen the forwarder. Where nothing needs to be done, there is no next step, or it says so.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from forwarder.admin.steering import DestinationStatus
from forwarder.model import Counters, LastError, Obstacle, State
from forwarder.observe.history import Pace

# The most characters of an answer that are shown: it may be a whole page of HTML. `status --json` has more of it.
_DETAIL = 200
# A destination falls behind if its oldest event has waited for so many seconds and more come in than it takes; what
# comes and goes within a minute is no reason to do anything.
_BEHIND_SECONDS = 60.0
_BEHIND = 1.05

_RETRIED: Final = "it is tried again by itself; `forwarder queue flush -d {name}` tries at once"
_RESUME: Final = "then: forwarder queue resume -d {name}"
_KEY: Final = (
    "is the public key registered there? `forwarder keys show --destination {name}` prints it. Register it, or put the "
    f"right key in place, {_RESUME}"
)
_URL: Final = "correct destinations.{name}.url, then: forwarder reload"
_WAY: Final = (
    "something in front of the destination may answer in its place: look there, and at destinations.{name}.url, "
    + _RESUME
)
# What to do about an answer; `{name}` is the destination.
_STEPS: Final = {
    401: _KEY,
    402: f"look at the account with the destination, {_RESUME}",
    403: _KEY,
    404: _URL,
    405: _URL,
    407: "a proxy wants to know who asks: correct destinations.{name}.proxy, then: forwarder reload",
    413: f"even one event is too large for it: raise its limit, or that of the proxy in front of it, {_RESUME}",
    421: _WAY,
    426: _WAY,
    429: f"it asks for fewer requests: set destinations.{{name}}.max_rate, or wait: {_RETRIED}",
    431: f"its header fields are too large for it: look at destinations.{{name}}.headers, {_RESUME}",
    451: _WAY,
    511: f"the network wants a login first, {_RESUME}",
}
# For all other answers, by their class.
_CLASSES: Final = {
    3: "redirects are not followed: put the final address into destinations.{name}.url, then: forwarder reload",
    4: f"find out at the destination why it refuses, {_RESUME}",
    5: f"look at the destination: {_RETRIED}",
}
_NO_ANSWER: Final = f"`forwarder check --remote` shows how far a connection gets; {_RETRIED}"
_BEHIND_STEP: Final = (
    "if it can take more, raise destinations.{name}.batch.max_events, or .in_flight (then only a batch keeps its order)"
)


class Advice(NamedTuple):
    """What is said of one destination."""

    reason: str | None
    """Why not everything is delivered; None if it is, or is about to be."""
    next_step: str | None


def advise(name: str, pump: DestinationStatus, counters: Counters, pace: Pace, oldest_age: float | None) -> Advice:
    """Return what to say of a destination; `oldest_age` is how long its oldest event has waited, in seconds."""
    reason, step = _found(pump, counters, pace, oldest_age)
    return Advice(reason, None if step is None else step.format(name=name))


def _found(
    pump: DestinationStatus, counters: Counters, pace: Pace, oldest_age: float | None
) -> tuple[str | None, str | None]:
    match pump.state:
        case State.REMOVED:
            kept = [(counters.queued, "queued event"), (counters.dead, "dead letter")]
            words = " and ".join(_count(number, what) for number, what in kept if number)
            export = "or: forwarder queue export -d {name}, then: forwarder queue purge -d {name}"
            return (
                f"it is no longer configured, and keeps {words}",
                f"configure it again, then: forwarder reload; {export}",
            )
        case State.INVALID:
            return _invalid(counters)
        case State.PAUSED:
            return "an operator paused it: events are accepted and wait", "forwarder queue resume -d {name}"
    if pump.attempts or pump.state in {State.BACKING_OFF, State.HOLDING}:
        return _failing(pump)
    if pump.obstacle is not None:
        return _hindered(pump, pump.obstacle)
    dead, waits = _dead(counters), oldest_age is not None and oldest_age >= _BEHIND_SECONDS
    if waits and (pace.rate_in or 0.0) > (pace.rate_out or 0.0) * _BEHIND:
        return "more events come in than it takes", dead or _BEHIND_STEP
    return None, dead


def _invalid(counters: Counters) -> tuple[str | None, str | None]:
    if not counters.dead:
        return None, None
    replay = "once they are valid: forwarder dead replay -d {name}"
    return (
        f"{_count(counters.dead, 'event')} broke the rules and {'is' if counters.dead == 1 else 'are'} kept",
        f"forwarder dead list -d {{name}} says why; {replay}",
    )


def _dead(counters: Counters) -> str | None:
    if not counters.dead:
        return None
    return f"look at {_count(counters.dead, 'dead letter')}: forwarder dead list -d {{name}}"


def _failing(pump: DestinationStatus) -> tuple[str | None, str | None]:
    """Return why it is being tried again and again."""
    error, refuses_all = pump.last_error, pump.obstacle is not None and pump.obstacle.kind == "all_refused"
    if error is None or not (pump.attempts or refuses_all):
        # Nothing was sent: what waits could not be read.
        return "the queue could not be read", "look at the disk; the log says more (batch.not_taken)"
    said = _said(error)
    if refuses_all:
        said = f"everything that waits is refused, and nothing is given up: {said}"
    return said, _step(error)


def _said(error: LastError) -> str:
    detail = error.detail if len(error.detail) <= _DETAIL else f"{error.detail[: _DETAIL - 1]}…"
    if error.status is None:
        return detail
    if detail.startswith(str(error.status)):
        # Where the answer had no text, its status line stands there.
        return f"it answered {detail}"
    return f"it answered {error.status}: {detail}" if detail else f"it answered {error.status}"


def _step(error: LastError) -> str:
    status = error.status
    if status is None:
        return f"{error.hint[:1].lower()}{error.hint[1:]}; {_NO_ANSWER}" if error.hint else _NO_ANSWER
    return _STEPS.get(status) or _CLASSES.get(status // 100, _NO_ANSWER)


def _hindered(pump: DestinationStatus, obstacle: Obstacle) -> tuple[str | None, str | None]:
    """Return why not everything is delivered although it takes events."""
    match obstacle.kind:
        case "distrusted":
            seconds = f"{obstacle.seconds:.0f} s"
            return (
                f"what it refused was taken later: for {seconds} refusals are not believed, but tried again",
                "one of several servers behind destinations.{name}.url refuses what others take: look for it",
            )
        case "all_refused":
            return _failing(pump)
        case "set_aside":
            how = "failed" if obstacle.has_failed else "refused"
            return (
                f"{_count(pump.set_aside, 'event')} set aside: {how} even alone, and tried again: {obstacle.detail}",
                "nothing yet: others are delivered; what goes on being refused dies (forwarder dead list -d {name})",
            )
        case "rate":
            return (
                f"max_rate: the next request goes in {obstacle.seconds:.0f} s",
                "if it may have more: raise destinations.{name}.max_rate, then: forwarder reload",
            )


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
