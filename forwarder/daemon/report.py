"""What the service manager is told: readiness, reloads, that the daemon lives, and a line about its state.

The watchdog is fed only after the queue has answered, whatever it answered: a daemon whose queue
does not answer at all is stuck and is to be started again, while one that says that its disk is
full or fails would not be helped by that. `systemctl status` shows the line.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from forwarder.errors import ForwarderError
from forwarder.queue.base import Queue
from forwarder.systemd import Notifier

# Seconds between two looks at the state; with a watchdog at least two before it bites.
_STATUS_SECONDS = 10.0
# The longest line, in characters: with too many mistakes in it a message would not fit into its datagram.
_MAX_LINE = 1000


class Report:
    """Tells the service manager about one daemon; `listening` returns its addresses, for people."""

    def __init__(self, notifier: Notifier, queue: Queue, listening: Callable[[], str]) -> None:
        self._notifier = notifier
        self._queue = queue
        self._listening = listening
        self._refused: str | None = None

    def ready(self) -> None:
        """Tell that events are taken from now on."""
        self._notifier.send("READY=1", self._status(f"Listening at {self._listening()}"))

    def reloading(self) -> None:
        """Tell that a reload has begun."""
        # sd_notify(3) wants the time of the request, so that an older READY=1 is not taken for the answer.
        usec = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._notifier.send("RELOADING=1", f"MONOTONIC_USEC={usec}")

    def reloaded(self, refused: str | None) -> None:
        """Tell how a reload ended; why it was `refused` stays in the line until another one is not."""
        self._refused = refused
        self.ready()

    def stopping(self) -> None:
        """Tell that the daemon is about to end."""
        self._notifier.send("STOPPING=1", "STATUS=Delivering what waits")

    async def run(self) -> None:
        """Feed the watchdog and renew the line until cancelled."""
        watchdog = self._notifier.watchdog_seconds
        every = min(_STATUS_SECONDS, watchdog / 2) if watchdog else _STATUS_SECONDS
        while True:
            await asyncio.sleep(every)
            self._notifier.send("WATCHDOG=1", self._status(await self._state()))

    async def _state(self) -> str:
        """Return what is queued and what is wrong, once the queue has answered."""
        try:
            stats = await self._queue.stats()
        except ForwarderError as error:
            return error.message
        queued = sum(found.queued for found in stats.destinations.values())
        return f"{queued:,} events queued; {self._queue.trouble() or f'listening at {self._listening()}'}"

    def _status(self, words: str) -> str:
        if self._refused is not None:
            words = f"{words} (the last reload was refused: {self._refused})"
        # A line feed would begin another assignment.
        return f"STATUS={' '.join(words.split())[:_MAX_LINE]}"
