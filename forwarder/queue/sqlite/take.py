"""Take a batch: as many of the oldest waiting events as the limits allow.

The look-ahead says how large the next segments are, so the rows of a batch are chosen before any is read, and those
that are still in memory since their commit are not read at all. Reading a few rows too many doubled the CPU time of the
whole pipeline when it was tried. The last row may fit in part; what is left of it stays in memory for the next batch.

A row whose data does not match its checksum is never handed out: its events go to the dead letters as `damaged`.
"""

from __future__ import annotations

from dataclasses import replace

from forwarder.model import Batch, Limits, Slice, nth_line
from forwarder.queue.sqlite.ahead import give_up, look_ahead
from forwarder.queue.sqlite.checksum import is_whole
from forwarder.queue.sqlite.state import DestinationState, Entry
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
        look_ahead(store, state)
        group = _choose(state, events, room)
        if not group:
            break
        _read(store, group)
        for index, entry in enumerate(group):
            data = entry.data
            if data is None:
                give_up(store, state, entry)
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
                for entry in wanted[row]:
                    entry.data = data if entry.events == events else _part(data, entry)


def _part(data: bytes, entry: Entry) -> bytes:
    """Return the lines of an entry out of the data of its row."""
    start = nth_line(data, entry.skip)
    return data[start : start + nth_line(data[start:], entry.events)]


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
