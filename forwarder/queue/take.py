"""Take a batch: as many of the oldest waiting events as the limits allow.

Sizes are known first, from the look-ahead, so exactly the rows of the batch are read; only the
last one may be read whole and used in part, and is then kept for the next batch. A row whose data
does not match its checksum is never handed out: its events go to the dead letters as `damaged`.
"""

from __future__ import annotations

from dataclasses import replace

from forwarder.model import Batch, Limits, Slice, nth_line
from forwarder.queue.lane import Entry, Lane
from forwarder.queue.store import Store, checksum

# Up to this many rows are read one by one, more of them as a range of row numbers.
_SINGLE_READS = 4


def take(store: Store, destination: str, limits: Limits) -> Batch | None:
    """Take and hold the next batch, or return None where nothing waits.

    An event that alone is over `limits.max_bytes` makes a batch of its own.
    """
    lane = store.lanes[destination]
    try:
        slices, data = _choose_events(store, lane, limits)
    except BaseException:
        # What was chosen is in no batch and not in the look-ahead any more.
        lane.look_again()
        raise
    if not slices:
        return None
    for part in slices:
        lane.held.add(part.position, part.position + part.events)
    return Batch(destination, tuple(slices), data)


def _choose_events(store: Store, lane: Lane, limits: Limits) -> tuple[list[Slice], bytes]:
    """Take events off the look-ahead and read them; damaged ones are buried on the way."""
    slices: list[Slice] = []
    pieces: list[bytes] = []
    # An array of n events has n - 1 commas and two brackets: a byte more than n lines.
    events, room = limits.max_events, max(1, limits.max_bytes - 1)
    is_full = False
    while events > 0 and not is_full:
        store.look_ahead(lane)
        group = _choose(lane, events, room)
        if not group:
            break
        found = _read(store, lane, group)
        for index, entry in enumerate(group):
            piece = found.get(entry.row)
            if piece is None:
                store.give_up(lane, entry)
                continue
            piece = _part(piece, entry)
            count, end = _fit(piece, entry.events, events, room)
            if count == 0 and not slices:
                count, end = 1, piece.index(b"\n") + 1
            if count:
                slices.append(Slice(entry.position, count, entry.accepted_at))
                pieces.append(piece[:end] if end < len(piece) else piece)
                events, room = events - count, room - end
            if count < entry.events:
                _put_back(lane, entry, count, len(piece) - end, group[index + 1 :])
                lane.kept_row = entry.row, found[entry.row]
                is_full = True
                break
    return slices, pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _choose(lane: Lane, events: int, room: int) -> list[Entry]:
    """Take entries off the look-ahead: those that fit, and the first that may not."""
    chosen: list[Entry] = []
    while lane.ahead and events > 0 and room > 0:
        entry = lane.pop()
        chosen.append(entry)
        events, room = events - entry.events, room - entry.size
    return chosen


def _read(store: Store, lane: Lane, group: list[Entry]) -> dict[int, bytes]:
    """Return the data of the group's rows, without those that are missing or damaged."""
    wanted = {entry.row for entry in group}
    found: dict[int, bytes] = {}
    if lane.kept_row is not None and lane.kept_row[0] in wanted:
        found[lane.kept_row[0]] = lane.kept_row[1]
    lane.kept_row = None
    missing = sorted(wanted - found.keys())
    if not missing:
        return found
    spans = [(row, row) for row in missing] if len(missing) <= _SINGLE_READS else [(missing[0], missing[-1])]
    for span in spans:
        for row, events, expected, data in store.rows_of(*span):
            if row in wanted and checksum(row, events, data) == expected:
                found[row] = data  # noqa: PERF403 - rows are streamed
    return found


def _part(data: bytes, entry: Entry) -> bytes:
    """Return the lines of an entry out of the data of its row."""
    start = nth_line(data, entry.skip)
    if entry.skip + entry.events == data.count(b"\n"):
        return data[start:] if start else data
    return data[start : start + nth_line(data[start:], entry.events)]


def _fit(piece: bytes, events: int, max_events: int, max_bytes: int) -> tuple[int, int]:
    """Return how many of the lines fit, and where the last of them ends."""
    if events <= max_events and len(piece) <= max_bytes:
        return events, len(piece)
    end = len(piece) if len(piece) <= max_bytes else piece.rfind(b"\n", 0, max(0, max_bytes)) + 1
    count = piece.count(b"\n", 0, end)
    if count > max_events:
        return max_events, nth_line(piece, max_events)
    return count, end


def _put_back(lane: Lane, entry: Entry, taken: int, size: int, others: list[Entry]) -> None:
    for other in reversed(others):
        lane.push_back(other)
    rest = replace(
        entry,
        position=entry.position + taken,
        skip=entry.skip + taken,
        events=entry.events - taken,
        size=size,
    )
    lane.push_back(rest)
