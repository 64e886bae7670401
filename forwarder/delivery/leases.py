"""Keep leased what has been taken: a batch may wait for hours between two attempts, an event set aside for longer.

Renewing is one call to the queue for all that is leased of a destination, however many events that are.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from forwarder.errors import StorageError
from forwarder.observe.base import Observer
from forwarder.observe.facts import Notice
from forwarder.queue.base import RENEW_SECONDS, Outbox


@asynccontextmanager
async def renewed(destination: str, outbox: Outbox, observer: Observer) -> AsyncIterator[None]:
    """Renew the leases of a destination again and again while this is open."""
    async with asyncio.TaskGroup() as tasks:
        renewing = tasks.create_task(_renew(destination, outbox, observer), name=f"renew-{destination}")
        yield
        renewing.cancel()


async def _renew(destination: str, outbox: Outbox, observer: Observer) -> None:
    while True:
        await asyncio.sleep(RENEW_SECONDS)
        try:
            await outbox.renew(destination)
        except StorageError as error:
            observer.saw(Notice("leases.not_renewed", {"destination": destination, "reason": error.message}))
