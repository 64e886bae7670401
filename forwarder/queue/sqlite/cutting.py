"""Cut single events out of the rows that wait: those of one source, or about one person.

What is left of a row becomes a new row for each run of positions, so no other event changes its place, and what was cut
out is in no row any more, which is what erasing means. The ledger counts the positions without a row
(`purged`) until the look-ahead comes by and settles them. What is leased stays: it is on its way.
"""

from __future__ import annotations

from collections.abc import Iterator

from forwarder.envelope import is_about
from forwarder.model import EventFilter, whole_lines
from forwarder.queue.sqlite.checksum import checksum, is_whole
from forwarder.queue.sqlite.ranges import Ranges
from forwarder.queue.sqlite.sizes import stored_bytes
from forwarder.queue.sqlite.store import Store

# Rows that one step looks at, and bytes of events that it reads.
STEP_ROWS = 64
STEP_BYTES = 4 * 1024 * 1024


def purge_some(store: Store, name: str, wanted: EventFilter, position: int, until: int) -> tuple[int, int]:
    """Write: drop events that are wanted, between two positions.

    Returns how many, and the position up to which was looked, 0 when that is all.
    """
    ledger = store.ledger(name)
    dropped = size = 0
    for row in store.rows_from(ledger, max(position, ledger.head), STEP_ROWS):
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
            return dropped, position
    return dropped, position if position < until and _is_more(store, name, position) else 0


def _is_more(store: Store, name: str, position: int) -> bool:
    return bool(store.rows_from(store.ledger(name), position, 1))


def _cut(store: Store, name: str, row: tuple[int, float, list[bytes]], wanted: EventFilter) -> int:
    """Write: cut events out of a row of position, time of acceptance and lines; return how many."""
    start, accepted_at, lines = row
    ledger, gone = store.ledger(name), Ranges()
    for position in _waiting(store, name, start, start + len(lines)):
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


def _waiting(store: Store, name: str, first: int, until: int) -> Iterator[int]:
    """Yield the positions that are neither settled nor leased."""
    ledger, state = store.ledger(name), store.destinations[name]
    for start, end in ledger.settled.gaps(max(first, ledger.head), until):
        for run_first, run_end in state.leased.gaps(start, end):
            yield from range(run_first, run_end)
