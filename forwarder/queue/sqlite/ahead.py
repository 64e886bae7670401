"""Look ahead into a lane: what waits there next, and what is missing or damaged, which is counted.

Events whose row is gone are dropped. Those of a row that does not match its checksum are dead, as
far as its lines can be told apart; they are never handed out.
"""

from __future__ import annotations

from collections.abc import Iterable

from forwarder.model import Burial, whole_lines
from forwarder.observe.facts import Notice
from forwarder.queue.sqlite.burying import bury
from forwarder.queue.sqlite.lane import LOOK_AHEAD, Entry, Lane
from forwarder.queue.sqlite.store import Store


def look_ahead(store: Store, lane: Lane) -> None:
    """Fill an empty look-ahead from the file; positions without a row are counted as dropped."""
    while not lane.ahead and not lane.is_complete:
        ledger = lane.ledger
        rows = store.rows_from(ledger, lane.next_position, LOOK_AHEAD // 16)
        before, gaps = lane.next_position, list[tuple[int, int]]()
        for row in rows:
            gaps.append((lane.next_position, row[0] - ledger.base))
            lane.see(*row)
        if lane.next_position == before:
            gaps.append((before, ledger.tail))
            lane.next_position = ledger.tail
        _lose(store, lane, gaps)


def _lose(store: Store, lane: Lane, gaps: Iterable[tuple[int, int]]) -> None:
    """Count events whose row is gone from the file."""
    lost = [
        gap
        for first, until in gaps
        for start, end in lane.ledger.settled.gaps(max(first, lane.ledger.head), until)
        for gap in lane.held.gaps(start, end)
    ]
    if not lost:
        return
    missing = sum(end - start for start, end in lost)
    # What was purged out of the middle is counted already.
    purged = min(missing, lane.ledger.purged)
    missing -= purged

    def write(store: Store) -> None:
        ledger = store.ledger(lane.ledger.name)
        ledger.purged -= purged
        ledger.dropped += missing
        for start, end in lost:
            store.mark_settled(ledger, start, end)

    store.transact([write])
    if missing:
        store.observer.saw(Notice("queue.events_lost", {"destination": lane.ledger.name, "events": missing}))


def give_up(store: Store, lane: Lane, entry: Entry) -> None:
    """Bury the events of a row that does not match its checksum, as far as its lines can be told apart."""
    lines = whole_lines(store.lines_of(entry))

    def write(store: Store) -> None:
        ledger = store.ledger(lane.ledger.name)
        burial = Burial("damaged", detail="the segment does not match its checksum")
        bury(store, ledger.name, lines, [entry.accepted_at] * len(lines), burial)
        store.mend_events(entry.row, entry.skip + entry.events)
        store.mark_settled(ledger, entry.position, entry.position + entry.events)

    store.transact([write])
    store.observer.saw(Notice("queue.segment_damaged", {"destination": lane.ledger.name, "events": entry.events}))
