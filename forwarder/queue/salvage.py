"""Take what can still be read out of a damaged queue file, and put it into a new one.

The damaged file has been set aside under a name that says so, and stays there. Rows are read one by
one, from both ends of each table, so that a page that cannot be read costs only what is on it.
Events whose rows are gone keep their positions: the queue finds the gap and counts them as dropped,
so every account still adds up.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forwarder.queue.sizes import stored_bytes

_SEGMENT = "id, events, size, accepted_at, checksum, data"
_DEAD = "id, destination, event_id, reason, status, detail, accepted_at, died_at, event"
_DESTINATION = "id, name, head, tail, accepted, delivered, dead, dropped, bytes, dead_bytes, paused"


@dataclass(slots=True)
class Salvage:
    """What was saved, and what of it could not be."""

    segments: int = 0
    events: int = 0
    lost_events: int = 0
    """Events that were queued, as far as the accounts tell, and whose rows cannot be read."""
    dead_letters: int = 0
    lost_dead_letters: int = 0


def salvage(damaged: Path, into: sqlite3.Connection) -> Salvage:
    """Copy what can be read of a damaged file into a new, empty queue. Raises sqlite3.Error for the new one only."""
    found = Salvage()
    into.execute("BEGIN IMMEDIATE")
    try:
        source = sqlite3.connect(damaged, isolation_level=None)
        try:
            _copy(source, into, found)
        finally:
            source.close()
        into.execute("COMMIT")
    except BaseException:
        into.rollback()
        raise
    return found


def _copy(source: sqlite3.Connection, into: sqlite3.Connection, found: Salvage) -> None:
    for row in _rows(source, "destination", _DESTINATION):
        into.execute(f"INSERT INTO destination ({_DESTINATION}) VALUES ({_marks(row)})", row)  # noqa: S608
    for row in _rows(source, "segment", _SEGMENT):
        _know(into, row[0] >> 48)
        into.execute(f"INSERT INTO segment ({_SEGMENT}) VALUES ({_marks(row)})", row)  # noqa: S608
        found.segments += 1
        found.events += row[1]
    for row in _rows(source, "dead", _DEAD):
        _know(into, row[1])
        into.execute(f"INSERT INTO dead ({_DEAD}) VALUES ({_marks(row)})", row)  # noqa: S608
        found.dead_letters += 1
    for run in _settled(source):
        into.execute("INSERT OR IGNORE INTO settled VALUES (?, ?, ?)", run)
    for (destination,) in into.execute("SELECT id FROM destination").fetchall():
        _reconcile(into, destination, found)


def _rows(source: sqlite3.Connection, table: str, columns: str) -> Iterator[tuple[Any, ...]]:
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


def _read(source: sqlite3.Connection, statement: str, at: int) -> tuple[Any, ...] | None:
    """Return a row, or None where there is none or it cannot be read."""
    try:
        row: tuple[Any, ...] | None = source.execute(statement, (at,)).fetchone()
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        return None
    return row


def _settled(source: sqlite3.Connection) -> list[tuple[int, int, int]]:
    try:
        return source.execute("SELECT destination, first, until FROM settled").fetchall()
    except sqlite3.DatabaseError:
        return []


def _marks(row: tuple[object, ...]) -> str:
    return ", ".join("?" * len(row))


def _know(into: sqlite3.Connection, destination: int) -> None:
    """Make sure that a destination exists whose own row could not be read; its name is lost."""
    into.execute(
        "INSERT OR IGNORE INTO destination (id, name) VALUES (?, ?)", (destination, f"recovered-{destination}")
    )


def _reconcile(into: sqlite3.Connection, destination: int, found: Salvage) -> None:
    """Make an account add up with the rows that were saved."""
    base = destination << 48
    head, tail, accepted, delivered, dead, dropped = into.execute(
        "SELECT head, tail, accepted, delivered, dead, dropped FROM destination WHERE id = ?", (destination,)
    ).fetchone()
    segments = into.execute(
        "SELECT id - ?, events, size FROM segment WHERE id >= ? AND id < ? ORDER BY id",
        (base, base, base + (1 << 48)),
    ).fetchall()
    letters = into.execute("SELECT length(event) FROM dead WHERE destination = ?", (destination,)).fetchall()
    tail = max(tail, max((first + events for first, events, _ in segments), default=0))
    if accepted == 0 and segments:
        head = min(segments)[0]
    settled = sum(
        until - first
        for first, until in into.execute("SELECT first, until FROM settled WHERE destination = ?", (destination,))
    )
    queued = tail - head - settled
    saved = sum(events - max(0, head - first) for first, events, _ in segments)
    found.lost_events += max(0, queued - saved - settled)
    lost_letters = max(0, dead - len(letters))
    found.lost_dead_letters += lost_letters
    dropped += lost_letters
    accepted = queued + delivered + len(letters) + dropped
    into.execute(
        "UPDATE destination SET head = ?, tail = ?, accepted = ?, dead = ?, dropped = ?, bytes = ?, dead_bytes = ?"
        " WHERE id = ?",
        (
            *(head, tail, accepted, len(letters), dropped),
            *(sum(stored_bytes(size) for _, _, size in segments), sum(stored_bytes(size) for (size,) in letters)),
            destination,
        ),
    )
