"""What a file of a queue is known by."""

from __future__ import annotations

import sqlite3

import pytest

from forwarder.queue.sqlite.schema import schema_sql


def test_the_schema_is_strict() -> None:
    """No column takes a value of another type than its own."""
    db = sqlite3.connect(":memory:")
    db.executescript(schema_sql())
    with pytest.raises(sqlite3.IntegrityError):
        db.execute("INSERT INTO destination (name, head) VALUES ('main', 'first')")
    db.close()
