"""Let segments in while there is room for them: refuse what does not fit, or drop the oldest.

A request is let in as a whole or refused as a whole, before anything of it is written, so a refusal
does no harm to the others of the same commit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from forwarder.errors import TooLargeError
from forwarder.model import DeadSegment, Segment
from forwarder.queue.base import Appended
from forwarder.queue.sqlite.burying import bury_new
from forwarder.queue.sqlite.database import disk_full
from forwarder.queue.sqlite.letters import dead_bytes
from forwarder.queue.sqlite.room import over_share, queue_full, share_full
from forwarder.queue.sqlite.sizes import PAGE_BYTES, stored_bytes
from forwarder.queue.sqlite.store import Store
from forwarder.queue.sqlite.waiting import drop


def append(store: Store, segments: Sequence[Segment], dead: Sequence[DeadSegment] = ()) -> list[Appended]:
    """Write: store all segments or none; their places are known at the end of the transaction.

    Raises QueueFullError, TooLargeError, or DiskFullError.
    """
    if store.is_short:
        raise disk_full()
    needed: dict[str, int] = {}
    for segment in segments:
        needed[segment.destination] = needed.get(segment.destination, 0) + stored_bytes(len(segment.data))
    for died in dead:
        needed[died.destination] = needed.get(died.destination, 0) + dead_bytes(len(died.data), died.burial)
    _make_room(store, needed)
    places = store.append(segments)
    if dead:
        for died in dead:
            bury_new(store, died)
        # Unlike segments, which are written at the end of the transaction, these are in the file by now.
        store.measure()
    return places


def _make_room(store: Store, needed: Mapping[str, int]) -> None:
    total = sum(needed.values())
    has_share = any(store.destinations[name].share.max_bytes is not None for name in needed)
    # This is done for every request, and nearly always there is plenty of room.
    if not has_share and store.live_bytes + store.appended_bytes + total <= store.capacity - 16 * PAGE_BYTES:
        return
    if total > store.capacity - 16 * PAGE_BYTES:
        raise TooLargeError(f"{total:,} bytes can never fit into the queue of {store.max_bytes:,} (queue.max_bytes)")
    for name, size in needed.items():
        share = store.destinations[name].share
        if share.max_bytes is not None and size > share.max_bytes:
            raise TooLargeError(
                f"{size:,} bytes can never fit into the queue of destination {name}: {share.max_bytes:,} bytes"
                f" ({share.setting or f'destinations.{name}.queue.max_bytes'})"
            )
    # Destinations that refuse come first, then those that drop: a request that is refused in the end must not have cost
    # other events.
    for name in sorted(needed, key=lambda name: store.destinations[name].share.drop_oldest):
        while (over := over_share(store, name, needed[name])) > 0:
            if not store.destinations[name].share.drop_oldest or not drop(store, [name], over):
                raise share_full(store, name)
    while (over := store.live_bytes + store.appended_bytes + total - store.capacity) > 0:
        droppable = [name for name, state in store.destinations.items() if state.share.drop_oldest]
        if not drop(store, droppable, over):
            raise queue_full(store)
