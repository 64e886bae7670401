"""The moment in which a queue closes, and pauses that end with it."""

from __future__ import annotations

import asyncio

from forwarder.waiting import wait_at_most

# Seconds between attempts to write to a storage that fails, and between looks at whether the file is in its place.
RETRY_SECONDS = 1.0


class Closing:
    """Is set once, when the queue closes; every pause ends then."""

    def __init__(self, retry_seconds: float = RETRY_SECONDS) -> None:
        self._retry_seconds = retry_seconds
        self._event = asyncio.Event()
        self.is_set = self._event.is_set
        self.set = self._event.set

    async def pause(self) -> None:
        """Wait until it is time to try again, or the queue closes."""
        await wait_at_most(self._retry_seconds, self._event)
