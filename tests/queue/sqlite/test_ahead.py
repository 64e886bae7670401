"""What is looked ahead to, and what of it turns out to be missing or damaged."""

from __future__ import annotations

import pytest

from forwarder.errors import StorageError
from forwarder.queue.sqlite import views
from tests.queue.building import numbers
from tests.queue.sqlite.stores import Desk, fill


def damage(desk: Desk, nth: int, data: bytes | None = None) -> None:
    """Change the data of a row, so that it does not match its checksum."""
    row = desk.column("SELECT id FROM segment ORDER BY id LIMIT 1 OFFSET ?", nth)[0]
    if data is None:
        data = desk.column("SELECT data FROM segment WHERE id = ?", row)[0].replace(b"eventType", b"eventTypo", 1)
    desk.db.execute("UPDATE segment SET data = ? WHERE id = ?", (data, row))
    # What is in memory is not read, and so not found to be damaged.
    desk.store.destinations["main"].look_again()


def test_a_damaged_row_is_not_handed_out() -> None:
    """A row that does not match its checksum goes to the dead letters; its neighbours are handed out."""
    desk = fill(5, each=2)
    damage(desk, 2)
    batch = desk.take()
    assert batch is not None
    assert numbers(batch.data) == [0, 1, 2, 3, 6, 7, 8, 9]
    counters = views.counters(desk.store, "main")
    assert (counters.dead, counters.queued) == (2, 8)
    assert [letter.reason for letter in desk.letters()] == ["damaged", "damaged"]
    desk.settle(batch)
    assert views.counters(desk.store, "main").queued == 0


@pytest.mark.parametrize("data", [b"", b"\n", b"only one\n", b"\n" * 50, b"\x00\xff" * 100])
def test_whatever_is_in_it(data: bytes) -> None:
    """As many dead letters as there were events are kept, whatever can be told apart of them."""
    desk = fill(3, each=4)
    damage(desk, 1, data)
    batch = desk.take()
    assert batch is not None
    assert batch.events == 8
    counters = views.counters(desk.store, "main")
    assert (counters.dead, counters.queued, counters.accepted) == (4, 8, 12)


@pytest.mark.parametrize("events", [0, 1, 3, 5, 1 << 40])
def test_a_number_of_events_that_is_damaged(events: int) -> None:
    """Whatever number stands beside a row, its events are counted once, and it does not stay in the file."""
    desk = fill(3, each=4)
    row = desk.column("SELECT id FROM segment ORDER BY id LIMIT 1 OFFSET 1")[0]
    desk.db.execute("UPDATE segment SET events = ? WHERE id = ?", (events, row))
    desk.store.destinations["main"].look_again()
    while (batch := desk.take()) is not None:
        desk.settle(batch)
    counters = views.counters(desk.store, "main")
    assert (counters.delivered, counters.queued) == (8, 0)
    assert counters.dead + counters.dropped == 4
    assert desk.column("SELECT count(*) FROM segment") == [0]
    assert desk.store.ledger("main").bytes == 0


def test_nothing_but_damage() -> None:
    """Where all is damaged, nothing is handed out, and nothing waits any more."""
    desk = fill(3, 1)
    for nth in range(3):
        damage(desk, nth)
    assert desk.take() is None
    assert desk.store.destinations["main"].pending().events == 0
    assert views.counters(desk.store, "main").dead == 3


def test_missing_rows_are_counted() -> None:
    """Positions whose row is gone count as dropped, so the account still adds up."""
    desk = fill(5, each=2)
    desk.db.execute("DELETE FROM segment WHERE id IN (SELECT id FROM segment ORDER BY id LIMIT 2 OFFSET 1)")
    desk.store.destinations["main"].look_again()
    batch = desk.take()
    assert batch is not None
    assert numbers(batch.data) == [0, 1, 6, 7, 8, 9]
    counters = views.counters(desk.store, "main")
    assert (counters.dropped, counters.queued, counters.accepted) == (4, 6, 10)


def test_a_storage_that_cannot_bury_loses_nothing() -> None:
    """If a damaged row cannot be buried just now, what was chosen with it is handed out later."""
    desk = fill(5, each=2)
    damage(desk, 3)
    desk.db.execute("PRAGMA query_only = ON")
    for _ in range(3):
        with pytest.raises(StorageError):
            desk.take()
    desk.db.execute("PRAGMA query_only = OFF")
    batch = desk.take()
    assert batch is not None
    assert numbers(batch.data) == [0, 1, 2, 3, 4, 5, 8, 9]
    desk.settle(batch)
    assert views.counters(desk.store, "main").queued == 0
