"""What happened to each destination lately: how fast events come and go, and how that was over the last hour and day.

It is kept in memory, in fixed space for each destination, and begins anew with the process. Readings come every few
seconds; the hour is kept in steps of 10 s and the day in steps of 5 min. What is kept of a step are the totals at
its end. A reading hardly ever falls on the end of a step, so the total there is taken from the straight line between
the readings around it: steps of a steady stream are all alike, however the readings fall.

All times are monotonic seconds. A wall clock that is set moves no step, and no rate jumps.
"""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Final, NamedTuple

from forwarder.model import Counters, QueueStats


class Span(NamedTuple):
    """So many steps, of so many seconds each."""

    step: float
    steps: int


SPANS: Final[Mapping[str, Span]] = {"hour": Span(10.0, 360), "day": Span(300.0, 288)}
"""What can be asked for."""

# Seconds over which rates are told, and over which it is judged how fast a backlog shrinks: that is asked after an
# outage, when a whole minute would mostly hold the outage.
_RATE_SECONDS = 60.0
_DRAIN_SECONDS = 30.0
# What is delivered within so many seconds is no backlog, but what is under way: an estimate for it would be noise.
_UNDER_WAY_SECONDS = 5.0


class Pace(NamedTuple):
    """How fast events come and go; events per second, None as long as there is only one reading."""

    rate_in: float | None = None
    rate_out: float | None = None
    drain_seconds: float | None = None
    """Until the backlog is delivered, at the pace of the last half minute; None if there is none, or it grows."""


class Steps(NamedTuple):
    """What happened in each step, the oldest first."""

    accepted: list[int]
    delivered: list[int]
    queued: list[int]
    """What was queued at the end of the step."""


class Series(NamedTuple):
    """Whole steps of equal length, for each destination as many."""

    step_seconds: float
    age_seconds: float
    """How long ago the first step began."""
    destinations: dict[str, Steps]


class _Reading(NamedTuple):
    at: float
    accepted: int
    delivered: int
    queued: int


class History:
    """The readings of all destinations; one without an account is forgotten. `now` returns monotonic seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._destinations: dict[str, _Destination] = {}
        self._begin: float | None = None
        self._last = 0.0

    def look(self, stats: QueueStats | None) -> None:
        """Take a reading of the accounts of all destinations, in each round."""
        if stats is None:
            return
        now, accounts = self._now(), stats.destinations
        self._begin = now if self._begin is None else self._begin
        self._last = now
        self._destinations = {
            name: self._destinations.get(name) or _Destination(now, found) for name, found in accounts.items()
        }
        for name, destination in self._destinations.items():
            destination.note(_reading(now, accounts[name]))

    def pace(self, name: str) -> Pace:
        """Return how fast a destination's events come and go; nothing is known of one that was never read."""
        found = self._destinations.get(name)
        return Pace() if found is None else found.pace()

    def series(self, span: str) -> Series:
        """Return the last steps of an `hour` or a `day`, as far as they have been seen."""
        step, steps = SPANS[span]
        now = self._now()
        begin, last = (now, now) if self._begin is None else (self._begin, self._last)
        # The first step that was seen whole, and the one that is still going on.
        until = math.floor(last / step)
        first = min(until, max(math.ceil(begin / step), until - steps))
        return Series(
            step,
            max(0.0, now - first * step),
            {name: found.tracks[span].steps(first, until) for name, found in self._destinations.items()},
        )


def _reading(at: float, found: Counters) -> _Reading:
    return _Reading(at, found.accepted, found.delivered, found.queued)


class _Destination:
    """The last minute of one destination, reading by reading, and what is kept of an hour and a day."""

    def __init__(self, at: float, found: Counters) -> None:
        first = _reading(at, found)
        self._recent = deque([first])
        self.tracks = {name: _Track(span, first) for name, span in SPANS.items()}

    def note(self, reading: _Reading) -> None:
        recent = self._recent
        if reading.at <= recent[-1].at:
            return
        for track in self.tracks.values():
            track.note(recent[-1], reading)
        recent.append(reading)
        # The first is the last one that is at least a minute old.
        while recent[1].at <= reading.at - _RATE_SECONDS:
            recent.popleft()

    def pace(self) -> Pace:
        first, last = self._recent[0], self._recent[-1]
        seconds = last.at - first.at
        if seconds <= 0:
            return Pace()
        came, went = _passed(first, last)
        return Pace(came / seconds, went / seconds, self._drain(last))

    def _drain(self, last: _Reading) -> float | None:
        then = next((old for old in reversed(self._recent) if old.at <= last.at - _DRAIN_SECONDS), self._recent[0])
        seconds = last.at - then.at
        # A purge empties a queue, too, and a replay fills it; neither says how fast it is delivered.
        came, went = _passed(then, last)
        if went <= came or last.queued * seconds <= went * _UNDER_WAY_SECONDS:
            return None
        return last.queued * seconds / (went - came)


def _passed(before: _Reading, after: _Reading) -> tuple[int, int]:
    """Return how many events came and went; an account that was begun anew, as its file was damaged, tells nothing."""
    return max(0, after.accepted - before.accepted), max(0, after.delivered - before.delivered)


class _Track:
    """The totals of one destination at the ends of the last steps; each end has its place, by its number."""

    def __init__(self, span: Span, first: _Reading) -> None:
        self._step = span.step
        self._size = span.steps + 1
        # Before it was first read nothing had happened, as far as anybody knows.
        self._accepted, self._delivered, self._queued = (
            array("q", [total]) * self._size for total in (first.accepted, first.delivered, 0)
        )

    def note(self, before: _Reading, after: _Reading) -> None:
        """Put down the totals at the ends of all steps between two readings."""
        first, last = math.floor(before.at / self._step) + 1, math.floor(after.at / self._step)
        for end in range(max(first, last - self._size + 1), last + 1):
            share = (end * self._step - before.at) / (after.at - before.at)
            at = end % self._size
            self._accepted[at] = _between(before.accepted, after.accepted, share)
            self._delivered[at] = _between(before.delivered, after.delivered, share)
            self._queued[at] = _between(before.queued, after.queued, share)

    def steps(self, first: int, until: int) -> Steps:
        """Return the steps between the ends of these two numbers."""
        ends = [end % self._size for end in range(first, until + 1)]
        return Steps(
            _differences([self._accepted[at] for at in ends]),
            _differences([self._delivered[at] for at in ends]),
            [self._queued[at] for at in ends[1:]],
        )


def _between(before: int, after: int, share: float) -> int:
    return before + round((after - before) * share)


def _differences(totals: list[int]) -> list[int]:
    return [max(0, after - before) for before, after in pairwise(totals)]
