"""Let segments in while there is room for them: refuse what does not fit, or drop the oldest.

A request is let in as a whole or refused as a whole, before anything of it is written, so a refusal
does no harm to the others of the same commit.
"""

from __future__ import annotations

from collections.abc import Sequence

from forwarder.errors import QueueFullError, TooLargeError
from forwarder.model import Segment
from forwarder.queue.database import disk_full
from forwarder.queue.sizes import PAGE_BYTES, stored_bytes
from forwarder.queue.store import Store
from forwarder.queue.waiting import drop


def append(store: Store, segments: Sequence[Segment]) -> None:
    """Write: store all segments or none. Raises QueueFullError, TooLargeError, or DiskFullError."""
    if store.is_short:
        raise disk_full()
    _make_room(store, segments)
    store.append(segments)


def _make_room(store: Store, segments: Sequence[Segment]) -> None:
    needed: dict[str, int] = {}
    has_share = False
    for segment in segments:
        needed[segment.destination] = needed.get(segment.destination, 0) + stored_bytes(len(segment.data))
        has_share = has_share or store.lanes[segment.destination].share.max_bytes is not None
    total = sum(needed.values())
    # Nearly always there is plenty of room, and this is done for each request.
    if not has_share and store.live_bytes + store.appended_bytes + total <= store.capacity - 16 * PAGE_BYTES:
        return
    if total > store.capacity - 16 * PAGE_BYTES:
        raise TooLargeError(f"{total:,} bytes can never fit into the queue of {store.max_bytes:,} (queue.max_bytes)")
    for name, size in needed.items():
        most = store.lanes[name].share.max_bytes
        if most is not None and size > most:
            raise TooLargeError(
                f"{size:,} bytes can never fit into the queue of destination {name}: {most:,} bytes"
                f" (destinations.{name}.queue.max_bytes)"
            )
    # First whoever refuses, then whoever drops: a request that is refused must not cost other events.
    for name in sorted(needed, key=lambda name: store.lanes[name].share.drop_oldest):
        while (over := _over_share(store, name, needed[name])) > 0:
            if not store.lanes[name].share.drop_oldest or not drop(store, [name], over):
                raise _full(store, name)
    while (over := store.live_bytes + store.appended_bytes + total - store.capacity) > 0:
        droppable = [name for name, lane in store.lanes.items() if lane.share.drop_oldest]
        if not drop(store, droppable, over):
            raise QueueFullError(f"the queue is full: {store.max_bytes:,} bytes (queue.max_bytes)")


def _full(store: Store, name: str) -> QueueFullError:
    return QueueFullError(
        f"the queue of destination {name} is full: {store.lanes[name].share.max_bytes:,} bytes"
        f" (destinations.{name}.queue.max_bytes)"
    )


def _over_share(store: Store, name: str, more: int) -> int:
    """Return by how many bytes a destination would be over its share with `more` bytes."""
    most = store.lanes[name].share.max_bytes
    if most is None:
        return 0
    ledger = store.ledger(name)
    waiting = sum(stored_bytes(len(segment.data)) for segment in store.appended.get(name, ()))
    return ledger.bytes + ledger.dead_bytes + waiting + more - most
