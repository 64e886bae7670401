"""Dead letters: found, replayed and dropped, in bounded steps."""

from __future__ import annotations

from functools import partial

import pytest

from forwarder.model import Burial, DeadFilter, DeadSegment, Limits
from forwarder.queue.base import Share
from forwarder.queue.sqlite import admission, dead, views
from forwarder.queue.sqlite.letters import COLUMNS, read_row
from forwarder.queue.sqlite.sizes import ROW_BYTES
from tests.queue.building import event, numbers, segment
from tests.queue.sqlite.stores import ALL, Desk, lines

REJECTED = Burial("rejected", 400, "no")
ID = "00000000-0000-4000-8000-{:012}"


def graveyard(count: int, *, filler: int = 0, burial: Burial = REJECTED, together: int = 50) -> Desk:
    """Return a store with so many dead letters, `together` in a segment."""
    desk = Desk(max_bytes=256 << 20)
    for first in range(0, count, together):
        desk.append(segment(first, min(together, count - first), filler=filler))
    while (batch := desk.take(Limits(together, 1 << 30))) is not None:
        desk.settle(batch, burial)
    return desk


def mute(desk: Desk, wanted: str = "TRUE") -> None:
    """Take their events from some rows of letters, as damage does that a checksum does not find."""
    rows = desk.db.execute(f"SELECT {COLUMNS} FROM dead_segment WHERE {wanted}").fetchall()
    replace(desk, rows, b"")


def replace(desk: Desk, rows: list[tuple[object, ...]], event: bytes) -> None:
    for values in rows:
        row = read_row(values)
        assert row is not None
        row.data = (event + b"\n") * row.events
        *_, found, data = row.values()
        desk.db.execute("UPDATE dead_segment SET data = ?, checksum = ? WHERE id = ?", (data, found, row.id))


class TestFind:
    def test_pages(self) -> None:
        """Page after page finds each letter once, in order."""
        desk = graveyard(120)
        found, after = list[int](), 0
        while True:
            letters, after = dead.find(desk.store, ALL, after, 7)
            found += [letter.id for letter in letters]
            if not after:
                break
        assert found == list(range(1, 121))

    def test_a_page_is_bounded_by_size(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Large letters come few at a time, at least the row that one of them is in."""
        monkeypatch.setattr(dead, "STEP_BYTES", 5000)
        desk = graveyard(10, filler=2000, together=1)
        letters, after = dead.find(desk.store, ALL, 0, 256)
        assert (len(letters), after) == (3, 3)
        monkeypatch.setattr(dead, "STEP_BYTES", 1)
        assert [letter.id for letter in dead.find(desk.store, ALL, 3, 256)[0]] == [4]

    def test_a_search_goes_on_where_it_was(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Looking for what is far away takes many steps, none of which finds it but the last."""
        monkeypatch.setattr(dead, "STEP_ROWS", 3)
        desk = graveyard(10, together=1)
        wanted, steps, after = DeadFilter(ids=(ID.format(9),)), list[int](), 0
        while True:
            letters, after = dead.find(desk.store, wanted, after, 256)
            steps.append(len(letters))
            if not after:
                break
        assert steps == [0, 0, 0, 1]

    def test_any_number_of_ids(self) -> None:
        """A filter may name more ids than SQLite takes values."""
        desk = graveyard(3)
        ids = tuple(str(number) for number in range(2, 300_000))
        assert [letter.id for letter in desk.letters(DeadFilter(ids=ids))] == [2, 3]

    @pytest.mark.parametrize("word", ["", "x", "-1", "1.0", "9" * 40, "'", '"', "\x00", "\udcff", "٣", "null", "[1]"])
    def test_any_text(self, word: str) -> None:
        """What nobody has is found nowhere, whatever is in it: an id, a reason, a source, an object."""
        desk = graveyard(3)
        mute(desk, "id = 3")
        wanted = [
            DeadFilter(ids=(word,)),
            DeadFilter(reason=word),
            DeadFilter(source=word),
            DeadFilter(object=(word, word)),
        ]
        assert [desk.letters(one) for one in wanted] == [[], [], [], []]
        assert [desk.purge_dead(one) for one in wanted] == [0, 0, 0, 0]

    def test_an_event_id_that_looks_like_a_number(self) -> None:
        """A number is the number of a letter, or the id of an event; both are found."""
        desk = graveyard(3, together=1)
        rows = desk.db.execute(f"SELECT {COLUMNS} FROM dead_segment WHERE id = 1").fetchall()
        replace(desk, rows, b'{"eventId":"3"}')
        assert [letter.id for letter in desk.letters(DeadFilter(ids=("3",)))] == [1, 3]

    @pytest.mark.parametrize("text", ['"3\\u0000"', '"\\u0033\\u0000"'])
    def test_an_id_with_escapes(self, text: str) -> None:
        """An id is what its text means, however it is written."""
        desk = graveyard(3, together=1)
        rows = desk.db.execute(f"SELECT {COLUMNS} FROM dead_segment WHERE id = 1").fetchall()
        replace(desk, rows, b'{"eventId":' + text.encode() + b"}")
        assert [letter.id for letter in desk.letters(DeadFilter(ids=("3\0",)))] == [1]
        assert [letter.id for letter in desk.letters(DeadFilter(ids=("3",)))] == [3]

    def test_by_source_and_object(self) -> None:
        """The letters of one source, or about one object, are found among others of their segment."""
        desk = Desk()
        events = [
            b'{"eventSourceId":"%b","eventType":"t","eventObjectType":"%b","eventObjectId":"%b"}\n' % (s, t, i)
            for s in (b"app", b"web")
            for t, i in ((b"user", b"1"), (b"user", b"2"), (b"group", b"1"))
        ]
        desk.write(
            lambda store: admission.append(store, [], [DeadSegment("main", 6, b"".join(events), Burial("rejected"))])
        )
        assert [letter.id for letter in desk.letters(DeadFilter(source="web"))] == [4, 5, 6]
        assert [letter.id for letter in desk.letters(DeadFilter(object=("user", "1")))] == [1, 4]
        assert desk.purge_dead(DeadFilter(source="app", object=("user", "1"))) == 1
        assert [letter.id for letter in desk.letters(DeadFilter(object=("user", "1")))] == [4]
        assert views.counters(desk.store, "main").dropped == 1


class TestNumbers:
    def test_they_stay(self) -> None:
        """Letters keep their numbers whatever leaves around them, and none is given twice."""
        desk = graveyard(10)
        assert desk.purge_dead(DeadFilter(ids=("1", "3", "4", "8"))) == 4
        assert [letter.id for letter in desk.letters()] == [2, 5, 6, 7, 9, 10]
        assert [numbers(letter.event + b"\n") for letter in desk.letters()] == [[1], [4], [5], [6], [8], [9]]
        assert desk.replay(DeadFilter(ids=("10",))) == 1
        assert desk.purge_dead(ALL) == 5
        batch = desk.take()
        assert batch is not None
        desk.settle(batch, REJECTED)
        assert [letter.id for letter in desk.letters()] == [11]

    def test_times_of_acceptance(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each letter has the time at which it was accepted, also when others around it are gone."""
        now = iter([1.0, 2.0, 3.0])
        monkeypatch.setattr("forwarder.queue.sqlite.store.time", lambda: next(now))
        desk = Desk()
        for first in range(0, 6, 2):
            desk.append(segment(first, 2))
        batch = desk.take()
        assert batch is not None
        desk.settle(batch, REJECTED)
        assert desk.column("SELECT count(*) FROM dead_segment") == [1]
        desk.purge_dead(DeadFilter(ids=("2", "3")))
        assert [(letter.id, letter.accepted_at) for letter in desk.letters()] == [
            (1, 1.0),
            (4, 2.0),
            (5, 3.0),
            (6, 3.0),
        ]

    def test_a_row_is_not_larger_than_is_read_at_once(self) -> None:
        """What died together in a large batch has one reason in rows of a size, and consecutive numbers."""
        desk = Desk()
        desk.append(segment(0, 500, filler=2000))
        batch = desk.take()
        assert batch is not None
        desk.settle(batch, REJECTED)
        sizes = desk.column("SELECT length(data) FROM dead_segment")
        assert (len(sizes), max(sizes) <= ROW_BYTES) == (5, True)
        assert [letter.id for letter in desk.letters()] == list(range(1, 501))


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
        mute(desk, "id <= 600")
        assert desk.replay(ALL) == 300
        assert desk.replay(ALL) == 0
        counters = views.counters(desk.store, "main")
        assert (counters.queued, counters.dead) == (300, 600)

    def test_what_was_no_event_stays(self) -> None:
        """What was accepted as a dead letter because it breaks the rules is not put into a queue."""
        desk = graveyard(3, burial=Burial("invalid", None, "eventType: is required"))
        assert desk.replay(ALL) == 0
        assert views.counters(desk.store, "main").dead == 3

    @pytest.mark.parametrize("damaged", [b'{"a":"b"c"}', b'{"a":\r1}', b'{"a":"\xff"}', b"[1]", b"{"])
    def test_what_is_no_event_any_more_stays(self, damaged: bytes) -> None:
        """A damaged event would spoil the batch of its neighbours: it stays, wherever it is among them."""
        desk = graveyard(900, together=1)
        rows = desk.db.execute(f"SELECT {COLUMNS} FROM dead_segment WHERE id <= 600 OR id % 2").fetchall()
        replace(desk, rows, damaged)
        assert desk.replay(ALL) == 150
        assert desk.replay(ALL) == 0
        batch = desk.take()
        assert batch is not None
        assert numbers(batch.data) == list(range(601, 900, 2))
        assert views.counters(desk.store, "main").dead == 750

    def test_a_row_that_does_not_match_its_checksum_stays(self) -> None:
        """A flipped bit within a string is seen: what may have been altered is shown and purged, never sent."""
        desk = graveyard(100)
        [data] = desk.column("SELECT data FROM dead_segment WHERE id = 50")
        desk.db.execute("UPDATE dead_segment SET data = ? WHERE id = 50", (data.replace(b'"n":7', b'"n":6'),))
        assert desk.replay(ALL) == 50
        assert [letter.id for letter in desk.letters()] == list(range(1, 51))
        assert desk.purge_dead(DeadFilter(ids=("8",))) == 1
        assert desk.replay(ALL) == 0
        assert desk.purge_dead(ALL) == 49
        counters = views.counters(desk.store, "main")
        assert (counters.dead, counters.dropped, counters.queued, counters.dead_bytes) == (0, 50, 50, 0)

    def test_what_stays_is_passed_in_steps(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A step ends after so many rows, though none of them goes, and the next begins behind them."""
        monkeypatch.setattr(dead, "STEP_ROWS", 4)
        desk = graveyard(250)
        mute(desk, "id <= 200")
        assert desk.write(partial(dead.replay, wanted=ALL, after=0)) == (0, 200)
        assert desk.write(partial(dead.replay, wanted=ALL, after=200)) == (50, 0)

    def test_large_letters_go_in_steps(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """No step writes more than so many bytes."""
        monkeypatch.setattr(dead, "STEP_BYTES", 10_000)
        desk = graveyard(50, filler=2000, together=1)
        assert desk.replay(ALL) == 50
        assert max(desk.column("SELECT size FROM segment")) < 15_000


class TestPurge:
    def test_counts_as_dropped(self) -> None:
        """What is purged is gone and counted; what the filter leaves out stays."""
        desk = graveyard(600)
        keep = DeadFilter(ids=("600",))
        assert desk.purge_dead(DeadFilter(died_before=0.0)) == 0
        letters = desk.letters(keep)
        assert desk.purge_dead(DeadFilter(ids=tuple(str(n) for n in range(1, 600)))) == 599
        counters = views.counters(desk.store, "main")
        assert (counters.dead, counters.dropped) == (1, 599)
        assert desk.letters() == letters

    def test_letters_without_an_event_as_well(self) -> None:
        """What cannot be read can be purged."""
        desk = graveyard(3)
        mute(desk)
        assert desk.purge_dead(ALL) == 3

    def test_a_newline_that_is_damaged(self) -> None:
        """Two letters that have become one line are still two letters, of which the last has nothing left."""
        desk = graveyard(6, together=3)
        [data] = desk.column("SELECT data FROM dead_segment WHERE id = 3")
        desk.db.execute("UPDATE dead_segment SET data = ? WHERE id = 3", (data.replace(b"\n", b"\x0b", 1),))
        found = desk.letters()
        assert [letter.id for letter in found] == [1, 2, 3, 4, 5, 6]
        assert [letter.event for letter in found[:3]] == [*data.replace(b"\n", b"\x0b", 1).split(b"\n")[:2], b""]
        assert desk.purge_dead(ALL) == 6
        counters = views.counters(desk.store, "main")
        assert (counters.dead, counters.dropped, counters.dead_bytes >= 0) == (0, 6, True)

    @pytest.mark.parametrize(
        "damage",
        [
            "events = 1 << 40",
            "events = 1",
            "data = x''",
            "data = x'0a0a0a0a0a'",
            "parts = 'x'",
            "parts = '[[1,1000000000000,0]]'",
            "parts = '[[1,-1,0.0],[2,4,0.0]]'",
            "died_at = 9e999",
        ],
    )
    def test_whatever_is_damaged(self, damage: str) -> None:
        """A damaged row is listed without end to memory, purged, and the account adds up."""
        desk = graveyard(6, together=3)
        desk.db.execute(f"UPDATE dead_segment SET {damage} WHERE id = 3")
        assert desk.letters()[-1].id == 6
        desk.purge_dead(DeadFilter(ids=("3",)))
        desk.purge_dead(ALL)
        counters = views.counters(desk.store, "main")
        assert counters.accepted == counters.dropped + counters.dead + counters.queued + counters.delivered
        assert min(counters.dead, counters.dead_bytes) >= 0
        assert desk.column("SELECT count(*) FROM dead_segment") == [0]


def test_a_letter_is_the_event_as_it_was() -> None:
    """A dead letter keeps the bytes of its event."""
    desk = graveyard(1)
    [letter] = desk.letters()
    assert letter.event == event(0)
    assert lines(segment(0).data) == [letter.event]
