"""Taking a batch: full, exact, and without what is damaged."""

from __future__ import annotations

import sqlite3

import pytest

from forwarder.model import Burial, Limits
from forwarder.queue.sqlite.state import LOOK_AHEAD
from forwarder.queue.sqlite.store import Store
from tests.queue.building import event, numbers, segment
from tests.queue.sqlite.stores import PLENTY, Desk, fill, lines


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
