"""Single events out of their turn: one from farther back, and those that are leased already, once more.

A delivery that sets an event aside keeps its position and not its bytes, which are read again when it is tried. A row
whose data does not match its checksum yields nothing here: an event that waits is buried when its turn comes, and one
that is leased comes up again after its release.
"""

from __future__ import annotations

from collections.abc import Sequence

from forwarder.model import Batch, Slice, nth_line
from forwarder.queue.sqlite.checksum import is_whole
from forwarder.queue.sqlite.state import DestinationState
from forwarder.queue.sqlite.store import Store


def take_at(store: Store, destination: str, position: int) -> Batch | None:
    """Take and hold the first event at or behind a position that waits; the last of all where none is behind it."""
    state = store.destinations[destination]
    found = _waiting_at(state, position)
    if found is None:
        return None
    batches = _read(store, destination, [found])
    if batches:
        state.leased.add(found, found + 1)
        # It may stand in the look-ahead.
        state.look_again()
    return batches[0] if batches else None


def take_again(store: Store, destination: str, positions: Sequence[int], max_bytes: int) -> list[Batch]:
    """Return events that are leased, a batch each, in order: as many as have `max_bytes` together, at least one."""
    batches: list[Batch] = []
    for batch in _read(store, destination, positions):
        max_bytes -= len(batch.data)
        if batches and max_bytes < 0:
            break
        batches.append(batch)
    return batches


def _waiting_at(state: DestinationState, position: int) -> int | None:
    """Return the first position from a given one on that waits, or the last one that does."""
    ledger, last = state.ledger, None
    for start, end in ledger.settled.gaps(ledger.head, ledger.tail):
        for first, until in state.leased.gaps(start, end):
            if until > position:
                return max(first, position)
            last = until - 1
    return last


def _read(store: Store, destination: str, positions: Sequence[int]) -> list[Batch]:
    """Return the events at these positions, as far as they can be read; each row is read once."""
    ledger, batches = store.destinations[destination].ledger, list[Batch]()
    first = until = 0
    data, accepted_at = b"", 0.0
    for position in sorted(positions):
        if not first <= position < until:
            rows = store.rows_from(ledger, position, 1)
            if not rows or not rows[0].id <= ledger.base + position < rows[0].until:
                continue
            [row] = rows
            first, until, accepted_at, data = row.id - ledger.base, row.until - ledger.base, row.accepted_at, b""
            for number, count, expected, found in store.rows_of(row.id, row.id):
                data = found if is_whole(number, count, found, expected) else b""
        if data:
            start = nth_line(data, position - first)
            line = data[start : data.index(b"\n", start) + 1]
            batches.append(Batch(destination, (Slice(position, 1, accepted_at),), line))
    return batches
