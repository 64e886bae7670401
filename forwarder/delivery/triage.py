"""Decide what to send next to a destination that does not take everything: the oldest, one farther back, or nothing.

The question behind all of it is whose fault a refusal is: that of one event, or of a destination that takes
nothing just now. One answer cannot tell; comparing events does.

Requests go out one at a time, with nothing else under way but questions about what is set aside. The
oldest events are sent in parts. A part has half the size after a refusal, an eighth after a failure, and
twice the size after a success. So one bad event stands alone after a few requests, a run of bad events
costs one request each, and full batches are sent again soon, which ends the triage.

Only so many requests may be refused in a row: the *budget*. The last of them are *probes*, single events
from ever farther back, the very last being the newest one. If a probe is taken, the destination works
and the events in front are bad; twice as many may be refused before the next probes. If no
probe is taken, the destination is *held*. After each wait everything doubted returns to its place, the oldest
event is tried first (a destination that was mended then gets everything in order), and after it probes. An
event that comes to the queue during a wait is tried at once, a few times a wait, and only after the
oldest has been refused once more, so that the new one does not overtake it for nothing.

An event that *failed* alone (5xx, no answer in time) is compared at once with another. If the other is
taken, the first is set aside. If both fail, the destination is to blame: both return to their
places, and after the back-off the oldest is compared with one from farther back, as neighbours may be bad alike.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from forwarder.delivery.suspects import Suspects
from forwarder.model import Batch

# Requests that may be refused in a row, and what that number may grow to while probes are taken.
_BUDGET = 20
_MOST_BUDGET = 4096
# How many of these are probes. While the destination is held, all but the first two are.
_PROBES = 8
_IN_ORDER_WHILE_HELD = 2
# Events that are tried as they come to the queue, in each wait of a destination that is held.
_NEWEST = 4
# A batch that failed is cut into so many parts. Each failure costs a wait: halves would need ten to find one event
# in a thousand.
_PARTS = 8
# Refused batches that are remembered, to see whether they are taken in parts: then they were only too large.
_TOGETHER = 16
# A position behind every event: a probe from there finds the newest one.
_NEWEST_POSITION = 1 << 60


@dataclass(frozen=True, slots=True)
class InTurn:
    """Send the oldest events, so many at most."""

    events: int


@dataclass(frozen=True, slots=True)
class Probe:
    """Send one event ahead of its turn: the first at or behind a position, or the newest where none is behind."""

    position: int


class Nothing(enum.Enum):
    """Send nothing that waits in the queue."""

    HOLD = enum.auto()
    """Nothing is taken: hold the destination."""
    DONE = enum.auto()
    """The trouble is over: go back to full batches."""


Step = InTurn | Probe | Nothing


class Triage:
    """The state of one destination that does not take everything; `suspects` keeps what was refused or failed alone."""

    def __init__(self, suspects: Suspects) -> None:
        self._suspects = suspects
        self.is_needed = False
        """Whether the triage says what to send, in place of full batches."""
        self.is_held = False
        self.holds = 0
        """How often the destination was held in a row."""
        self.is_general = False
        """Whether events from all over the queue were tried and none was taken."""
        self._size = 1
        self._is_clean = False
        self._asked = 0
        self._turns = 0
        self._budget = _BUDGET
        self._front = 0
        self._probes = 0
        self._beacon = 0
        self._newest_asked = 0
        # Batches that were refused as a whole: the position behind the last event, the number of events, the bytes.
        self._together: list[tuple[int, int, int]] = []
        self._in_pair = False
        self._reach = 0

    def begin(self, events: int, *, failed: bool) -> None:
        """Begin with a batch of so many events that was refused, or that went on failing."""
        self.is_needed = True
        self._size = max(1, events // (_PARTS if failed else 2))
        self._is_clean = False
        self._asked = self._turns = 0 if failed else 1

    def next(self, waiting: int, most: int, random: float) -> Step:
        """Return what to do now, while so many events wait and a batch may have `most`. `random` is from 0 to 1."""
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
            # Nothing more can be set aside: go straight to probes, as one success is what clears up those that are.
            return 0
        return _IN_ORDER_WHILE_HELD if self.is_held else self._budget - _PROBES

    def _farther(self, random: float) -> int:
        """Return the position of the next probe: about twice as far back as the one before."""
        self._probes += 1
        if self._asked == self._budget - 1:
            return _NEWEST_POSITION
        start = max(self._front, self._beacon)
        # The longer nothing is found, the longer the steps: a run of bad events may have any length.
        steps = (self._probes - 1) * (1.0 + self.holds / 4)
        return start + int(2.0 ** min(40.0, steps + random))

    def _done(self) -> Nothing:
        self.is_needed = self.is_held = False
        self.holds = 0
        self._budget = _BUDGET
        return Nothing.DONE

    # --- what came of it ------------------------------------------------------------------------

    def taken(self, part: Batch, *, is_probe: bool) -> tuple[int, int] | None:
        """Note that a part was taken.

        Return the events and bytes of the smallest batch that was refused as a whole and has now been taken in parts.
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
        """Forget the batches that were refused as a whole: something else than their size was the reason."""
        self._together.clear()

    def refused(self, part: Batch, *, is_probe: bool, by_size: bool = False) -> bool:
        """Note a refusal; return whether it was a single event, which is to be doubted now.

        `by_size` says that the destination called the part too large.
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
        """Note a failure; return whether it is to be doubted and compared with another event at once."""
        self.explained()
        self._is_clean = False
        if part.events > 1:
            self._size = max(1, part.events // _PARTS)
            return False
        self._size = 1
        if self._in_pair or not waiting:
            # Both of a pair failed, or there is nothing to compare with.
            if self._in_pair:
                self._reach = self._reach * 2 or 1
            self.is_general = self.is_general or not waiting
            self._in_pair = False
            return False
        self._in_pair = True
        self._front = part.position
        return True

    def reached(self, asked: int, position: int | None) -> None:
        """Note where the queue found an event for a probe: at or behind the position asked, before it, or nowhere."""
        if position is None:
            self._asked += 1
        if self._in_pair and (position is None or position < asked):
            self.is_general = True
            self._reach = 0
            self._in_pair = position is not None

    def hold(self) -> None:
        """Note that the destination is held now: start again with the oldest event after the wait."""
        self.explained()
        self.holds += 1
        self.is_held = self.is_general = True
        self._asked = self._turns = self._probes = self._newest_asked = 0
        self._budget = _BUDGET
        self._is_clean = self._in_pair = False
        self._size = 1

    def newest(self) -> Probe | None:
        """Return the probe for an event that came while the destination is held, or None after enough in a wait."""
        if self._newest_asked >= _NEWEST or self._asked >= self._budget:
            return None
        self._newest_asked += 1
        # One more request is spent on the oldest event, which is tried before the probe.
        self._asked += 1
        return Probe(_NEWEST_POSITION)
