"""When something that grows will be full, if it goes on growing as it does now.

One burst is no trend. So two rates have to agree: that of the last minutes, by which a burst hardly counts, and that of
the last half minute, which is nothing once a burst is over. The slower of them decides. Both are slopes of a line
through all readings, since what is filled and emptied by turns goes up and down between any two of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from statistics import linear_regression
from typing import Final

# Seconds: what is looked back on, and the part of it that is "now".
_WINDOW: Final = 300.0
_RECENT: Final = 30.0
# Seconds between two readings that are kept: a slope needs no more of them.
_STEP: Final = 4.0
# Full within the hour is soon. It is over where that is twice as far away, so that it does not come and go.
_SOON: Final = 3600.0
_NOT_SOON: Final = 2 * _SOON


class Forecast:
    """The readings of one thing over the last minutes; `now` is in monotonic seconds.

    From those of fewer than `least` seconds nothing is told.
    """

    def __init__(self, least: float) -> None:
        self._least = least
        self._readings: deque[tuple[float, float]] = deque()
        self.is_soon = False
        """Whether it is full within the hour, as the last reading showed."""
        self.seconds: float | None = None
        """Until it is full; None where it does not grow."""

    def see(self, now: float, room: float) -> None:
        """Take note of how much room is left."""
        readings = self._readings
        if not readings or now >= readings[-1][0] + _STEP:
            readings.append((now, room))
        while readings[0][0] < now - _WINDOW:
            readings.popleft()
        if now - readings[0][0] < self._least:
            return
        long = _seconds(readings, room)
        short = _seconds([reading for reading in readings if reading[0] >= now - _RECENT], room)
        self.seconds = None if long is None or short is None else max(long, short)
        if self.seconds is not None and self.seconds <= _SOON:
            self.is_soon = True
        elif long is None or long > _NOT_SOON:
            self.is_soon = False


def _seconds(readings: Sequence[tuple[float, float]], room: float) -> float | None:
    """Return how long the room lasts at the rate of these readings; None where it does not shrink."""
    times, rooms = zip(*readings, strict=True)
    slope = linear_regression(times, rooms).slope if len(readings) > 1 else 0.0
    return room / -slope if slope < 0 else None
