"""Take what can still be read out of a damaged queue file, and put it into a new one.

The damaged file has been set aside under a name that says so, and stays there. Rows are read one by
one, from both ends of each table, so that a page that cannot be read costs only what is on it.
Events whose rows are gone keep their positions: the queue finds the gap and counts them as dropped,
so every account still adds up.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forwarder.queue.ranges import Ranges
from forwarder.queue.sizes import stored_bytes

_SEGMENT = "id, events, size, accepted_at, checksum, data"
_DEAD = "id, destination, event_id, reason, status, detail, accepted_at, died_at, event"
_DESTINATION = "id, name, head, tail, accepted, delivered, dead, dropped, bytes, dead_bytes, paused"

Row = tuple[Any, ...]


@dataclass(slots=True)
class Salvage:
    """What was saved, and what of it could not be."""

    segments: int = 0
    events: int = 0
    lost_events: int = 0
    """Events that were queued, as far as the accounts tell, and whose rows cannot be read."""
    dead_letters: int = 0
    lost_dead_letters: int = 0


@dataclass(frozen=True, slots=True)
class Accounts:
    """What is known beside the file: rows of `destination` and `settled` as the last commit left them, and names."""

    destinations: Sequence[Row] = ()
    settled: Sequence[Row] = ()
    names: Sequence[str] = ()
    """The destinations that are configured."""


def salvage(damaged: Path, into: sqlite3.Connection, known: Accounts = Accounts()) -> Salvage:
    """Copy what can be read of a damaged file into a new, empty queue. Raises sqlite3.Error for the new one only.

    What of the accounts is `known` is not read.
    """
    found = Salvage()
    into.execute("BEGIN IMMEDIATE")
    try:
        source = sqlite3.connect(damaged, isolation_level=None)
        try:
            # Nothing is written to it: with this SQLite reads what there is of a file that was cut
            # off, or of a schema that is damaged, instead of refusing all of it.
            source.execute("PRAGMA writable_schema = ON")
            _copy(source, into, known, found)
        finally:
            source.close()
        into.execute("COMMIT")
    except BaseException:
        into.rollback()
        raise
    return found


def _copy(source: sqlite3.Connection, into: sqlite3.Connection, known: Accounts, found: Salvage) -> None:
    in_memory = {row[0] for row in known.destinations}
    read = [row for row in _rows(source, "destination", _DESTINATION) if row[0] not in in_memory]
    for row in [*known.destinations, *read]:
        _insert(into, "destination", _DESTINATION, row)
    for row in _rows(source, "segment", _SEGMENT):
        _know(into, row[0] >> 48, known.names)
        # The data tells how many events there are, should their number be damaged.
        events = (row[5].count(b"\n") if isinstance(row[5], bytes) else 0) or row[1]
        if _insert(into, "segment", _SEGMENT, (row[0], events, *row[2:])):
            found.segments += 1
            found.events += events
    for row in _rows(source, "dead", _DEAD):
        _know(into, row[1], known.names)
        found.dead_letters += _insert(into, "dead", _DEAD, row)
    for run in [*known.settled, *(run for run in _settled(source) if run[0] not in in_memory)]:
        _insert(into, "settled", "destination, first, until", run)
    for (destination,) in into.execute("SELECT id FROM destination").fetchall():
        _reconcile(into, destination, found)


def _insert(into: sqlite3.Connection, table: str, columns: str, row: Row) -> bool:
    """Insert a row; return False for one that cannot be one of this table: it is as good as not readable."""
    try:
        into.execute(f"INSERT INTO {table} ({columns}) VALUES ({', '.join('?' * len(row))})", row)  # noqa: S608
    except sqlite3.IntegrityError:
        return False
    return True


def _rows(source: sqlite3.Connection, table: str, columns: str) -> Iterator[Row]:
    """Yield the rows of a table that can be read, from the first up to the damage, then from the last down to it."""
    first, last = -1, 1 << 62
    for order, sign in (("ASC", ">"), ("DESC", "<")):
        while True:
            at = first if order == "ASC" else last
            statement = f"FROM {table} WHERE id {sign} ? ORDER BY id {order} LIMIT 1"
            row = _read(source, f"SELECT {columns} {statement}", at) or _read(source, f"SELECT id {statement}", at)
            # A damaged tree may lead anywhere: only what lies between both ends is new.
            if row is None or not first < row[0] < last:
                break
            if order == "ASC":
                first = row[0]
            else:
                last = row[0]
            # With the number alone the row is stepped over: its data is on a page that cannot be read.
            if len(row) > 1:
                yield row


def _read(source: sqlite3.Connection, statement: str, at: int) -> Row | None:
    """Return a row, or None where there is none or it cannot be read."""
    try:
        row: Row | None = source.execute(statement, (at,)).fetchone()
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        return None
    return row


def _settled(source: sqlite3.Connection) -> list[Row]:
    try:
        return source.execute("SELECT destination, first, until FROM settled").fetchall()
    except sqlite3.DatabaseError:
        return []


def _know(into: sqlite3.Connection, destination: int, names: Sequence[str]) -> None:
    """Make sure that a destination exists whose own row could not be read: its name is lost, or the only one left."""
    if into.execute("SELECT 1 FROM destination WHERE id = ?", (destination,)).fetchone():
        return
    taken = {name for (name,) in into.execute("SELECT name FROM destination")}
    left = [name for name in names if name not in taken]
    name = left[0] if len(left) == 1 else f"recovered-{destination}"
    _insert(into, "destination", "id, name", (destination, name))


def _reconcile(into: sqlite3.Connection, destination: int, found: Salvage) -> None:
    """Make an account add up with the rows that were saved."""
    base = destination << 48
    segments: list[tuple[int, int, int]] = into.execute(
        "SELECT id - ?, events, length(data) FROM segment WHERE id >= ? AND id < ? ORDER BY id",
        (base, base, base + (1 << 48)),
    ).fetchall()
    letters = into.execute("SELECT length(event) FROM dead WHERE destination = ?", (destination,)).fetchall()
    delivered, dead, dropped = into.execute(
        "SELECT delivered, dead, dropped FROM destination WHERE id = ?", (destination,)
    ).fetchone()
    head, tail, settled = _positions(into, destination, segments)
    rows = Ranges((first, first + events) for first, events, _ in segments)
    found.lost_events += sum(
        until - first for start, end in settled.gaps(head, tail) for first, until in rows.gaps(start, end)
    )
    lost_letters = max(0, dead - len(letters))
    found.lost_dead_letters += lost_letters
    delivered, dropped = max(0, delivered), max(0, dropped) + lost_letters
    accepted = tail - head - len(settled) + delivered + len(letters) + dropped
    into.execute("DELETE FROM settled WHERE destination = ?", (destination,))
    into.executemany("INSERT INTO settled VALUES (?, ?, ?)", [(destination, *run) for run in settled])
    into.execute(
        "UPDATE destination SET head = ?, tail = ?, accepted = ?, delivered = ?, dead = ?, dropped = ?, bytes = ?,"
        " dead_bytes = ? WHERE id = ?",
        (
            *(head, tail, accepted, delivered, len(letters), dropped),
            *(sum(stored_bytes(size) for _, _, size in segments), sum(stored_bytes(size) for (size,) in letters)),
            destination,
        ),
    )


def _positions(
    into: sqlite3.Connection, destination: int, segments: Sequence[tuple[int, int, int]]
) -> tuple[int, int, Ranges]:
    """Return head and tail of a queue and what is settled between them, as far as that can be believed."""
    head, tail, queued = into.execute(
        "SELECT head, tail, accepted - delivered - dead - dropped FROM destination WHERE id = ?", (destination,)
    ).fetchone()
    runs = into.execute("SELECT first, until FROM settled WHERE destination = ?", (destination,)).fetchall()
    # A row of which all is settled is deleted with its settlement: a run around one is damaged.
    settled = Ranges(
        run for run in runs if not any(run[0] <= first and first + events <= run[1] for first, events, _ in segments)
    )
    end = max((first + events for first, events, _ in segments), default=0)
    if not 0 <= head <= tail or tail - head - len(settled) != queued:
        # The account is lost, or damaged: what is queued is what is there.
        head, tail = (segments[0][0], end) if segments else (0, 0)
    tail = max(tail, end)
    return head, tail, Ranges(run for first, until in settled for run in _within(first, until, head, tail))


def _within(first: int, until: int, head: int, tail: int) -> list[tuple[int, int]]:
    first, until = max(first, head), min(until, tail)
    return [(first, until)] if first < until else []
