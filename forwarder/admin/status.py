"""Build the answer to `GET /v1/status`, purely from what is passed in.

All counters come from one reading of the queue, so that in every answer and for each destination
`accepted == queued + delivered + dead + dropped`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType

import msgspec

from forwarder.admin.advice import advise
from forwarder.admin.steering import ConfigOnDisk, DestinationStatus, Refusal
from forwarder.model import INVALID, Counters, LastError, QueueStats, State
from forwarder.observe.catalogue import LINES
from forwarder.observe.facts import Condition
from forwarder.observe.history import Pace
from forwarder.queue.fullness import Full

# The last second that RFC 3339 can express, in seconds since the epoch.
_LAST = 253_402_300_799.0
_WORKS = frozenset({State.IDLE, State.DELIVERING})


class QueueState(msgspec.Struct):
    """The queue as a whole; sizes in bytes. A command may ask a daemon that lacks the newest fields."""

    backend: str
    bytes: int
    """How much of `max_bytes` is in use; see `QueueStats`."""
    max_bytes: int
    full: bool
    """Whether producers are refused, or stopped, for want of room; `bytes` is all of `max_bytes` then."""
    full_since: datetime | None = None
    refused_while_full: int = 0
    """Requests that were refused, and streams that were stopped, since then."""
    full_in_seconds: float | None = None
    """Until it is full, at the rate of the last minutes; null if it does not grow."""
    disk_free_bytes: int | None = None
    path: str | None = None


class ErrorState(msgspec.Struct):
    """The last attempt that did not deliver; `status` is null if there was no answer."""

    at: datetime
    status: int | None
    detail: str


class DestinationState(msgspec.Struct, kw_only=True):
    """One destination: what it is doing, and its account. A command may ask a daemon that lacks the newest fields."""

    state: State
    accepted: int
    queued: int
    delivered: int
    dead: int
    dropped: int
    died: int = 0
    """How many ever became dead letters."""
    replayed: int = 0
    oldest_age_seconds: float | None
    attempts: int
    next_attempt_in_seconds: float | None
    last_success: datetime | None
    last_error: ErrorState | None
    set_aside: int
    reason: str | None
    next_step: str | None = None
    """What an operator can do about it, in words; null if nothing."""
    waiting_for: str | None = None
    certificate_expires: datetime | None = None
    """When the first of the certificates for the way to it ends; null where none is known."""
    since: datetime | None = None
    """Since when it has been working, failing or paused; null if that was so before the forwarder started."""
    rate_in: float | None = None
    """Events that are accepted for it each second, and that it takes, over the last minute; null at first."""
    rate_out: float | None = None
    sent_again: int = 0
    """Batches since the start that may have been taken, but were not answered: they were sent again."""
    drain_seconds: float | None = None
    """Until its backlog is delivered, as fast as it goes now; null if there is none, or it does not shrink."""
    full: bool = False
    """Whether producers are refused, or stopped, because its share of the queue is full."""


class WayState(msgspec.Struct):
    """What came in by one way, `http` or `stream`, since the start."""

    accepted: int
    refused: int
    """Requests over HTTP, lines over the stream."""
    bytes: int
    connections: int
    """Clients that are connected now."""


class ReloadState(msgspec.Struct):
    """A reload that was refused, so that the configuration in use is not the one in the file."""

    at: datetime
    problems: list[str]


class Warned(msgspec.Struct):
    """Something that an operator should look at, as long as it is so."""

    key: str
    """The key of its line in the log."""
    destination: str | None
    since: datetime
    detail: str
    hint: str
    """The next step; empty where there is none."""


class ConfigState(msgspec.Struct):
    """The file that the configuration in force was read from."""

    file: str
    loaded_at: datetime
    changed_on_disk: bool
    """Whether the file says something else than what is in force: nobody has read it, or it was refused."""


class Status(msgspec.Struct):
    """The whole answer. Times are RFC 3339 in UTC, durations are in seconds."""

    version: str
    uptime_seconds: float
    ready: bool
    queue: QueueState
    destinations: dict[str, DestinationState]
    reload_refused: ReloadState | None = None
    warnings: list[Warned] = []
    not_ready: str | None = None
    """Why events cannot be accepted just now."""
    config: ConfigState | None = None
    intake: dict[str, WayState] = {}


def _nothing_known(_name: str) -> Pace:
    return Pace()


def build_status(
    stats: QueueStats,
    pumps: Mapping[str, DestinationStatus],
    *,
    version: str,
    uptime: float,
    not_ready: str | None,
    now: float,
    pace: Callable[[str], Pace] = _nothing_known,
    refused: Refusal | None = None,
    conditions: Iterable[Condition] = (),
    config: ConfigOnDisk | None = None,
    full: Mapping[str | None, Full] = MappingProxyType({}),
    full_in_seconds: float | None = None,
    intake: Mapping[str, WayState] = MappingProxyType({}),
) -> Status:
    """Combine what the queue and the pumps know; `uptime` is in seconds, `now` in seconds since the epoch.

    `pace` returns how fast the events of a destination come and go, `full` are the destinations whose share is full, or
    None for the queue.

    A destination that no longer has a pump, but still holds events or dead letters, has the state `removed`. The
    account of `invalid` events is listed among the destinations once there has been one.
    """
    names = [*pumps, *(name for name in stats.destinations if name not in pumps and _keeps(stats.destinations[name]))]
    names += [INVALID] if INVALID not in names and stats.destinations.get(INVALID, Counters()).accepted else []
    destinations = {}
    for name in names:
        pump = pumps.get(name, DestinationStatus(State.INVALID if name == INVALID else State.REMOVED))
        found = _destination(name, stats.destinations.get(name, Counters()), pump, pace(name), now)
        found.full = name in full
        destinations[name] = found
    return Status(
        version=version,
        uptime_seconds=round(uptime, 3),
        ready=not_ready is None,
        queue=_queue(stats, full.get(None), full_in_seconds),
        destinations=destinations,
        reload_refused=None if refused is None else ReloadState(utc(refused.at), list(refused.problems)),
        warnings=[_warned(condition) for condition in conditions],
        not_ready=not_ready,
        config=None if config is None else ConfigState(config.name, utc(config.loaded_at), config.is_changed),
        intake=dict(intake),
    )


def _queue(stats: QueueStats, full: Full | None, full_in_seconds: float | None) -> QueueState:
    return QueueState(
        backend=stats.backend,
        # While it is full, nobody can make use of what is left.
        bytes=stats.bytes if full is None else stats.max_bytes,
        max_bytes=stats.max_bytes,
        full=full is not None,
        full_since=None if full is None else utc(full.since),
        refused_while_full=0 if full is None else full.refused + full.stopped,
        full_in_seconds=_rounded(full_in_seconds) if full is None else 0.0,
        disk_free_bytes=stats.disk_free_bytes,
        path=stats.path,
    )


def _keeps(counters: Counters) -> bool:
    return counters.queued > 0 or counters.dead > 0


def _destination(name: str, counters: Counters, pump: DestinationStatus, pace: Pace, now: float) -> DestinationState:
    oldest = counters.oldest_accepted_at
    # The wall clock may have been set back since then, and a damaged file may contain any number.
    age = None if oldest is None else round(max(0.0, now - max(0.0, oldest)), 3)
    advice = advise(name, pump, counters, pace, age)
    return DestinationState(
        state=pump.state,
        accepted=counters.accepted,
        queued=counters.queued,
        delivered=counters.delivered,
        dead=counters.dead,
        dropped=counters.dropped,
        died=counters.died,
        replayed=counters.replayed,
        oldest_age_seconds=age,
        attempts=pump.attempts,
        next_attempt_in_seconds=_rounded(pump.next_attempt_in_seconds),
        last_success=None if pump.last_success is None else utc(pump.last_success),
        last_error=None if pump.last_error is None else _error(pump.last_error),
        set_aside=pump.set_aside,
        reason=advice.reason,
        waiting_for=pump.waiting_for,
        certificate_expires=None if pump.certificate_ends is None else utc(pump.certificate_ends),
        since=None if pump.since is None else utc(pump.since),
        rate_in=_rounded(pace.rate_in),
        rate_out=_rounded(pace.rate_out),
        # What was delivered in the last half minute says nothing while nothing is delivered.
        drain_seconds=_rounded(pace.drain_seconds) if pump.state in _WORKS and not pump.attempts else None,
        next_step=advice.next_step,
        sent_again=pump.sent_again,
    )


def _warned(condition: Condition) -> Warned:
    key, destination, since, detail = condition
    return Warned(key, destination, utc(since), detail, LINES[key].hint)


def _error(error: LastError) -> ErrorState:
    return ErrorState(utc(error.at), error.status, error.detail)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(max(0.0, seconds), 3)


def utc(seconds: float) -> datetime:
    """Return seconds since the epoch as a time in UTC, which msgspec writes as RFC 3339.

    A damaged file may contain any number, so times before 1970 or after 9999 become the nearest possible one.
    """
    return datetime.fromtimestamp(min(max(0.0, seconds), _LAST), UTC)
