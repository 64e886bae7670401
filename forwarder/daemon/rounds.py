"""Look after everything in rounds: read the accounts of the queue once, and hand them to all who look.

Rates, forecasts and early warnings all rest on the same reading, so they agree with one another. A round costs one
question to the queue every two seconds; whoever asks for the status has an answer of that moment, and asks anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from forwarder.errors import ForwarderError
from forwarder.model import QueueStats
from forwarder.observe.base import Observer
from forwarder.observe.facts import Notice
from forwarder.queue.base import Inspection

# Seconds between two rounds. Whatever is found in a round is told within five seconds, so two rounds fit into them.
_SECONDS = 2.0

Look = Callable[[QueueStats | None], None]
"""Looks at the accounts of this moment; None if the queue cannot say. It must not wait."""


class Rounds:
    """Hands the accounts of the queue to each of several looks, in order. A bug in one does not stop the others."""

    def __init__(self, queue: Inspection, looks: Sequence[Look], observer: Observer) -> None:
        self._queue = queue
        self._looks = looks
        self._observer = observer

    async def run(self) -> None:
        """Go round until cancelled."""
        while True:
            await self.once()
            await asyncio.sleep(_SECONDS)

    async def once(self) -> None:
        """Go round once."""
        try:
            stats = await self._queue.stats()
        except ForwarderError:
            # The queue itself tells what is wrong with it (`queue.storage_failing`), and the looks go on without it.
            stats = None
        for look in self._looks:
            try:
                look(stats)
            except Exception as error:
                self._observer.saw(Notice("round.failed", {"look": getattr(look, "__qualname__", repr(look))}, error))
