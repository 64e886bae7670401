"""Dead letters: found, replayed and dropped, in bounded steps."""

from __future__ import annotations

from functools import partial

import pytest

from forwarder.model import Burial, DeadFilter
from forwarder.queue import dead, views
from forwarder.queue.base import Share
from tests.queue.stores import Desk, lines
from tests.queue.test_conformance import event, numbers, segment

REJECTED = Burial("rejected", 400, "no")
ALL = DeadFilter()


def graveyard(count: int, *, filler: int = 0, burial: Burial = REJECTED) -> Desk:
    """Return a store with so many dead letters."""
    desk = Desk(max_bytes=256 << 20)
    for first in range(0, count, 50):
        desk.append(segment(first, min(50, count - first), filler=filler))
    while (batch := desk.take()) is not None:
        desk.settle(batch, burial)
    return desk


class TestFind:
    def test_pages(self) -> None:
        """Page after page finds each letter once, in order."""
        desk = graveyard(20)
        found, after = list[int](), 0
        while page := dead.find(desk.store, ALL, after, 7):
            found += [letter.id for letter in page]
            after = page[-1].id
        assert found == sorted(set(found))
        assert len(found) == 20

    def test_a_page_is_bounded_by_size(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Large letters come few at a time, at least one."""
        monkeypatch.setattr(dead, "STEP_BYTES", 5000)
        desk = graveyard(10, filler=2000)
        assert len(dead.find(desk.store, ALL, 0, 256)) == 3
        monkeypatch.setattr(dead, "STEP_BYTES", 1)
        assert len(dead.find(desk.store, ALL, 0, 256)) == 1

    def test_any_number_of_ids(self) -> None:
        """A filter may name more ids than SQLite takes values."""
        desk = graveyard(3)
        ids = tuple(str(number) for number in range(2, 300_000))
        assert [letter.id for letter in dead.find(desk.store, DeadFilter(ids=ids), 0, 10)] == [2, 3]

    @pytest.mark.parametrize("word", ["", "x", "-1", "1.0", "9" * 40, "'", '"', "\x00", "\udcff", "٣", "null", "[1]"])
    def test_any_id(self, word: str) -> None:
        """An id that nobody has is found nowhere, whatever is in it."""
        assert dead.find(graveyard(3).store, DeadFilter(ids=(word,)), 0, 10) == []

    def test_an_event_id_that_looks_like_a_number(self) -> None:
        """A number is the number of a letter, or the id of an event; both are found."""
        desk = graveyard(3)
        desk.db.execute("UPDATE dead SET event_id = '3' WHERE id = 1")
        assert [letter.id for letter in dead.find(desk.store, DeadFilter(ids=("3",)), 0, 10)] == [1, 3]


class TestReplay:
    def test_in_order_at_the_end(self) -> None:
        """Letters go to the end of their queue, in the order in which they died."""
        desk = graveyard(600)
        desk.append(segment(1000, 2))
        assert desk.replay(ALL) == 600
        batch = desk.take()
        assert batch is not None
        assert numbers(batch.data) == [1000, 1001, *range(600)]
        counters = views.counters(desk.store, "main")
        assert (counters.queued, counters.dead, counters.dead_bytes) == (602, 0, 0)

    def test_each_to_its_own_destination(self) -> None:
        """Letters of several destinations go back to the queue that they came from."""
        desk = Desk(shares={"a": Share(), "b": Share()})
        for name in ("a", "b", "a"):
            desk.append(segment(0, 3, destination=name))
            batch = desk.take(name=name)
            assert batch is not None
            desk.settle(batch, REJECTED)
        assert desk.replay(ALL) == 9
        found = {name: desk.take(name=name) for name in ("a", "b")}
        assert {name: batch.events for name, batch in found.items() if batch} == {"a": 6, "b": 3}

    def test_what_cannot_be_read_stays(self) -> None:
        """A letter without an event has nothing to send: it stays, and what is behind it is replayed."""
        desk = graveyard(900)
        desk.db.execute("UPDATE dead SET event = x'' WHERE id <= 600")
        assert desk.replay(ALL) == 300
        assert desk.replay(ALL) == 0
        counters = views.counters(desk.store, "main")
        assert (counters.queued, counters.dead) == (300, 600)

    @pytest.mark.parametrize(
        "damaged",
        [b'{"a":"b"c"}', b'{"a":\n1}', b'{"a":\r1}', b'{"a":"\xff"}', b"[1]", b"\n", b"{}\n{}"],
    )
    def test_what_is_no_event_any_more_stays(self, damaged: bytes) -> None:
        """A damaged event would spoil the batch of its neighbours: it stays, wherever it is among them."""
        desk = graveyard(900)
        desk.db.execute("UPDATE dead SET event = ? WHERE id <= 600 OR id % 2", (damaged,))
        assert desk.replay(ALL) == 150
        assert desk.replay(ALL) == 0
        batch = desk.take()
        assert batch is not None
        assert numbers(batch.data) == list(range(601, 900, 2))
        assert views.counters(desk.store, "main").dead == 750

    def test_what_stays_is_passed_in_steps(self) -> None:
        """A step ends after so many letters, though none of them goes, and the next begins behind them."""
        desk = graveyard(dead.STEP_LETTERS + 3)
        desk.db.execute("UPDATE dead SET event = x'' WHERE id <= ?", (dead.STEP_LETTERS,))
        assert desk.write(partial(dead.replay, wanted=ALL, after=0)) == (0, dead.STEP_LETTERS)
        assert desk.write(partial(dead.replay, wanted=ALL, after=dead.STEP_LETTERS)) == (3, dead.STEP_LETTERS + 3)

    def test_large_letters_go_in_steps(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """No step writes more than so many bytes."""
        monkeypatch.setattr(dead, "STEP_BYTES", 10_000)
        desk = graveyard(50, filler=2000)
        assert desk.replay(ALL) == 50
        assert max(desk.column("SELECT size FROM segment")) < 15_000


class TestPurge:
    def test_counts_as_dropped(self) -> None:
        """What is purged is gone and counted; what the filter leaves out stays."""
        desk = graveyard(600)
        keep = DeadFilter(ids=("600",))
        assert desk.purge_dead(DeadFilter(died_before=0.0)) == 0
        letters = list(dead.find(desk.store, keep, 0, 10))
        assert desk.purge_dead(DeadFilter(ids=tuple(str(n) for n in range(1, 600)))) == 599
        counters = views.counters(desk.store, "main")
        assert (counters.dead, counters.dropped) == (1, 599)
        assert dead.find(desk.store, ALL, 0, 10) == letters

    def test_letters_without_an_event_as_well(self) -> None:
        """What cannot be read can be purged."""
        desk = graveyard(3)
        desk.db.execute("UPDATE dead SET event = x''")
        assert desk.purge_dead(ALL) == 3


def test_a_letter_is_the_event_as_it_was() -> None:
    """A dead letter keeps the bytes of its event."""
    desk = graveyard(1)
    [letter] = dead.find(desk.store, ALL, 0, 10)
    assert letter.event == event(0)
    assert lines(segment(0).data) == [letter.event]
