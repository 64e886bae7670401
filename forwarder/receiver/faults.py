"""Faults on demand: a script says what the receiver does to each request, and which requests it refuses.

A script is a list of entries, separated by commas. Its steps are used up in order, one a request. After
the last step every request is served (`ok`), or gets a random fault (`random`), or the steps start again
(`loop`). Rules apply all the time. Random choices come from a seed, so that a run can be repeated.
"""

from __future__ import annotations

import enum
import random
import re
from dataclasses import dataclass
from math import inf
from typing import Final, TypeVar

from forwarder.errors import FaultScriptError

N = TypeVar("N", int, float)

GRAMMAR: Final = """\
steps, one a request (each may be repeated: 503*3):
  ok               serve the request
  STATUS           answer this status: 503; a 2xx stores the events first
  STATUS:SECONDS   the same with a Retry-After: 429:2
  timeout          never answer; timeout:SECONDS closes the connection then
  slow:SECONDS     store at once, answer late
  cut              close the connection without reading the request
  cut-after-store  store, then close the connection without an answer
  garbage          answer with bytes that are not HTTP
  redirect         answer 302 to another path
after the steps:
  loop             start the steps again
  random:RATE:SEED pick a fault for this share of the requests: random:0.1:42
rules, at any time:
  max-events:N     413 for more than N events
  reject:TEXT      400 while an event has TEXT as its eventId or as any other string"""


class Action(enum.Enum):
    """What the receiver does to a request."""

    OK = "ok"
    STATUS = "status"
    TIMEOUT = "timeout"
    SLOW = "slow"
    CUT = "cut"
    CUT_AFTER_STORE = "cut-after-store"
    GARBAGE = "garbage"
    REDIRECT = "redirect"


@dataclass(frozen=True, slots=True)
class Fault:
    """One step. `seconds` is the Retry-After of a STATUS, else the wait; None means no header, or an endless wait."""

    action: Action
    status: int = 0
    seconds: float | None = None

    def __str__(self) -> str:
        name = str(self.status) if self.action is Action.STATUS else self.action.value
        return name if self.seconds is None else f"{name}:{self.seconds:g}"

    @property
    def stores(self) -> bool:
        """Whether the request is checked and its events are stored."""
        if self.action is Action.STATUS:
            return 200 <= self.status < 300
        return self.action in {Action.OK, Action.SLOW, Action.CUT_AFTER_STORE}


OK: Final = Fault(Action.OK)

# Typical behaviour of a destination in trouble, mild and severe, with waits short enough for a test.
_BY_CHANCE: Final = (
    Fault(Action.STATUS, 500),
    Fault(Action.STATUS, 503),
    Fault(Action.STATUS, 429, 1),
    Fault(Action.CUT),
    Fault(Action.CUT_AFTER_STORE),
    Fault(Action.SLOW, seconds=0.2),
)

_repeated = re.compile(r"(.*\S)\s*\*\s*([1-9]\d{0,8})").fullmatch
_PLAIN: Final = {
    action.value: Fault(action)
    for action in (Action.OK, Action.TIMEOUT, Action.CUT, Action.CUT_AFTER_STORE, Action.GARBAGE, Action.REDIRECT)
}


class Faults:
    """A script in use. It remembers its position; parse it again to start afresh."""

    def __init__(self) -> None:
        self.script = ""
        self.max_events: int | None = None
        self.rejects: list[str] = []
        self._steps: list[tuple[Fault, int]] = []
        self._loop = False
        self._rate = 0.0
        self._random = random.Random(0)  # noqa: S311 - repeatable chance is the point
        self._step = 0
        self._used = 0

    @classmethod
    def parse(cls, script: str) -> Faults:
        """Return the faults that a script describes; raises FaultScriptError."""
        faults = cls()
        faults.script = script.strip()
        for entry in filter(None, (part.strip() for part in faults.script.split(","))):
            faults._add(entry)
        if faults._loop and not faults._steps:
            raise FaultScriptError(f"faults {script!r}: loop has no steps to repeat", hint=GRAMMAR)
        if faults._loop and faults._rate:
            raise FaultScriptError(f"faults {script!r}: after the steps comes either loop or random", hint=GRAMMAR)
        return faults

    def next(self) -> Fault:
        """Return what to do to the next request."""
        if self._step == len(self._steps) and self._loop:
            self._step = 0
        if self._step < len(self._steps):
            fault, count = self._steps[self._step]
            self._used += 1
            if self._used == count:
                self._step, self._used = self._step + 1, 0
            return fault
        if self._rate and self._random.random() < self._rate:
            return self._random.choice(_BY_CHANCE)
        return OK

    def _add(self, entry: str) -> None:
        name, _, argument = entry.partition(":")
        try:
            match name:
                case "max-events":
                    self.max_events = _between(1, int(argument), inf)
                case "reject" if argument:
                    self.rejects.append(argument)
                case "random":
                    self._set_random(argument)
                case "loop" if entry == name:
                    self._loop = True
                case _:
                    repeated = _repeated(entry)
                    count = int(repeated[2]) if repeated else 1
                    self._steps.append((_step(repeated[1] if repeated else entry), count))
        except ValueError:
            raise FaultScriptError(f"faults: {entry!r} is not known", hint=GRAMMAR) from None

    def _set_random(self, argument: str) -> None:
        rate, _, seed = argument.partition(":")
        self._rate = float(rate)
        if not 0 < self._rate <= 1:
            raise ValueError
        self._random.seed(int(seed))


def _step(entry: str) -> Fault:
    """Return one step; raises ValueError."""
    if entry in _PLAIN:
        return _PLAIN[entry]
    name, colon, argument = entry.partition(":")
    if name in {"timeout", "slow"}:
        # A day is longer than any test.
        return Fault(Action(name), seconds=_between(0, float(argument), 86400))
    # Retry-After has whole seconds (RFC 9110 §10.2.3). Any number is allowed, because a client must cope even with a
    # year.
    return Fault(Action.STATUS, _between(200, int(name), 599), int(argument) if colon else None)


def _between(least: float, value: N, most: float) -> N:
    """Return a number that is within its bounds; raises ValueError for any other, and for nan."""
    if not least <= value <= most:
        raise ValueError
    return value
