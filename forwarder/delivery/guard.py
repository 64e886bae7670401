"""The guard against rejecting everything.

A destination that refuses one event is right about that event. One that refuses event after event,
with nothing delivered in between, has a wrong URL, or does not take our signature: then the fault
is not the events', and they must not all become dead letters.

So the first `limit` single events in a row that are refused are buried. The next one is a reason
to hold. After each wait the guard lets a growing number of suspects be tried, without burying
them: if anything behind them is delivered, they are tried once more, and what is refused again was
bad after all, and is buried; if nothing is, none of them is, and the destination is held again.
"""

from __future__ import annotations

import enum

# Single rejections in a row that are believed.
LIMIT = 10
# More suspects than can be tried in one go.
_MOST_SUSPECTS = 1 << 20


class Verdict(enum.Enum):
    """What to do with a single event that was rejected."""

    BURY = enum.auto()
    SUSPECT = enum.auto()
    HOLD = enum.auto()


class Guard:
    """Counts what is rejected in a row at one destination."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._in_a_row = 0
        self._suspects = 0
        self.budget = 0
        """How many suspects may be tried after this wait; 0 while there is no suspicion."""

    def rejected(self) -> Verdict:
        """Take note of a rejected single event."""
        self._in_a_row += 1
        if self._in_a_row <= self._limit:
            return Verdict.BURY
        self._suspects += 1
        return Verdict.HOLD if self._suspects > self.budget else Verdict.SUSPECT

    def held(self) -> None:
        """Take note that the destination is held: the next try may have more suspects."""
        self.budget = min(max(self._limit, self.budget * 2), _MOST_SUSPECTS)
        self._suspects = 0

    def delivered(self) -> None:
        """Take note of a delivery, or of an operator who says that the fault is mended."""
        self._in_a_row = self.budget = self._suspects = 0
