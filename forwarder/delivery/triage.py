"""What to send next where a destination does not take everything: in its turn, farther back, or nothing for a while.

This is decided one request after the other, with nothing else under way but questions about what is
set aside. What comes next in the queue is sent in parts: half of what was refused, an eighth of what
failed, twice of what was taken; so a bad event stands alone after a few requests, a run of them
costs a request each, and full batches are soon sent again, which ends it.

So many requests may be refused in a row, the *budget*. The last of them are *probes*: single events
ever farther back, up to the newest. If one is taken, the events in front of it are bad and not the
destination, and twice as many may be refused before the next probes. If none is, the destination is
*held*. After each wait what is doubted goes back to its place, and the oldest event is tried first, so a
destination that was mended gets everything in order; then probes. What comes to the queue meanwhile is
tried at once, a few times a wait, again with the oldest one before it.

An event that *failed* alone is followed at once by another one. If that is taken, the first one is
set aside; if it fails, too, nobody is to blame for it but the destination: both go back to their places,
and after the back-off the next pair is tried, with the other one from ever farther back.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from forwarder.delivery.suspects import Suspects
from forwarder.model import Batch

# Requests that may be refused in a row, and the most that it may come to while probes are taken.
_BUDGET = 20
_MOST_BUDGET = 4096
# Of these, the probes. While the destination is held, all but the first two are.
_PROBES = 8
_IN_ORDER_WHILE_HELD = 2
# Requests for what comes to the queue while the destination is held, in each wait.
_NEWEST = 4
# Into how many parts is cut what failed; halves would take ten waits to find one in a thousand.
_PARTS = 8
# Batches that were refused as a whole, of which it is seen whether they are taken in parts.
_TOGETHER = 16
# Farther back than any event is.
_NEWEST_POSITION = 1 << 60


@dataclass(frozen=True, slots=True)
class InTurn:
    """Send the oldest events, so many at most."""

    events: int


@dataclass(frozen=True, slots=True)
class Probe:
    """Send one event out of its turn: the first at or behind a position, or the newest."""

    position: int


class Nothing(enum.Enum):
    """Send nothing of what waits."""

    HOLD = enum.auto()
    """As nothing is taken: wait."""
    DONE = enum.auto()
    """There is no trouble left that this is about."""


Step = InTurn | Probe | Nothing


class Triage:
    """The state of one destination that does not take everything; `suspects` keeps what was refused or failed alone."""

    def __init__(self, suspects: Suspects) -> None:
        self._suspects = suspects
        self.is_needed = False
        """Whether what waits is to be sent as this says."""
        self.is_held = False
        self.holds = 0
        """How often it was held in a row."""
        self.is_general = False
        """Whether it is known that nothing is taken, wherever it stands in the queue."""
        self._size = 1
        self._is_clean = False
        self._asked = 0
        self._turns = 0
        self._budget = _BUDGET
        self._front = 0
        self._probes = 0
        self._beacon = 0
        self._newest_asked = 0
        # Of what was refused together: the position of the last event, how many there were, and their bytes.
        self._together: list[tuple[int, int, int]] = []
        self._in_pair = False
        self._reach = 0

    def begin(self, events: int, *, failed: bool) -> None:
        """Take note of a batch of so many events that was refused, or that went on failing."""
        self.is_needed = True
        self._size = max(1, events // (_PARTS if failed else 2))
        self._is_clean = False
        self._asked = self._turns = 0 if failed else 1

    def next(self, waiting: int, most: int, random: float) -> Step:
        """Return what to do now: so many events wait, and a batch may have `most`. `random` is from 0 to 1."""
        doubted = bool(self._suspects.doubted)
        if not waiting:
            return Nothing.HOLD if doubted else self._done()
        if self._in_pair:
            return Probe(self._front + self._reach)
        if self._is_clean and self._size >= most and not doubted:
            return self._done()
        if self._asked >= self._budget:
            return Nothing.HOLD
        if self._turns < self._in_order:
            return InTurn(min(self._size, most))
        return Probe(self._farther(random))

    @property
    def _in_order(self) -> int:
        if self._suspects.is_full:
            # Those have to be cleared up first: all that is needed is that something else is taken.
            return 0
        return _IN_ORDER_WHILE_HELD if self.is_held else self._budget - _PROBES

    def _farther(self, random: float) -> int:
        """Return where the next probe is: about twice as far back as the one before."""
        self._probes += 1
        if self._asked == self._budget - 1:
            return _NEWEST_POSITION
        start = max(self._front, self._beacon)
        # Where several rounds have found nothing, the steps are longer.
        steps = (self._probes - 1) * (1.0 + self.holds / 4)
        return start + int(2.0 ** min(40.0, steps + random))

    def _done(self) -> Nothing:
        self.is_needed = self.is_held = False
        self.holds = 0
        self._budget = _BUDGET
        return Nothing.DONE

    # --- what came of it ------------------------------------------------------------------------

    def taken(self, part: Batch, *, is_probe: bool) -> tuple[int, int] | None:
        """Take note that something was taken.

        Return events and bytes of what had been refused together, and has all been taken in parts by now.
        """
        all_taken = None
        if is_probe:
            self._beacon = max(self._beacon, part.position + 1)
            if self._asked >= self._budget // 2:
                self._budget = min(self._budget * 2, _MOST_BUDGET)
        else:
            if self._asked < _BUDGET // 2:
                self._budget = max(_BUDGET, self._budget // 2)
            self._is_clean = True
            self._size = max(self._size, part.events) * 2
            covered = [one for one in self._together if one[0] <= part.runs[-1][1]]
            if covered:
                all_taken = min(one[1:] for one in covered)
                self._together = [one for one in self._together if one not in covered]
        self._asked = self._turns = self._probes = self._newest_asked = self._reach = self.holds = 0
        self.is_held = self.is_general = self._in_pair = False
        return all_taken

    def explained(self) -> None:
        """Forget what was refused together: there is another reason than its size, or the destination."""
        self._together.clear()

    def refused(self, part: Batch, *, is_probe: bool, by_size: bool = False) -> bool:
        """Take note of a refusal; return whether the event, which was alone, is to be doubted.

        `by_size` says that it speaks of the size of what was sent.
        """
        self._asked += 1
        self._is_clean = self._in_pair = False
        if not is_probe:
            self._turns += 1
            self._front = part.position
        if part.events > 1:
            self._size = part.events // 2
            if not by_size:
                refused = (part.runs[-1][1], part.events, len(part.data) + 1)
                self._together = [*self._together[1 - _TOGETHER :], refused]
            return False
        self._size = 1
        self.explained()
        return not self._suspects.is_full

    def failed(self, part: Batch, waiting: int) -> bool:
        """Take note of a failure; return whether to send something else at once, as this one is doubted."""
        self.explained()
        self._is_clean = False
        if part.events > 1:
            self._size = max(1, part.events // _PARTS)
            return False
        self._size = 1
        if self._in_pair or not waiting:
            # There are two that failed, or nothing to compare with.
            if self._in_pair:
                self._reach = self._reach * 2 or 1
            self.is_general = self.is_general or not waiting
            self._in_pair = False
            return False
        self._in_pair = True
        self._front = part.position
        return True

    def reached(self, asked: int, position: int | None) -> None:
        """Take note of where a probe at a position found an event: in front of it where none is behind, or nowhere."""
        if position is None:
            self._asked += 1
        if self._in_pair and (position is None or position < asked):
            self.is_general = True
            self._reach = 0
            self._in_pair = position is not None

    def hold(self) -> None:
        """Take note that nothing is taken."""
        self.explained()
        self.holds += 1
        self.is_held = self.is_general = True
        self._asked = self._turns = self._probes = self._newest_asked = 0
        self._budget = _BUDGET
        self._is_clean = self._in_pair = False
        self._size = 1

    def newest(self) -> Probe | None:
        """Return how to try what has come to the queue while the destination is held, unless that was done enough."""
        if self._newest_asked >= _NEWEST or self._asked >= self._budget:
            return None
        self._newest_asked += 1
        # The oldest one is tried first.
        self._asked += 1
        return Probe(_NEWEST_POSITION)
