"""Bury events: keep them as dead letters, those that die together as one segment.

A segment that would be too large to be read at once is cut into rows, each with the same reason and answer. What is
buried leaves the queue first, so that its room is used again. Where there is no room for dead letters nothing is lost:
the events stay queued.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from itertools import chain, repeat
from time import time

from forwarder.errors import QueueFullError
from forwarder.model import Batch, Burial, DeadSegment, whole_lines
from forwarder.queue.sqlite import room
from forwarder.queue.sqlite.letters import INSERT, DeadRow, new_row
from forwarder.queue.sqlite.sizes import packed
from forwarder.queue.sqlite.state import Entry
from forwarder.queue.sqlite.store import Store
from forwarder.queue.sqlite.waiting import rows_waiting

# Rows of the queue that one step buries, and bytes of events.
STEP_ROWS = 512
STEP_BYTES = 4 * 1024 * 1024


def bury(store: Store, name: str, lines: Sequence[bytes], times: Sequence[float], burial: Burial) -> None:
    """Write: keep events as dead letters, each line with its newline; `times` is when each was accepted."""
    ledger, now = store.ledger(name), time()
    last = last_number(store)
    for together in packed(zip(lines, times, strict=True), lambda letter: len(letter[0])):
        last += len(together)
        data, accepted = b"".join([line for line, _ in together]), [at for _, at in together]
        insert(store, new_row(last, ledger.id, burial, now, accepted, data))
    ledger.dead += len(lines)
    ledger.died += len(lines)


def last_number(store: Store) -> int:
    """Return the last number that was given to a letter."""
    # Both, since damage to the one must not make numbers that the other knows be used twice.
    [(last,)] = store.query(
        "SELECT max(ifnull((SELECT max(seq) FROM sqlite_sequence WHERE name = 'dead_segment'), 0),"
        " ifnull((SELECT max(id) FROM dead_segment), 0))",
        (),
    )
    return int(last)


def insert(store: Store, row: DeadRow) -> None:
    """Write: insert a row of letters, and count its bytes."""
    store.query(INSERT, row.values())
    store.ledger(store.name_of(row.destination)).dead_bytes += row.disk_bytes


def take_away(store: Store, row: DeadRow, gone: Collection[int]) -> None:
    """Write: remove letters of a row; its caller accounts for them."""
    name, left = store.name_of(row.destination), row.without(gone)
    ledger = store.ledger(name)
    store.query("DELETE FROM dead_segment WHERE id = ?", (row.id,))
    if left is not None:
        store.query(INSERT, left.values())
    ledger.dead_bytes = max(0, ledger.dead_bytes - row.disk_bytes + (left.disk_bytes if left else 0))
    # A damaged row may have had more or fewer letters than its lines.
    counted = min(ledger.dead, row.counted - (left.events if left else 0))
    ledger.dead -= counted
    ledger.dropped += max(0, counted - len(gone))
    ledger.accepted += max(0, len(gone) - counted)
    ledger.died += max(0, len(gone) - counted)


def bury_batch(store: Store, batch: Batch, burial: Burial) -> None:
    """Write: settle a leased batch as dead. Raises QueueFullError, and then it is still leased."""

    def act() -> None:
        store.take_out(batch)
        times = list(chain.from_iterable(repeat(part.accepted_at, part.events) for part in batch.slices))
        bury(store, batch.destination, whole_lines(batch.data), times, burial)

    room.move(store, [batch.destination], act)


def bury_new(store: Store, segment: DeadSegment) -> None:
    """Write: accept events that die at once; `admission` has made sure that there is room."""
    store.ledger(segment.destination).accepted += segment.events
    bury(store, segment.destination, whole_lines(segment.data), [time()] * segment.events, segment.burial)


def expire(store: Store, name: str, accepted_before: float, burial: Burial) -> int:
    """Write: bury some of what waits and is older; return how many events, 0 when nothing is left.

    Raises QueueFullError where there is no room for any of it.
    """
    events = size = 0
    for group in packed(rows_waiting(store, name, STEP_ROWS, accepted_before), lambda entry: entry.size):
        if size >= STEP_BYTES:
            break
        try:
            room.move(store, [name], partial(_bury_waiting, store, name, group, burial))
        except QueueFullError:
            if not events:
                raise
            break
        events += sum(entry.events for entry in group)
        size += sum(entry.size for entry in group)
    return events


def _bury_waiting(store: Store, name: str, entries: Sequence[Entry], burial: Burial) -> None:
    lines = list(chain.from_iterable(whole_lines(store.lines_of(entry)) for entry in entries))
    times = list(chain.from_iterable(repeat(entry.accepted_at, entry.events) for entry in entries))
    ledger = store.ledger(name)
    for entry in entries:
        store.mark_settled(ledger, entry.position, entry.position + entry.events)
    bury(store, name, lines, times, burial)
    store.after.append(store.destinations[name].look_again)
