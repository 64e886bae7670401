"""What waits in the queue, and how it is dropped: by a purge, or to make room for what comes.

Each call is a part of a transaction and does a bounded part of the work; callers repeat it, so that nobody waits long
for a commit. What is leased is left alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from forwarder.queue.sqlite.sizes import stored_bytes
from forwarder.queue.sqlite.state import DestinationState, Entry
from forwarder.queue.sqlite.store import Store

# Rows that one step handles.
STEP_ROWS = 64


def rows_waiting(
    store: Store, name: str, limit: int, accepted_before: float | None = None, until: int | None = None
) -> list[Entry]:
    """Return up to `limit` waiting entries from the oldest on, read from the file; `until` is a position."""
    ledger, state = store.ledger(name), DestinationState(store.ledger(name))
    state.leased = store.destinations[name].leased
    end = ledger.base + (ledger.tail if until is None else until)
    at = ledger.base + ledger.head
    while state.ahead_events < state.waiting() and len(state.ahead) < limit:
        rows = store.rows_from(ledger, at - ledger.base, STEP_ROWS)
        for row in rows:
            if row.id >= end or (accepted_before is not None and row.accepted_at >= accepted_before):
                return list(state.ahead)
            state.see(row)
        if not rows or rows[-1].until <= at:
            break
        at = rows[-1].until
    return list(state.ahead)


def drop(store: Store, names: Iterable[str], size: int) -> int:
    """Drop the oldest waiting segments of these destinations until `size` bytes are free; return how many.

    Of each destination they go in their order. A clock that was set back makes what comes later look older; it
    only decides between destinations.
    """
    queues = [deque((entry, name) for entry in rows_waiting(store, name, STEP_ROWS)) for name in names]
    dropped = freed = 0
    while freed < size and (waiting := [queue for queue in queues if queue]):
        entry, name = min(waiting, key=lambda queue: queue[0][0].accepted_at).popleft()
        _forget(store, name, entry)
        freed += stored_bytes(entry.size)
        dropped += 1
    if dropped:
        store.measure()
    return dropped


def _forget(store: Store, name: str, entry: Entry) -> None:
    ledger = store.ledger(name)
    ledger.dropped += entry.events
    store.mark_settled(ledger, entry.position, entry.position + entry.events)
    store.after.append(store.destinations[name].look_again)


def purge(store: Store, name: str, until: int) -> int:
    """Write: drop some of what waits before a position; return how many events, 0 when nothing is left."""
    entries = rows_waiting(store, name, STEP_ROWS, until=until)
    for entry in entries:
        _forget(store, name, entry)
    return sum(entry.events for entry in entries)
