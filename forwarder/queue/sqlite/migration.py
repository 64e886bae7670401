"""The way to the schema of today, from an empty file and from the schemas of older versions.

A new file is made by `schema.sql`. A file of an older version is brought up to date when it is
opened, one version after the other, each in one transaction. What moves rows from one table to
another comes after that, in transactions of a bounded size, and is taken up again by the next start
where it was interrupted: nothing reads the file before all is moved.

Whoever changes the schema raises SCHEMA_VERSION, adds the script that leads to it, and leaves a queue of
that version with the tests (`tests/queue/version2.sql`). A file of a newer version is left alone.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from functools import cache
from itertools import groupby
from typing import Any

from forwarder.errors import DamagedError
from forwarder.model import Burial
from forwarder.observe.base import Observer
from forwarder.observe.facts import Notice
from forwarder.queue.sqlite.letters import INSERT, DeadRow, new_row
from forwarder.queue.sqlite.schema import APPLICATION_ID, SCHEMA_VERSION, columns_of, roots_of, schema_sql
from forwarder.queue.sqlite.sizes import ROW_BYTES, stored_bytes

MIGRATIONS = {
    # From a row for each dead letter to one for those that died together. What was in the old table is moved by
    # `_move_letters`, which drops it then.
    2: """
    DROP INDEX IF EXISTS dead_by_event;
    DROP INDEX IF EXISTS dead_by_destination;
    ALTER TABLE destination ADD COLUMN purged INTEGER NOT NULL DEFAULT 0;
    CREATE TABLE dead_segment (
      id          INTEGER PRIMARY KEY AUTOINCREMENT,
      destination INTEGER NOT NULL REFERENCES destination (id),
      events      INTEGER NOT NULL,
      reason      TEXT    NOT NULL,
      status      INTEGER,
      detail      TEXT    NOT NULL,
      died_at     REAL    NOT NULL,
      parts       TEXT    NOT NULL,
      checksum    INTEGER NOT NULL,
      data        BLOB    NOT NULL
    ) STRICT;
    INSERT INTO sqlite_sequence (name, seq) SELECT 'dead_segment', seq FROM sqlite_sequence WHERE name = 'dead'
    """,
    # How many had died and were replayed or purged was not counted before: the count begins with those that are dead.
    3: """
    ALTER TABLE destination ADD COLUMN died INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE destination ADD COLUMN replayed INTEGER NOT NULL DEFAULT 0;
    UPDATE destination SET died = dead
    """,
}
# Old dead letters that one transaction moves, and bytes of their events.
_STEP_ROWS = 5000
_STEP_BYTES = 4 * 1024 * 1024

OldLetter = Sequence[Any]


def migrate(db: sqlite3.Connection, observer: Observer, version: int) -> None:
    """Bring a file of this version up to date; 0 is an empty one. Raises DamagedError or sqlite3.Error."""
    if not version:
        _run(db, schema_sql(), SCHEMA_VERSION)
    elif version < SCHEMA_VERSION:
        observer.saw(Notice("queue.migrating", {"version": version, "to": SCHEMA_VERSION}))
    for step in range(version + 1, SCHEMA_VERSION + 1) if version else ():
        _run(db, MIGRATIONS[step], step)
    _move_letters(db)
    columns, roots = columns_of(db), roots_of(db)
    if not columns.issuperset(_own_columns()) or len(set(roots)) < len(roots):
        raise DamagedError("the queue file is damaged: its tables are not those of a queue")


def _run(db: sqlite3.Connection, script: str, version: int) -> None:
    try:
        with db:
            db.executescript(
                f"BEGIN IMMEDIATE; {script};"
                f" PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {version}; COMMIT;"
            )
    except sqlite3.OperationalError as error:
        # A table that is there already, or is not: this is not the file that its number says.
        if error.sqlite_errorcode == sqlite3.SQLITE_ERROR:
            raise DamagedError(f"the queue file is damaged: {error}") from error
        raise


@cache
def _own_columns() -> set[tuple[bytes, bytes]]:
    """Return the columns of a new queue's tables."""
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(schema_sql())
        return columns_of(db)


# --- version 2: letters that died together --------------------------------------------------------


def _move_letters(db: sqlite3.Connection) -> None:
    """Move what is left of the dead letters of version 1."""
    if not db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'dead'").fetchone():
        return
    while letters := _next_letters(db):
        with db:
            db.execute("BEGIN IMMEDIATE")
            _move(db, letters)
    db.execute("DROP TABLE dead")


def _next_letters(db: sqlite3.Connection) -> list[OldLetter]:
    letters, size = list[OldLetter](), 0
    rows = db.execute(f"SELECT {OLD_COLUMNS} FROM dead ORDER BY id LIMIT ?", (_STEP_ROWS,))  # noqa: S608
    for letter in rows:
        letters.append(letter)
        size += len(letter[-1])
        if size >= _STEP_BYTES:
            break
    rows.close()
    return letters


# Whatever types a damaged row claims.
OLD_COLUMNS = (
    "id, CAST(destination AS INTEGER), CAST(reason AS TEXT), CAST(status AS INTEGER), CAST(detail AS TEXT),"
    " ifnull(CAST(died_at AS REAL), 0), ifnull(CAST(accepted_at AS REAL), 0), ifnull(CAST(event AS BLOB), x'')"
)


def _move(db: sqlite3.Connection, letters: Sequence[OldLetter]) -> None:
    db.execute("DELETE FROM dead WHERE id <= ?", (letters[-1][0],))
    for row in as_rows(letters):
        db.execute(INSERT, row.values())
        more = row.disk_bytes - sum(stored_bytes(len(event)) for _, _, event in row.letters())
        db.execute("UPDATE destination SET dead_bytes = max(0, dead_bytes + ?) WHERE id = ?", (more, row.destination))


def as_rows(letters: Sequence[OldLetter]) -> list[DeadRow]:
    """Return the rows of dead letters of version 1: a row for neighbours that died together."""
    rows, size = list[DeadRow](), 0

    def together(found: tuple[int, OldLetter]) -> tuple[Any, ...]:
        nonlocal size
        index, (number, destination, *about, _accepted_at, event) = found
        size += len(event)
        return destination, *about, number - index, size // ROW_BYTES

    for _, group in groupby(enumerate(letters), together):
        found = [letter for _, letter in group]
        number, destination, reason, status, detail, died_at, *_ = found[-1]
        burial = Burial(reason or "damaged", status, detail or "")
        times = [letter[-2] for letter in found]
        # A newline in a damaged event would make two letters of it.
        data = b"".join(letter[-1].replace(b"\n", b" ") + b"\n" for letter in found)
        rows.append(new_row(number, destination or 0, burial, died_at, times, data))
    return rows
