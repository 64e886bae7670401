"""Run the forwarder with one promise broken on purpose: a campaign that does not notice is worth nothing.

python -m tests.campaigns.killing.sabotage early-accept run -c FILE
"""

from __future__ import annotations

import asyncio
import re
import sys
import uuid
from collections.abc import Callable, Coroutine
from typing import Any

from forwarder.__main__ import main
from forwarder.delivery.delivery import Delivery
from forwarder.destination.base import Answer
from forwarder.destination.http_put import put
from forwarder.errors import UnavailableError
from forwarder.model import Burial, Outcome
from forwarder.queue.sqlite.queue import SqliteQueue

# Seconds before something that could not be stored is tried again.
_AGAIN = 0.05

_running: set[asyncio.Task[Any]] = set()


def _later(work: Coroutine[Any, Any, Any]) -> None:
    """Do it without anybody waiting for it."""
    task = asyncio.create_task(work)
    _running.add(task)
    task.add_done_callback(_running.discard)


def _put(owner: Any, name: str, act: Callable[..., Any]) -> None:
    """Replace something that must be there: otherwise nothing would be broken."""
    getattr(owner, name)
    setattr(owner, name, act)


def early_accept() -> None:
    """Accept before the transaction is committed; what does not fit is kept in memory until it does."""
    append = SqliteQueue.append

    async def until_stored(*given: Any) -> None:
        while True:
            try:
                await append(*given)
            except UnavailableError:
                await asyncio.sleep(_AGAIN)
            else:
                return

    async def at_once(*given: Any) -> None:
        _later(until_stored(*given))

    _put(SqliteQueue, "append", at_once)


def early_settle() -> None:
    """Settle a batch as delivered before the destination has answered."""
    send = put.HttpPut.send

    async def at_once(*given: Any) -> Answer:
        _later(send(*given))
        return Answer(Outcome.DELIVERED)

    _put(put.HttpPut, "send", at_once)


def late_settle() -> None:
    """Go on to the next batches while settlements wait for a third of a second."""
    settle = SqliteQueue.settle

    async def at_once(*given: Any) -> None:
        async def late() -> None:
            await asyncio.sleep(0.3)
            await settle(*given)

        _later(late())

    _put(SqliteQueue, "settle", at_once)


def bury_neighbours() -> None:
    """Give up a whole batch for one bad event."""
    send = Delivery.send

    async def or_bury(delivery: Delivery) -> bool:
        is_taken, batch = await send(delivery), delivery.batch
        if not is_taken and batch is not None and delivery._health.triage.is_needed:
            delivery.batch = None
            await delivery._sending.settle(delivery._queue, batch, Burial("rejected"))
        return is_taken

    _put(Delivery, "send", or_bury)


def new_ids() -> None:
    """Give each event its eventId when it is sent, rather than when it is accepted."""
    payload = put.payload

    def stamped(data: bytes, **how: Any) -> bytes:
        pattern = rb'"eventId":"[^"]*"'
        return payload(re.sub(pattern, lambda _: b'"eventId":"%s"' % str(uuid.uuid4()).encode(), data), **how)

    _put(put, "payload", stamped)


def reverse() -> None:
    """Send the events of a batch the wrong way round."""
    payload = put.payload

    def turned(data: bytes, **how: Any) -> bytes:
        return payload(b"".join(reversed(data.splitlines(keepends=True))), **how)

    _put(put, "payload", turned)


KINDS = {
    "early-accept": early_accept,
    "early-settle": early_settle,
    "late-settle": late_settle,
    "bury-neighbours": bury_neighbours,
    "new-ids": new_ids,
    "reverse": reverse,
}


if __name__ == "__main__":
    KINDS[sys.argv.pop(1)]()
    main()
