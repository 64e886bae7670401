"""Report to the service manager: readiness, reloads, signs of life, and a line about the daemon's state.

The watchdog is fed only after the queue has answered, whatever the answer. A daemon whose queue does not
answer at all is stuck and should be restarted, but a restart would not help one whose disk is full or
failing. `systemctl status` shows the line.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from forwarder.errors import ForwarderError
from forwarder.queue.base import Queue
from forwarder.systemd import Notifier

# Seconds between two reports; if there is a watchdog, at least two are sent within its time.
_STATUS_SECONDS = 4.0
# The longest line, in characters: one that lists very many mistakes would not fit into a datagram.
_MAX_LINE = 1000


class Report:
    """Reports on one daemon to the service manager.

    `wrong` returns what an operator should know before all else, or None, and `listening` its addresses, both in words.
    """

    def __init__(
        self, notifier: Notifier, queue: Queue, wrong: Callable[[], str | None], listening: Callable[[], str]
    ) -> None:
        self._notifier = notifier
        self._queue = queue
        self._wrong = wrong
        self._listening = listening
        self._refused: str | None = None

    def ready(self) -> None:
        """Report that events are accepted from now on."""
        self._notifier.send("READY=1", self._status(f"Listening at {self._listening()}"))

    def reloading(self) -> None:
        """Report that a reload has begun."""
        # sd_notify(3) requires the time of the request, so that an older READY=1 is not taken for its end.
        usec = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._notifier.send("RELOADING=1", f"MONOTONIC_USEC={usec}")

    def reloaded(self, refused: str | None) -> None:
        """Report the end of a reload; the reason why it was `refused` stays in the line until one succeeds."""
        self._refused = refused
        self.ready()

    def stopping(self) -> None:
        """Report that the daemon is about to end."""
        self._notifier.send("STOPPING=1", "STATUS=Delivering what waits")

    async def run(self) -> None:
        """Feed the watchdog and update the line, until cancelled."""
        watchdog = self._notifier.watchdog_seconds
        every = min(_STATUS_SECONDS, watchdog / 2) if watchdog else _STATUS_SECONDS
        while True:
            await asyncio.sleep(every)
            self._notifier.send("WATCHDOG=1", self._status(await self._state()))

    async def _state(self) -> str:
        """Wait for the queue's answer; return how much is queued and what is wrong."""
        try:
            stats = await self._queue.stats()
        except ForwarderError as error:
            return error.message
        queued = sum(found.queued for found in stats.destinations.values())
        return f"{queued:,} events queued; {self._wrong() or f'listening at {self._listening()}'}"

    def _status(self, words: str) -> str:
        if self._refused is not None:
            words = f"{words} (the last reload was refused: {self._refused})"
        # A line feed would begin another assignment, so all white space becomes single spaces.
        return f"STATUS={' '.join(words.split())[:_MAX_LINE]}"
