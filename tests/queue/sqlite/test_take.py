"""Taking a batch: full, exact, and without what is damaged."""

from __future__ import annotations

import sqlite3

import pytest

from forwarder.errors import StorageError
from forwarder.model import Burial, Limits
from forwarder.queue.sqlite import take, views
from forwarder.queue.sqlite.state import LOOK_AHEAD
from forwarder.queue.sqlite.store import Store
from tests.queue.building import event, numbers, segment
from tests.queue.sqlite.stores import PLENTY, Desk, fill, lines


def damage(desk: Desk, nth: int, data: bytes | None = None) -> None:
    """Change the data of a row, so that it does not match its checksum."""
    row = desk.column("SELECT id FROM segment ORDER BY id LIMIT 1 OFFSET ?", nth)[0]
    if data is None:
        data = desk.column("SELECT data FROM segment WHERE id = ?", row)[0].replace(b"eventType", b"eventTypo", 1)
    desk.db.execute("UPDATE segment SET data = ? WHERE id = ?", (data, row))
    # What is in memory is not read, and so not found to be damaged.
    desk.store.destinations["main"].look_again()


class TestLimits:
    @pytest.mark.parametrize("max_bytes", [1, 2, 50])
    def test_no_limit_is_too_small(self, max_bytes: int) -> None:
        """Where no event fits, they go one by one, and none is left behind."""
        desk = fill(2, each=2)
        taken = []
        while (batch := desk.take(Limits(10, max_bytes))) is not None:
            assert batch.events == 1
            taken += numbers(batch.data)
        assert taken == [0, 1, 2, 3]

    def test_exactly_full(self) -> None:
        """A batch may be as large as the limit, to the byte."""
        desk = fill(10, 1)
        size = len(event(0))
        array = 2 + 3 * size + 2
        for limit, events in ((array, 3), (array - 1, 2), (array + size, 3), (array + size + 1, 4)):
            batch = desk.take(Limits(10, limit))
            assert batch is not None
            assert batch.events == events
            desk.release(batch)

    def test_over_the_end_of_the_look_ahead(self) -> None:
        """A batch goes on where the look-ahead ends, and so do the batches after it."""
        desk = Desk()

        def insert_many(store: Store) -> None:
            for number in range(LOOK_AHEAD + 600):
                store.insert("main", segment(number).data, 1)

        desk.write(insert_many)
        taken = []
        while (batch := desk.take(Limits(1000, 1 << 30))) is not None:
            taken.append(batch.events)
        assert set(taken[:-1]) == {1000}
        assert sum(taken) == LOOK_AHEAD + 600

    def test_a_row_is_read_once(self) -> None:
        """A large row that is used up in small batches is read from the file once."""
        desk = fill(1, each=100)
        desk.store.destinations["main"].look_again()
        read: list[str] = []
        desk.db.set_trace_callback(lambda text: read.append(text) if "checksum" in text else None)
        while desk.take(Limits(10, 1 << 20)) is not None:
            pass
        assert len(read) == 1

    def test_what_was_just_committed_is_not_read(self) -> None:
        """Events that are delivered soon are taken from memory, but no more of them than is kept there."""
        desk = fill(20, each=10, filler=50_000)
        state = desk.store.destinations["main"]
        assert 3 << 20 < state.kept_bytes <= 4 << 20
        read: list[str] = []
        desk.db.set_trace_callback(lambda text: read.append(text) if "checksum" in text else None)
        kept = state.kept_bytes // 500_000 * 10
        first, second = desk.take(Limits(kept, 1 << 30)), desk.take()
        assert first is not None
        assert second is not None
        assert numbers(first.data + second.data) == list(range(200))
        assert (len(read), state.kept_bytes) == (1, 0)

    def test_rows_of_others_are_not_read(self) -> None:
        """Few rows are read one by one: what lies between them is not touched."""
        desk = fill(30, 1)
        batches = [desk.take(Limits(10, 1 << 20)) for _ in range(3)]
        assert batches[0] is not None
        desk.release(batches[0])
        again = desk.take()
        assert again is not None
        assert numbers(again.data) == list(range(10))


def test_nothing_waits() -> None:
    """An empty queue hands out nothing, and neither does one of which all is leased."""
    desk = fill(1, 1)
    batch = desk.take()
    assert batch is not None
    assert desk.take() is None
    desk.settle(batch, Burial("rejected"))
    assert desk.take() is None


def test_parts_that_were_settled_stay_settled() -> None:
    """What comes back of a batch is handed out without the parts that were settled, in order."""
    desk = fill(2, each=5)
    batch = desk.take(PLENTY)
    assert batch is not None
    left, right = batch.split(3)
    middle, right = right.split(4)
    desk.settle(middle)
    desk.release(right)
    desk.release(left)
    again = desk.take(PLENTY)
    assert again is not None
    assert numbers(again.data) == [0, 1, 2, 7, 8, 9]
    assert len(lines(again.data)) == again.events


def test_the_database_says_no(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the database while reading loses nothing, either."""
    desk = fill(3, 1)
    desk.store.destinations["main"].look_again()

    def broken(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(desk.store, "rows_of", broken)
        with pytest.raises(sqlite3.OperationalError):
            desk.take()
    batch = desk.take()
    assert batch is not None
    assert numbers(batch.data) == [0, 1, 2]


def _insert(store: Store, number: int) -> None:
    store.insert("main", segment(number).data, 1)


class TestDamage:
    def test_a_damaged_row_is_not_handed_out(self) -> None:
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
    def test_whatever_is_in_it(self, data: bytes) -> None:
        """As many dead letters as there were events are kept, whatever can be told apart of them."""
        desk = fill(3, each=4)
        damage(desk, 1, data)
        batch = desk.take()
        assert batch is not None
        assert batch.events == 8
        counters = views.counters(desk.store, "main")
        assert (counters.dead, counters.queued, counters.accepted) == (4, 8, 12)

    @pytest.mark.parametrize("events", [0, 1, 3, 5, 1 << 40])
    def test_a_number_of_events_that_is_damaged(self, events: int) -> None:
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

    def test_nothing_but_damage(self) -> None:
        """Where all is damaged, nothing is handed out, and nothing waits any more."""
        desk = fill(3, 1)
        for nth in range(3):
            damage(desk, nth)
        assert desk.take() is None
        assert desk.store.destinations["main"].pending().events == 0
        assert views.counters(desk.store, "main").dead == 3

    def test_missing_rows_are_counted(self) -> None:
        """Positions whose row is gone count as dropped, so the account still adds up."""
        desk = fill(5, each=2)
        desk.db.execute("DELETE FROM segment WHERE id IN (SELECT id FROM segment ORDER BY id LIMIT 2 OFFSET 1)")
        desk.store.destinations["main"].look_again()
        batch = desk.take()
        assert batch is not None
        assert numbers(batch.data) == [0, 1, 6, 7, 8, 9]
        counters = views.counters(desk.store, "main")
        assert (counters.dropped, counters.queued, counters.accepted) == (4, 6, 10)

    def test_a_storage_that_cannot_bury_loses_nothing(self) -> None:
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


class TestSingleEvents:
    def test_many_of_a_row(self) -> None:
        """However many of its events are wanted again, and with gaps between them, a row is looked for once."""
        desk = fill(3, each=100)
        assert desk.take() is not None
        wanted = [*range(10, 50), 99, *range(200, 300, 7)]
        statements = list[str]()
        desk.db.set_trace_callback(statements.append)
        again = take.take_again(desk.store, "main", [*reversed(wanted), 10], 1 << 20)
        desk.db.set_trace_callback(None)
        assert [numbers(batch.data) for batch in again] == [[number] for number in wanted]
        assert [batch.position for batch in again] == wanted
        # For each of the two rows: which one has the position, what is known of it, and its data.
        assert len(statements) <= 6

    def test_a_damaged_row_yields_nothing(self) -> None:
        """What does not match its checksum is neither handed out nor leased; it is buried when its turn comes."""
        desk = Desk()
        desk.append(segment(0, 3))
        desk.append(segment(3, 3))
        desk.db.execute(
            "UPDATE segment SET data = CAST(replace(data, '\"n\":1', '\"n\":7') AS BLOB) WHERE id & 255 = 0"
        )
        assert take.take_at(desk.store, "main", 1) == []
        assert not desk.store.destinations["main"].leased
        assert len(take.take_at(desk.store, "main", 4)) == 1
        [again] = take.take_again(desk.store, "main", [1, 4], 1 << 20)
        assert numbers(again.data) == [4]
        desk.close()
