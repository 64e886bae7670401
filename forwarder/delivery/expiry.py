"""Give up what is older than `give_up_after`.

This is done only when the destination itself is the reason for the delay. An event that merely waits behind another
one that goes on failing might be delivered yet, so it is left alone until that one is known.
"""

from __future__ import annotations

from forwarder.delivery.health import Health
from forwarder.delivery.suspects import Suspect
from forwarder.errors import StorageError
from forwarder.model import Batch, Burial
from forwarder.observe.facts import Notice, Settled, failure_details
from forwarder.queue.base import Outbox


async def expire(name: str, queue: Outbox, health: Health) -> None:
    """Bury what is too old and waits in the queue or is set aside; what is leased by a delivery is its own business."""
    before = health.expires_before()
    if before is None:
        return
    release(name, queue, health.suspects.older(before))
    error = health.last_error
    burial = Burial("expired", error.status if error else None, error.detail if error else "")
    try:
        expired = await queue.expire(name, before, burial)
    except StorageError as failure:
        # They expire after the next failed attempt, once the storage works again.
        health.observer.saw(Notice("events.not_expired", failure_details(name, failure)))
        return
    if expired:
        health.observer.saw(Settled(name, expired, burial, waited=True))


def release(name: str, queue: Outbox, suspects: list[Suspect]) -> None:
    """Give suspects back to the queue: their places are enough for that, without the bytes."""
    if suspects:
        queue.release(Batch(name, tuple(sorted(suspect.place for suspect in suspects)), b""))
