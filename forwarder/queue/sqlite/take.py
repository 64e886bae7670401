"""Take events: a batch of the oldest that wait, one out of its turn, or those that are leased already once more.

The look-ahead says how large the next segments are, so the rows of a batch are chosen before any is read, and those
that are still in memory since their commit are not read at all. Reading a few rows too many doubled the CPU time of the
whole pipeline when it was tried. The last row may fit in part; what is left of it stays in memory for the next batch.

Nothing vanishes without being counted. Events whose row is gone from the file are dropped. Those of a row that does not
match its checksum become dead letters, as `damaged`, as far as its lines can be told apart, and are never handed out.

A delivery that sets an event aside keeps its position and not its bytes, which are read again when it is tried. A row
whose data does not match its checksum yields nothing then: an event that waits is buried when its turn comes, and one
that is leased comes up again after its release.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby

from forwarder.model import Batch, Burial, Limits, Slice, nth_line, whole_lines
from forwarder.observe.facts import Notice
from forwarder.queue.sqlite.burying import bury
from forwarder.queue.sqlite.checksum import is_whole
from forwarder.queue.sqlite.state import LOOK_AHEAD, DestinationState, Entry
from forwarder.queue.sqlite.store import Store

# Up to this many rows are read one by one. More of them are read as one range of row numbers, which is a single walk
# through the tree, though rows of the range that are in memory are then read for nothing.
_SINGLE_READS = 4


def take(store: Store, destination: str, limits: Limits, at_most: int = 1) -> list[Batch]:
    """Take and hold the next batch, and up to `at_most` in all where those behind it are full.

    An event that alone is over `limits.max_bytes` makes a batch of its own.
    """
    state = store.destinations[destination]
    batches: list[Batch] = []
    try:
        while len(batches) < at_most and (not batches or state.pending().fills(limits)):
            slices, data = _choose_events(store, state, limits)
            if not slices:
                break
            batch = Batch(destination, tuple(slices), data)
            for first, until in batch.runs:
                state.leased.add(first, until)
            batches.append(batch)
    except BaseException:
        # What was chosen is in no batch, and no longer in the look-ahead either: it must be found again.
        for batch in batches:
            state.end_lease(batch)
        state.look_again()
        raise
    return batches


def _choose_events(store: Store, state: DestinationState, limits: Limits) -> tuple[list[Slice], bytes]:
    """Take events off the look-ahead and read them; damaged ones are buried on the way."""
    slices: list[Slice] = []
    pieces: list[bytes] = []
    # The batch will be sent as an array: n events with n - 1 commas and two brackets, a byte more than n lines.
    events, room = limits.max_events, max(1, limits.max_bytes - 1)
    is_full = False
    while events > 0 and not is_full:
        _look_ahead(store, state)
        group = _choose(state, events, room)
        if not group:
            break
        _read(store, group)
        for index, entry in enumerate(group):
            data = entry.data
            if data is None:
                _give_up(store, state, entry)
                continue
            # The look-ahead's size of an entry may be an average, so only now is it known what fits.
            count, end = entry.events, len(data)
            if count > events or end > room:
                count, end = _fit(data, count, events, room)
                if count == 0 and not slices:
                    # An event that alone is too large must go all the same, or it would stop the queue for good.
                    count, end = 1, data.index(b"\n") + 1
            if count:
                slices.append(Slice(entry.position, count, entry.accepted_at))
                pieces.append(data[:end])
                events, room = events - count, room - end
            if count < entry.events:
                # What was chosen and does not fit goes back in front, in order, for the next batch.
                for other in reversed(group[index + 1 :]):
                    state.push_back(other)
                state.push_back(_rest(entry, count, data[end:]))
                is_full = True
                break
    return slices, pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _choose(state: DestinationState, events: int, room: int) -> list[Entry]:
    """Take entries off the look-ahead: those that fit, and the first that may not."""
    count = 0
    for entry in state.ahead:
        if events <= 0 or room <= 0:
            break
        count += 1
        events -= entry.events
        room -= entry.size
    return state.pop(count)


def _read(store: Store, group: list[Entry]) -> None:
    """Read the data of those entries that have none; what is missing or damaged stays without."""
    wanted: dict[int, list[Entry]] = {}
    for entry in group:
        if entry.data is None:
            wanted.setdefault(entry.row, []).append(entry)
    if not wanted:
        return
    rows = sorted(wanted)
    spans = [(row, row) for row in rows] if len(rows) <= _SINGLE_READS else [(rows[0], rows[-1])]
    for span in spans:
        for row, events, expected, data in store.rows_of(*span):
            if row in wanted and is_whole(row, events, data, expected):
                _share_out(data, events, wanted[row])


def _share_out(data: bytes, events: int, entries: list[Entry]) -> None:
    """Give each entry, in order, its lines out of the data of their row of so many events."""
    line = end = 0
    for entry in entries:
        if entry.events == events:
            entry.data = data
            continue
        # Each search begins where the one before has ended: there may be an entry for each line of a long row.
        start = nth_line(data, entry.skip - line, end)
        line, end = entry.skip + entry.events, nth_line(data, entry.events, start)
        entry.data = data[start:end]


def _fit(piece: bytes, events: int, max_events: int, max_bytes: int) -> tuple[int, int]:
    """Return how many of the lines fit, where not all do, and where the last of them ends."""
    if len(piece) > max_bytes:
        end = piece.rfind(b"\n", 0, max(0, max_bytes)) + 1
        count = piece.count(b"\n", 0, end)
        if count <= max_events:
            return count, end
    return max_events, _end_of(piece, events, max_events)


def _end_of(piece: bytes, events: int, count: int) -> int:
    """Return the offset behind the `count`-th of so many lines, counted from the nearer end."""
    if count <= events // 2:
        return nth_line(piece, count)
    end = len(piece)
    for _ in range(events - count):
        end = piece.rfind(b"\n", 0, end - 1) + 1
    return end


def _rest(entry: Entry, taken: int, data: bytes) -> Entry:
    """Return what is left of an entry when `taken` events of it are gone; its data is kept, so it is read once."""
    return replace(
        entry,
        position=entry.position + taken,
        skip=entry.skip + taken,
        events=entry.events - taken,
        size=len(data),
        data=data,
    )


# --- what is missing or damaged -----------------------------------------------------------------


def _look_ahead(store: Store, state: DestinationState) -> None:
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
    lost = [run for first, until in gaps for run in state.ledger.remaining(first, until, state.leased)]
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


def _give_up(store: Store, state: DestinationState, entry: Entry) -> None:
    """Bury the events of a row that does not match its checksum, as far as its lines can be told apart."""
    lines = whole_lines(store.lines_of(entry))

    def write(store: Store) -> None:
        ledger = store.ledger(state.ledger.name)
        burial = Burial("damaged", detail="the segment does not match its checksum")
        bury(store, ledger.name, lines, [entry.accepted_at] * len(lines), burial)
        # By its number of events it is known when all of a row is settled.
        store.query("UPDATE segment SET events = ? WHERE id = ?", (entry.skip + entry.events, entry.row))
        store.mark_settled(ledger, entry.position, entry.position + entry.events)

    store.transact([write])
    store.observer.saw(Notice("queue.segment_damaged", {"destination": state.ledger.name, "events": entry.events}))


# --- single events -------------------------------------------------------------------------------


def take_at(store: Store, destination: str, position: int) -> list[Batch]:
    """Take and hold the first event at or behind a position that waits; the last of all where none is behind it.

    Returns it as a batch, or nothing where nothing waits, or it cannot be read.
    """
    state = store.destinations[destination]
    found = _waiting_at(state, position)
    batches = [] if found is None else _read_events(store, destination, [found])
    for batch in batches:
        state.leased.add(batch.position, batch.position + 1)
        # It may stand in the look-ahead.
        state.look_again()
    return batches


def take_again(store: Store, destination: str, positions: Sequence[int], max_bytes: int) -> list[Batch]:
    """Return events that are leased, a batch each, in order: as many as have `max_bytes` together, at least one."""
    batches: list[Batch] = []
    for batch in _read_events(store, destination, positions):
        max_bytes -= len(batch.data)
        if batches and max_bytes < 0:
            break
        batches.append(batch)
    return batches


def _waiting_at(state: DestinationState, position: int) -> int | None:
    """Return the first position from a given one on that waits, or the last one that does."""
    ledger, last = state.ledger, None
    for first, until in ledger.remaining(ledger.head, ledger.tail, state.leased):
        if until > position:
            return max(first, position)
        last = until - 1
    return last


def _read_events(store: Store, destination: str, positions: Sequence[int]) -> list[Batch]:
    """Return the events at these positions, as far as they can be read; each row is looked for and read once."""
    ledger, entries, row = store.destinations[destination].ledger, list[Entry](), None
    for position in sorted({*positions}):
        number = ledger.base + position
        # Those that follow are mostly in the same row.
        if row is None or row.until <= number:
            row = next(iter(store.rows_from(ledger, position, 1)), None)
        # Behind a gap comes another row.
        if row is not None and row.id <= number:
            entries.append(Entry(row.id, position, number - row.id, 1, row.size, row.accepted_at, float("-inf")))
    for _, together in groupby(entries, lambda entry: entry.row):
        _read(store, list(together))
    return [
        Batch(destination, (Slice(entry.position, 1, entry.accepted_at),), entry.data)
        for entry in entries
        if entry.data
    ]
