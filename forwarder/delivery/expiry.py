"""Give up what is older than `give_up_after`, where no event that could be delivered is held up by another."""

from __future__ import annotations

import structlog

from forwarder.delivery.health import Health
from forwarder.delivery.suspects import Suspect
from forwarder.errors import DiskFullError, StorageError
from forwarder.model import Batch, Burial
from forwarder.queue.base import Outbox

log = structlog.get_logger(__name__)


async def expire(name: str, queue: Outbox, health: Health) -> None:
    """Bury what is too old, but for what is held by others than the suspects."""
    before = health.expires_before()
    if before is None:
        return
    release(name, queue, health.suspects.older(before))
    error = health.last_error
    burial = Burial("expired", error.status if error else None, error.detail if error else "")
    try:
        expired = await queue.expire(name, before, burial)
    except (DiskFullError, StorageError) as failure:
        # They expire with the next attempt after the storage works again.
        log.warning("events.not_expired", destination=name, reason=failure.message, hint=failure.hint)
        return
    if expired:
        log.error("events.expired", destination=name, events=expired, hint="see forwarder dead list")


def release(name: str, queue: Outbox, suspects: list[Suspect]) -> None:
    """Give events back to the queue of which only the places are known."""
    if suspects:
        queue.release(Batch(name, tuple(sorted(suspect.place for suspect in suspects)), b""))
