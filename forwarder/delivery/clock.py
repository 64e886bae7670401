"""How old events are, for `give_up_after`, whatever the wall clock does.

Events are stamped with the wall clock, which jumps; the monotonic clock does not, but means nothing
after a restart. So it is remembered how far the wall clock was ahead of the monotonic one, and until when.
What is younger than `give_up_after` was stamped in that time, with one of the leads that held in it;
counted from the smallest of them, nothing looks older than it is. After a jump events may look
younger than they are, and are given up later: by as much as the clock jumped, for as long as
`give_up_after`, or until a clock that was set back has caught up with the stamps of before.

Stamps from before the start are compared with the clock as it is then: nobody knows better. A jump
and its reverse between two looks at the clock go unnoticed; it is looked at with each failed attempt.
"""

from __future__ import annotations

from collections import deque

# Differences in seconds that are no jump: the two clocks are not read in one moment.
_SAME = 1.0
# Jumps that are remembered. A clock that jumps more often than this in `give_up_after` cannot be told the age by.
_MOST = 1000


class Clock:
    """What is known of the wall clock; one for the whole process, since it outlives a reload."""

    def __init__(self) -> None:
        # The lead of the wall clock, and the monotonic time until which it held. The last one still holds.
        self._leads: deque[tuple[float, float]] = deque(maxlen=_MOST)

    def observe(self, wall: float, monotonic: float) -> None:
        """Look at the clocks: seconds since the epoch, and on the monotonic clock."""
        lead = wall - monotonic
        if self._leads and abs(lead - self._leads[-1][0]) < _SAME:
            lead = min(lead, self._leads.pop()[0])
        elif self._leads:
            # It held until it was seen that it does no more: longer than it did, never shorter.
            self._leads[-1] = (self._leads[-1][0], monotonic)
        self._leads.append((lead, monotonic))

    def accepted_before(self, age: float, monotonic: float) -> float:
        """Return the stamp, in seconds since the epoch, below which everything is at least so many seconds old."""
        *earlier, (latest, _now) = self._leads
        held = [lead for lead, until in earlier if until >= monotonic - age]
        return min([latest, *held]) + monotonic - age
