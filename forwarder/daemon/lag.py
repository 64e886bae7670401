"""How late the event loop is: the longest delay of the last minute.

Everything but the disk's work and the signatures runs on the loop, so whatever holds it holds all of that.
"""

from __future__ import annotations

import asyncio
from collections import deque

# Seconds between two looks, and for how long a delay is remembered.
_EVERY = 0.5
_KEPT = 60.0


class LoopLag:
    """Measures the loop on which it runs."""

    def __init__(self) -> None:
        # When each delay was met, by the loop's clock. A delay that is followed by a longer one is not kept, so the
        # first is always the longest.
        self._delays: deque[tuple[float, float]] = deque()

    @property
    def seconds(self) -> float:
        """The longest delay of the last minute."""
        return self._delays[0][1] if self._delays else 0.0

    async def run(self) -> None:
        """Measure until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _EVERY
            await asyncio.sleep(_EVERY)
            self.note(loop.time(), loop.time() - due)

    def note(self, now: float, delay: float) -> None:
        """Remember a delay in seconds that was met at a time of the loop's clock."""
        while self._delays and self._delays[-1][1] <= delay:
            self._delays.pop()
        self._delays.append((now, max(0.0, delay)))
        while self._delays[0][0] < now - _KEPT:
            self._delays.popleft()
