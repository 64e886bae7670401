"""Drop dead letters that are older than `dead_letters.max_age`.

They are counted as dropped, as in a purge. The age is counted from the moment at which the event was given
up, by the wall clock. A clock that is a year ahead would therefore drop letters that are up to a year too
young, which is why nothing is dropped unless the setting is given.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from forwarder.errors import ShuttingDownError, StorageError
from forwarder.model import DeadFilter
from forwarder.observe.base import Observer
from forwarder.observe.facts import Notice
from forwarder.queue.base import Inspection

# Seconds between two rounds, which are a tenth of the age apart, so that a short age is kept to as well, but no further
# apart than the first number and no closer than the second.
_MOST_SECONDS = 60.0
_LEAST_SECONDS = 1.0


class Cleaning:
    """`max_age` returns the currently configured age in seconds, or None to keep all letters."""

    def __init__(self, queue: Inspection, max_age: Callable[[], float | None], observer: Observer) -> None:
        self._queue = queue
        self._observer = observer
        self._max_age = max_age

    async def run(self) -> None:
        """Drop letters that are too old, in rounds, until cancelled."""
        while True:
            max_age = self._max_age()
            if max_age is not None:
                await self.drop(time.time() - max_age)
            await asyncio.sleep(min(_MOST_SECONDS, max(_LEAST_SECONDS, (max_age or _MOST_SECONDS) / 10)))

    async def drop(self, died_before: float) -> None:
        """Drop the events that were given up before a time, in seconds since the epoch."""
        try:
            dropped = await self._queue.purge_dead(DeadFilter(died_before=died_before))
        except ShuttingDownError:
            return
        except StorageError as error:
            self._observer.saw(Notice("dead_letters.not_dropped", {"reason": error.message}))
            return
        if dropped:
            details = {"events": dropped, "reason": "older than dead_letters.max_age"}
            self._observer.saw(Notice("dead_letters.dropped", details))
