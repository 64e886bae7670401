"""How old events are, for `give_up_after`, even if the wall clock jumps.

Events are stamped with the wall clock, which may jump. The monotonic clock does not, but means nothing
after a restart. So this remembers by how much the wall clock was ahead of the monotonic one, its *lead*, and
until when. An event younger than `give_up_after` was stamped with one of the leads of that time. Counted
from the smallest of these leads no event looks older than it is, so none is given up too early. After a
jump, events may look younger than they are and be given up later: by as much as the clock jumped, for as long as
`give_up_after`, or until a clock that was set back has caught up with the earlier stamps.

Stamps from before the start are compared with the wall clock at the start, as nothing better is known. A jump
that is undone between two looks at the clock goes unnoticed; there is a look with each failed attempt.
"""

from __future__ import annotations

from collections import deque

# A difference of fewer seconds is no jump: the two clocks are not read at the same instant.
_SAME = 1.0
# Jumps that are remembered. A clock that jumps more often in `give_up_after` is of no use for telling an age.
_MOST = 1000


class Clock:
    """What is known of the wall clock; the process has one, as what it has seen must outlive a reload."""

    def __init__(self) -> None:
        # The lead of the wall clock, and the monotonic time until which it held. The last one still holds.
        self._leads: deque[tuple[float, float]] = deque(maxlen=_MOST)

    def observe(self, wall: float, monotonic: float) -> None:
        """Note what both clocks show: seconds since the epoch, and seconds of the monotonic clock."""
        lead = wall - monotonic
        if self._leads and abs(lead - self._leads[-1][0]) < _SAME:
            lead = min(lead, self._leads.pop()[0])
        elif self._leads:
            # When exactly the old lead ended is unknown. Until now is too long, which is safe; shorter would not be.
            self._leads[-1] = (self._leads[-1][0], monotonic)
        self._leads.append((lead, monotonic))

    def accepted_before(self, age: float, monotonic: float) -> float:
        """Return the stamp, in seconds since the epoch, below which everything is at least so many seconds old."""
        *earlier, (latest, _now) = self._leads
        held = [lead for lead, until in earlier if until >= monotonic - age]
        return min([latest, *held]) + monotonic - age
