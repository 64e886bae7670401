"""Wake whoever waits for events, or for space, when a snapshot shows that something has come."""

from __future__ import annotations

import asyncio

from forwarder.model import Limits
from forwarder.queue.sqlite.executor import Snapshot
from forwarder.waiting import wait_at_most


class WakeUps:
    """What is waited for: by one taker for each destination, and by any number of producers."""

    def __init__(self) -> None:
        self._changed: dict[str, asyncio.Event] = {}
        self._enough: dict[str, Limits] = {}
        self._space = asyncio.Event()

    def see(self, before: Snapshot, now: Snapshot) -> None:
        """Take note of a new snapshot."""
        if now.live_bytes < before.live_bytes:
            self._space.set()
            self._space = asyncio.Event()
        for name, event in self._changed.items():
            found, known = now.pending.get(name), before.pending.get(name)
            if found == known:
                continue
            enough = self._enough.get(name)
            # Whatever comes to an empty queue is worth waking up for, and what fills a batch.
            if not known or not known.events or not found or not enough or found.fills(enough):
                event.set()

    def wake(self, destination: str) -> None:
        """Make `wait` return, now or the next time it is called."""
        self._changed.setdefault(destination, asyncio.Event()).set()

    async def wait(self, destination: str, timeout: float | None, enough: Limits | None) -> None:
        """Return when events came to an empty queue, or there are `enough`, or after `timeout` seconds."""
        event = self._changed.setdefault(destination, asyncio.Event())
        if enough is None:
            self._enough.pop(destination, None)
        else:
            self._enough[destination] = enough
        await wait_at_most(timeout, event)
        event.clear()

    async def wait_space(self, timeout: float) -> None:
        """Return when space may have become free, or after `timeout` seconds."""
        await wait_at_most(timeout, self._space)
