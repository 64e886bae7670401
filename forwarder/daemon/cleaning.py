"""Drop dead letters that are older than `dead_letters.max_age`.

What is dropped is counted as dropped, as by a purge. The age is that of the death, by the wall clock:
a clock that is wrong by a year costs what is younger than that, and so does nothing without the setting.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from forwarder.errors import DiskFullError, ShuttingDownError, StorageError
from forwarder.model import DeadFilter
from forwarder.observe.base import Observer
from forwarder.observe.facts import Notice
from forwarder.queue.base import Inspection

# Seconds between two looks: at most a minute, so that a short age is kept, too, and a tenth of it.
_MOST_SECONDS = 60.0
_LEAST_SECONDS = 1.0


class Cleaning:
    """`max_age` returns the age in seconds that is configured now, or None for never."""

    def __init__(self, queue: Inspection, max_age: Callable[[], float | None], observer: Observer) -> None:
        self._queue = queue
        self._observer = observer
        self._max_age = max_age

    async def run(self) -> None:
        """Drop what is too old, again and again, until cancelled."""
        while True:
            max_age = self._max_age()
            if max_age is not None:
                await self.drop(time.time() - max_age)
            await asyncio.sleep(min(_MOST_SECONDS, max(_LEAST_SECONDS, (max_age or _MOST_SECONDS) / 10)))

    async def drop(self, died_before: float) -> None:
        """Drop the dead letters that died before a time, in seconds since the epoch."""
        try:
            dropped = await self._queue.purge_dead(DeadFilter(died_before=died_before))
        except ShuttingDownError:
            return
        except (DiskFullError, StorageError) as error:
            self._observer.saw(Notice("dead_letters.not_dropped", {"reason": error.message}))
            return
        if dropped:
            details = {"events": dropped, "reason": "older than dead_letters.max_age"}
            self._observer.saw(Notice("dead_letters.dropped", details))
