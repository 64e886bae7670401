"""Look ahead: what waits next for a destination, and what of it is missing or damaged, which is counted.

Nothing vanishes without being counted. Events whose row is gone from the file are dropped. Those of a row that does not
match its checksum become dead letters, as far as its lines can be told apart, and are never handed out.
"""

from __future__ import annotations

from collections.abc import Iterable

from forwarder.model import Burial, whole_lines
from forwarder.observe.facts import Notice
from forwarder.queue.sqlite.burying import bury
from forwarder.queue.sqlite.state import LOOK_AHEAD, DestinationState, Entry
from forwarder.queue.sqlite.store import Store


def look_ahead(store: Store, state: DestinationState) -> None:
    """Fill an empty look-ahead from the file; positions without a row are counted as dropped."""
    while not state.ahead and not state.is_complete:
        ledger = state.ledger
        rows = store.rows_from(ledger, state.next_position, LOOK_AHEAD // 16)
        before, gaps = state.next_position, list[tuple[int, int]]()
        for row in rows:
            gaps.append((state.next_position, row.id - ledger.base))
            state.see(row)
        if state.next_position == before:
            gaps.append((before, ledger.tail))
            state.next_position = ledger.tail
        _lose(store, state, gaps)


def _lose(store: Store, state: DestinationState, gaps: Iterable[tuple[int, int]]) -> None:
    """Count events whose row is gone from the file."""
    lost = [
        gap
        for first, until in gaps
        for start, end in state.ledger.settled.gaps(max(first, state.ledger.head), until)
        for gap in state.leased.gaps(start, end)
    ]
    if not lost:
        return
    missing = sum(end - start for start, end in lost)
    # A purge of some events leaves gaps, too, which it has counted itself.
    purged = min(missing, state.ledger.purged)
    missing -= purged

    def write(store: Store) -> None:
        ledger = store.ledger(state.ledger.name)
        ledger.purged -= purged
        ledger.dropped += missing
        for start, end in lost:
            store.mark_settled(ledger, start, end)

    store.transact([write])
    if missing:
        store.observer.saw(Notice("queue.events_lost", {"destination": state.ledger.name, "events": missing}))


def give_up(store: Store, state: DestinationState, entry: Entry) -> None:
    """Bury the events of a row that does not match its checksum, as far as its lines can be told apart."""
    lines = whole_lines(store.lines_of(entry))

    def write(store: Store) -> None:
        ledger = store.ledger(state.ledger.name)
        burial = Burial("damaged", detail="the segment does not match its checksum")
        bury(store, ledger.name, lines, [entry.accepted_at] * len(lines), burial)
        store.mend_events(entry.row, entry.skip + entry.events)
        store.mark_settled(ledger, entry.position, entry.position + entry.events)

    store.transact([write])
    store.observer.saw(Notice("queue.segment_damaged", {"destination": state.ledger.name, "events": entry.events}))
