"""What a queue's file is known by: the program's id, the version of its schema, its tables."""

from __future__ import annotations

import sqlite3
from importlib.resources import files

from forwarder.errors import NewerQueueError

# "FwdQ": tells a queue from any other SQLite file (https://sqlite.org/pragma.html#pragma_application_id).
APPLICATION_ID = 0x46776451
SCHEMA_VERSION = 3
# Nobody will ever have made so many versions of the schema: a number from here on is damaged.
MOST_VERSIONS = 1 << 16


def schema_sql() -> str:
    """Return the statements that make an empty queue."""
    return files("forwarder.queue.sqlite").joinpath("schema.sql").read_text(encoding="utf-8")


def newer_error(version: int) -> NewerQueueError:
    return NewerQueueError(
        f"the queue was written by a newer version of the forwarder (schema {version}, known here: {SCHEMA_VERSION})",
        hint="it is left as it is: start the newer version, or give this one a queue.path of its own",
    )


def columns_of(db: sqlite3.Connection) -> set[tuple[bytes, bytes]]:
    """Return each column of each table. Raises sqlite3.DatabaseError."""
    tables = "SELECT name FROM sqlite_schema WHERE type = 'table'"
    names = "CAST(found.name AS BLOB), CAST(held.name AS BLOB)"
    return set(db.execute(f"SELECT {names} FROM ({tables}) AS found, pragma_table_info(found.name) AS held"))  # noqa: S608


def roots_of(db: sqlite3.Connection) -> list[int]:
    """Return the first page of each table and index. Raises sqlite3.DatabaseError."""
    return [root for (root,) in db.execute("SELECT CAST(rootpage AS INTEGER) FROM sqlite_schema WHERE rootpage")]
