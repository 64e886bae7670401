"""What a destination does to requests, by chance: a table of faults, and how often each comes."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from random import Random


class Fault(enum.Enum):
    """What is done to one request."""

    NONE = enum.auto()
    UNAVAILABLE = enum.auto()
    """500, 502, 503 or 504; nothing is stored."""
    TOO_MANY = enum.auto()
    """429 with a Retry-After: seconds, a date, or nonsense."""
    TOO_LARGE = enum.auto()
    """413, unless it is a single event."""
    CUT_HEAD = enum.auto()
    """The connection is closed before the body is read."""
    CUT_BODY = enum.auto()
    """The connection is closed after the body was read; nothing is stored."""
    CUT_ANSWER = enum.auto()
    """Stored; the connection is closed within the head of the answer, or before it."""
    CUT_AFTER_HEAD = enum.auto()
    """Stored, and answered 200; the connection is closed within the answer's body."""
    SLOW = enum.auto()
    """Stored, and answered in time, but late."""
    SILENT = enum.auto()
    """Nothing is stored, and nothing answered, for as long as the connection is open."""
    SILENT_STORED = enum.auto()
    """Stored, and never answered."""


# Shares of a thousand requests. A silent one costs a whole timeout.
_ROUGH = {
    Fault.UNAVAILABLE: 90,
    Fault.TOO_MANY: 40,
    Fault.TOO_LARGE: 25,
    Fault.CUT_HEAD: 25,
    Fault.CUT_BODY: 25,
    Fault.CUT_ANSWER: 30,
    Fault.CUT_AFTER_HEAD: 15,
    Fault.SLOW: 50,
    Fault.SILENT: 4,
    Fault.SILENT_STORED: 4,
}
WEATHER = {"calm": 0.2, "rough": 1.0, "storm": 2.2}
"""How much of the table happens."""


@dataclass(slots=True)
class Faults:
    """The faults of one destination; `scale` multiplies the table, `is_down` makes all of them 503."""

    chance: Random
    scale: float
    is_down: bool = False

    def next(self) -> Fault:
        """Return what to do to the next request."""
        if self.is_down:
            return Fault.UNAVAILABLE
        found = self.chance.random() * 1000
        for fault, share in _ROUGH.items():
            found -= share * self.scale
            if found < 0:
                return fault
        return Fault.NONE
