"""What waits in the queue, and how it is dropped: by a purge, or to make room for what comes.

Each call is a part of a transaction and does a bounded part of the work; callers repeat it, so that nobody waits long
for a commit. What is leased is left alone: it is on its way.

A purge of some events, those of one source or about one person, cuts them out of their rows. What is left of a row
becomes a new row for each run of positions, so no other event changes its place, and what was cut out is in no row any
more, which is what erasing means. The ledger counts the positions without a row (`purged`) until the look-ahead comes
by and settles them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from forwarder.envelope import is_about
from forwarder.model import EVERY_EVENT, EventFilter, whole_lines
from forwarder.queue.sqlite.checksum import checksum, is_whole
from forwarder.queue.sqlite.ranges import Ranges
from forwarder.queue.sqlite.sizes import stored_bytes
from forwarder.queue.sqlite.state import DestinationState, Entry
from forwarder.queue.sqlite.store import Store

# Rows that one step handles, and bytes of events that it reads.
STEP_ROWS = 64
STEP_BYTES = 4 * 1024 * 1024


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


def purge(store: Store, name: str, wanted: EventFilter, after: int, until: int) -> tuple[int, int]:
    """Write: drop some of what waits between two positions, as far as it is wanted.

    Returns how many events, and the position up to which was looked, 0 when that is all.
    """
    if wanted != EVERY_EVENT:
        return _purge_some(store, name, wanted, after, until)
    entries = rows_waiting(store, name, STEP_ROWS, until=until)
    for entry in entries:
        _forget(store, name, entry)
    return sum(entry.events for entry in entries), entries[-1].position + 1 if len(entries) >= STEP_ROWS else 0


def _purge_some(store: Store, name: str, wanted: EventFilter, position: int, until: int) -> tuple[int, int]:
    ledger = store.ledger(name)
    dropped = size = 0
    rows = store.rows_from(ledger, max(position, ledger.head), STEP_ROWS)
    for row in rows:
        start = row.id - ledger.base
        if start >= until:
            return dropped, 0
        for number, count, expected, data in store.rows_of(row.id, row.id):
            # What does not match its checksum becomes a dead letter when its turn comes, and can be purged there.
            if is_whole(number, count, data, expected):
                dropped += _cut(store, name, (start, row.accepted_at, whole_lines(data)), wanted)
                size += len(data)
        position = start + row.events
        if size >= STEP_BYTES:
            break
    # Where nothing is left to look at, another step would be a commit for nothing.
    is_all = position >= until or (len(rows) < STEP_ROWS and size < STEP_BYTES)
    return dropped, 0 if is_all else position


def _cut(store: Store, name: str, row: tuple[int, float, list[bytes]], wanted: EventFilter) -> int:
    """Write: cut events out of a row of position, time of acceptance and lines; return how many."""
    start, accepted_at, lines = row
    ledger, gone = store.ledger(name), Ranges()
    for first, end in ledger.remaining(start, start + len(lines), store.destinations[name].leased):
        for position in range(first, end):
            if is_about(lines[position - start], wanted):
                gone.add(position, position + 1)
    if not gone:
        return 0
    store.query("DELETE FROM segment WHERE id = ?", (ledger.base + start,))
    ledger.bytes -= stored_bytes(sum(map(len, lines)))
    for first, end in gone.gaps(start, start + len(lines)):
        if any(True for _ in ledger.settled.gaps(max(first, ledger.head), end)):
            data, number = b"".join(lines[first - start : end - start]), ledger.base + first
            values = (number, end - first, len(data), accepted_at, checksum(number, end - first, data), data)
            store.query("INSERT INTO segment VALUES (?, ?, ?, ?, ?, ?)", values)
            ledger.bytes += stored_bytes(len(data))
    ledger.purged += len(gone)
    ledger.dropped += len(gone)
    store.after.append(store.destinations[name].look_again)
    return len(gone)
