"""The room that is left in the queue and in each destination's share, and moves that must not exceed it.

What comes in has to fit by an estimate, made before anything is written. For what only moves, from the queue to the
dead letters or back, there is no good estimate: its old place is freed, but not where something else of the row stays.
So the move is made, the file is measured, and the move is undone where it took room that is not there.

Moves may go beyond the bound for what comes in by a twentieth of it, so that a full queue can still bury and replay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from forwarder.errors import QueueFullError, ShareFullError
from forwarder.queue.sqlite.store import Store

# What moves may exceed a bound by so much of it.
_GRACE = 20


def share_used(store: Store, name: str) -> int:
    """Return how many bytes of its share a destination uses, with what this transaction has done so far."""
    ledger = store.ledger(name)
    return ledger.bytes + ledger.dead_bytes + store.waiting_bytes(name)


def over_share(store: Store, name: str, more: int) -> int:
    """Return by how many bytes a destination would be over its share with `more` bytes."""
    most = store.destinations[name].share.max_bytes
    return 0 if most is None else share_used(store, name) + more - most


def queue_full(store: Store) -> QueueFullError:
    return QueueFullError(f"the queue is full: {store.max_bytes:,} bytes (queue.max_bytes)")


def share_full(store: Store, name: str) -> ShareFullError:
    share = store.destinations[name].share
    setting = share.setting or f"destinations.{name}.queue.max_bytes"
    return ShareFullError(f"the queue of destination {name} is full: {share.max_bytes:,} bytes ({setting})", name)


def move(store: Store, names: Iterable[str], act: Callable[[], None]) -> None:
    """Write: do what moves events of these destinations. Raises QueueFullError, and then it is undone."""
    before = {name: share_used(store, name) for name in names}
    store.measure()
    live = store.live_bytes
    with store.undone_when_full():
        act()
        store.measure()
        # What is full already, by more than it may be, must only not grow.
        most = store.capacity + store.max_bytes // _GRACE - store.appended_bytes
        if store.live_bytes > max(most, live):
            raise queue_full(store)
        for name, used in before.items():
            share = store.destinations[name].share.max_bytes
            if share is not None and share_used(store, name) > max(share + share // _GRACE, used):
                raise share_full(store, name)
