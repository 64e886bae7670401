"""Dead letters in the queue's file: found by a filter, replayed or dropped in bounded steps."""

from __future__ import annotations

import json
from typing import Any

from forwarder.envelope import is_json_line
from forwarder.model import DeadFilter, DeadLetter
from forwarder.queue.sizes import stored_bytes
from forwarder.queue.store import Store

# Dead letters that one step reads, replays or drops, and bytes of their events: bounds memory and
# the size of a transaction.
STEP_LETTERS = 256
STEP_BYTES = 4 * 1024 * 1024

# Whatever types a damaged row claims.
_COLUMNS = (
    "dead.id, name, CAST(event_id AS TEXT), CAST(reason AS TEXT), CAST(status AS INTEGER), CAST(detail AS TEXT),"
    " ifnull(CAST(accepted_at AS REAL), 0), ifnull(CAST(died_at AS REAL), 0), ifnull(CAST(event AS BLOB), x'')"
)


def _where(wanted: DeadFilter) -> tuple[str, list[Any]]:
    terms, values = ["TRUE"], list[Any]()
    if wanted.destination is not None:
        terms.append("name = ?")
        values.append(wanted.destination)
    if wanted.ids:
        numbers = [int(word) for word in wanted.ids if word.isascii() and word.isdigit() and len(word) < 19]
        # SQLite ends a JSON string at its first NUL: `\u0000` would find the letters that have no readable id.
        # No stored id holds one.
        words = [word for word in wanted.ids if "\0" not in word]
        # As JSON, since SQLite takes only so many values; an id may be any text that people type.
        terms.append("(dead.id IN (SELECT value FROM json_each(?)) OR event_id IN (SELECT value FROM json_each(?)))")
        values += [json.dumps(numbers), json.dumps(words)]
    if wanted.reason is not None:
        terms.append("reason = ?")
        values.append(wanted.reason)
    if wanted.died_before is not None:
        terms.append("died_at < ?")
        values.append(wanted.died_before)
    return " AND ".join(terms), values


def _marks(values: object) -> str:
    return ", ".join("?" * len(values))  # type: ignore[arg-type]


def find(store: Store, wanted: DeadFilter, after: int, limit: int) -> list[DeadLetter]:
    """Return the first dead letters with a number above `after`: up to `limit`, fewer where they are large."""
    where, values = _where(wanted)
    rows = store.rows(
        f"SELECT {_COLUMNS} FROM dead JOIN destination ON destination.id = dead.destination"  # noqa: S608 - no values
        f" WHERE dead.id > ? AND {where} ORDER BY dead.id LIMIT ?",
        (after, *values, limit),
    )
    letters, size = list[DeadLetter](), 0
    for row in rows:
        letters.append(DeadLetter(*row))
        size += len(letters[-1].event)
        if size >= STEP_BYTES:
            break
    return letters


def replay(store: Store, wanted: DeadFilter, after: int) -> tuple[int, int]:
    """Write: move some of the dead letters with a number above `after` to the end of their queues.

    What is damaged is no event any more, and stays: it would spoil the batch that it came into. Returns how
    many were moved, and the number of the last one that was looked at, 0 when none was left.
    """
    found = find(store, wanted, after, STEP_LETTERS)
    letters = [letter for letter in found if letter.event[:1] == b"{" and is_json_line(letter.event)]
    by_destination: dict[str, list[DeadLetter]] = {}
    for letter in letters:
        by_destination.setdefault(letter.destination, []).append(letter)
    for name, moved in by_destination.items():
        store.insert(name, b"".join(letter.event + b"\n" for letter in moved), len(moved))
        _remove(store, name, moved)
    return len(letters), found[-1].id if found else 0


def purge(store: Store, wanted: DeadFilter) -> int:
    """Write: drop some dead letters; return how many, 0 when none is left."""
    letters = find(store, wanted, 0, STEP_LETTERS)
    for letter in letters:
        store.ledger(letter.destination).dropped += 1
        _remove(store, letter.destination, [letter])
    return len(letters)


def _remove(store: Store, name: str, letters: list[DeadLetter]) -> None:
    ledger = store.ledger(name)
    ledger.dead -= len(letters)
    ledger.dead_bytes -= sum(stored_bytes(len(letter.event)) for letter in letters)
    store.query(f"DELETE FROM dead WHERE id IN ({_marks(letters)})", [letter.id for letter in letters])  # noqa: S608
