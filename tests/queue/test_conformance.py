"""What every backend of the queue promises."""

from __future__ import annotations

import asyncio
import json

import pytest

from forwarder.errors import QueueFullError, ShuttingDownError, TooLargeError
from forwarder.model import Burial, DeadFilter, DeadSegment, Limits, Segment
from forwarder.queue.base import Share
from tests.fixtures import PATIENCE
from tests.queue.building import LIMITS, account, drain, event, next_batch, numbers, segment, take
from tests.queue.conftest import OpenQueue

REJECTED = Burial("rejected", 400, "no")


class TestOrder:
    async def test_first_in_first_out(self, open_queue: OpenQueue) -> None:
        """Events leave in the order in which they were appended, whatever the batches."""
        queue = await open_queue()
        for first in range(0, 100, 7):
            await queue.append([segment(first, 7)])
        assert await drain(queue, Limits(13, 1 << 20)) == list(range(105))

    async def test_where_a_segment_was_put(self, open_queue: OpenQueue) -> None:
        """Each append says at which positions its events will be handed out, also among others of the same moment."""
        queue = await open_queue(shares={"a": Share(), "b": Share()})
        appends = [
            [segment(first, 3, destination="a"), segment(first, 2, destination="b")] for first in range(0, 30, 3)
        ]
        appended = await asyncio.gather(*map(queue.append, appends))
        for name, events in (("a", 3), ("b", 2)):
            places = [place for places in appended for place in places if place.destination == name]
            assert [place.events for place in places] == [events] * 10
            for place in places:
                batch = await queue.take(name, Limits(events, 1 << 20))
                assert batch[0].position == place.position

    async def test_order_across_restart(self, open_queue: OpenQueue) -> None:
        """A restart changes neither the order nor what waits."""
        queue = await open_queue()
        await queue.append([segment(0, 10)])
        batch = await take(queue, Limits(4, 1 << 20))
        await queue.settle(batch)
        await queue.close()
        queue = await open_queue()
        await queue.append([segment(10, 5)])
        assert await drain(queue) == list(range(4, 15))

    async def test_new_events_after_empty(self, open_queue: OpenQueue) -> None:
        """Events that come after the queue has run empty are handed out."""
        queue = await open_queue()
        for first in range(5):
            await queue.append([segment(first)])
            assert await drain(queue) == [first]

    async def test_restart_when_empty(self, open_queue: OpenQueue) -> None:
        """A queue that was emptied before a restart goes on with new positions."""
        queue = await open_queue()
        await queue.append([segment(0, 3)])
        await drain(queue)
        await queue.close()
        queue = await open_queue()
        await queue.append([segment(3, 3)])
        assert await drain(queue) == [3, 4, 5]

    async def test_two_destinations(self, open_queue: OpenQueue) -> None:
        """Each destination has a queue and an account of its own."""
        queue = await open_queue(shares={"a": Share(), "b": Share()})
        await queue.append([segment(0, 2, destination="a"), segment(0, 3, destination="b")])
        assert await drain(queue, destination="b") == [0, 1, 2]
        assert (await account(queue, "a")).queued == 2
        assert (await account(queue, "b")).queued == 0


class TestLimits:
    async def test_full_batches_from_a_backlog(self, open_queue: OpenQueue) -> None:
        """Batches are filled to their limit across the borders of segments."""
        queue = await open_queue()
        for first in range(0, 1000, 30):
            await queue.append([segment(first, 30)])
        sizes = []
        while (batch := await next_batch(queue, "main", Limits(100, 1 << 20))) is not None:
            sizes.append(batch.events)
            await queue.settle(batch)
        assert sizes == [100] * 10 + [20]

    async def test_several_at_a_time(self, open_queue: OpenQueue) -> None:
        """Several batches are handed out together, in order, those behind the first only if they are full."""
        queue = await open_queue()
        await queue.append([segment(0, 25)])
        limits = Limits(10, 1 << 20)
        first = await queue.take("main", limits, 5)
        assert [numbers(batch.data) for batch in first] == [list(range(10)), list(range(10, 20))]
        assert [batch.events for batch in await queue.take("main", limits, 5)] == [5]
        assert await queue.take("main", limits, 5) == []
        for batch in first:
            queue.release(batch)
        assert [batch.events for batch in await queue.take("main", limits, 5)] == [10, 10]

    async def test_bytes_of_the_array(self, open_queue: OpenQueue) -> None:
        """The JSON array of a batch is never larger than `max_bytes`, and as large as it can be."""
        queue = await open_queue()
        await queue.append([segment(0, 50), segment(50, 50)])
        size = len(event(10))
        limit = 2 + 10 * size + 9
        while (batch := await next_batch(queue, "main", Limits(1000, limit))) is not None:
            assert batch.events == 10
            assert len(b"[" + batch.data[:-1].replace(b"\n", b",") + b"]") <= limit
            await queue.settle(batch)

    async def test_oversize_event_goes_alone(self, open_queue: OpenQueue) -> None:
        """An event that alone is over `max_bytes` makes a batch of its own, in its place."""
        queue = await open_queue()
        await queue.append([segment(0, 2), segment(2, 1, filler=5000), segment(3, 2)])
        taken = []
        while (batch := await next_batch(queue, "main", Limits(100, 1000))) is not None:
            taken.append(numbers(batch.data))
            await queue.settle(batch)
        assert taken == [[0, 1], [2], [3, 4]]


class TestHolding:
    async def test_held_is_not_handed_out_again(self, open_queue: OpenQueue) -> None:
        """Two takers never hold the same event."""
        queue = await open_queue()
        await queue.append([segment(0, 10)])
        first, second = await take(queue, Limits(6, 1 << 20)), await take(queue, Limits(6, 1 << 20))
        assert numbers(first.data) + numbers(second.data) == list(range(10))
        assert await next_batch(queue, "main", LIMITS) is None

    async def test_released_comes_back_in_place(self, open_queue: OpenQueue) -> None:
        """A released batch is handed out before what lies behind it."""
        queue = await open_queue()
        await queue.append([segment(0, 10)])
        first, _second = await take(queue, Limits(3, 1 << 20)), await take(queue, Limits(3, 1 << 20))
        queue.release(first)
        assert numbers((await take(queue)).data) == [0, 1, 2, 6, 7, 8, 9]

    async def test_out_of_order_settlement_survives(self, open_queue: OpenQueue) -> None:
        """What was settled ahead of an older batch is not delivered again after a restart."""
        queue = await open_queue()
        await queue.append([segment(0, 10), segment(10, 10)])
        held = [await take(queue, Limits(5, 1 << 20)) for _ in range(4)]
        await queue.settle(held[1])
        await queue.settle(held[3])
        assert (await account(queue)).queued == 10
        await queue.close()
        queue = await open_queue()
        assert await drain(queue) == [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]
        assert (await account(queue)).delivered == 20

    async def test_renewing_changes_nothing_else(self, open_queue: OpenQueue) -> None:
        """What is renewed stays leased, what was released before waits, and both can be settled."""
        queue = await open_queue()
        await queue.append([segment(0, 10)])
        first, second = await take(queue, Limits(3, 1 << 20)), await take(queue, Limits(3, 1 << 20))
        queue.release(second)
        await queue.renew("main")
        assert numbers((await take(queue)).data) == [3, 4, 5, 6, 7, 8, 9]
        assert await queue.settle(first)
        assert (await account(queue)).delivered == 3

    async def test_split_batches_settle_on_their_own(self, open_queue: OpenQueue) -> None:
        """The halves of a batch are settled separately: one delivered, one dead."""
        queue = await open_queue()
        await queue.append([segment(0, 3), segment(3, 3)])
        left, right = (await take(queue)).split(4)
        await queue.settle(right, REJECTED)
        await queue.settle(left)
        found = await account(queue)
        assert (found.delivered, found.dead, found.queued) == (4, 2, 0)
        assert [json.loads(letter.event)["data"]["n"] async for letter in queue.dead_letters(DeadFilter())] == [4, 5]

    async def test_cancelled_taker_holds_nothing(self, open_queue: OpenQueue) -> None:
        """A batch that was taken for a cancelled task goes back."""
        queue = await open_queue()
        await queue.append([segment(0, 3)])
        task = asyncio.create_task(next_batch(queue, "main", LIMITS))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await queue.stats()
        assert await drain(queue) == [0, 1, 2]


class TestApart:
    async def test_one_from_farther_back(self, open_queue: OpenQueue) -> None:
        """An event is taken out of its turn, and the others come in order, without it."""
        queue = await open_queue()
        await queue.append([segment(0, 10), segment(10, 10)])
        first = await take(queue, Limits(3, 1 << 20))
        found = await queue.take_at("main", first.position + 12)
        assert found is not None
        assert (found.events, numbers(found.data)) == (1, [12])
        await queue.settle(found)
        assert await drain(queue) == [*range(3, 12), *range(13, 20)]
        queue.release(first)
        assert await drain(queue) == [0, 1, 2]

    async def test_past_what_is_held_and_settled(self, open_queue: OpenQueue) -> None:
        """What is held or settled at that position is passed; behind the last event comes the last one."""
        queue = await open_queue()
        await queue.append([segment(0, 10)])
        start = (await take(queue, Limits(2, 1 << 20))).position
        await queue.settle(await take(queue, Limits(2, 1 << 20)))
        for asked, expected in [(0, 4), (2, 5), (1 << 40, 9), (9, 8), (6, 6), (7, 7)]:
            found = await queue.take_at("main", start + asked)
            assert found is not None
            assert numbers(found.data) == [expected]
        assert await queue.take_at("main", start) is None

    async def test_released_comes_back_in_place(self, open_queue: OpenQueue) -> None:
        """One that was taken out of its turn and is given back has its old place."""
        queue = await open_queue()
        await queue.append([segment(0, 5)])
        found = await queue.take_at("main", 3)
        assert found is not None
        assert queue.pending("main").events == 4
        queue.release(found)
        assert await drain(queue) == list(range(5))

    async def test_held_ones_again(self, open_queue: OpenQueue) -> None:
        """Events that are held are read again, a batch each, and stay held."""
        queue = await open_queue()
        await queue.append([segment(0, 5), segment(5, 5)])
        start = (await take(queue)).position
        wanted = [start + number for number in (8, 1, 3)]
        batches = await queue.take_again("main", wanted, 1 << 20)
        assert [numbers(batch.data) for batch in batches] == [[1], [3], [8]]
        assert await drain(queue) == []
        await queue.settle(batches[1], REJECTED)
        found = await account(queue)
        assert (found.queued, found.dead) == (9, 1)

    async def test_held_ones_are_bounded(self, open_queue: OpenQueue) -> None:
        """As many are read as fit into the bytes, and at least one."""
        queue = await open_queue()
        await queue.append([segment(0, 4, filler=1000)])
        start = (await take(queue)).position
        positions = range(start, start + 4)
        assert len(await queue.take_again("main", positions, 1)) == 1
        assert len(await queue.take_again("main", positions, 2500)) == 2


class TestDeadLetters:
    async def test_kept_with_the_reason(self, open_queue: OpenQueue) -> None:
        """A dead letter has the event as it was, its id, and why it died."""
        queue = await open_queue()
        await queue.append([segment(7)])
        await queue.settle(await take(queue), REJECTED)
        await queue.close()
        queue = await open_queue()
        [letter] = [letter async for letter in queue.dead_letters(DeadFilter())]
        assert letter.event == event(7)
        assert letter.event_id == "00000000-0000-4000-8000-000000000007"
        assert (letter.reason, letter.status, letter.detail, letter.destination) == ("rejected", 400, "no", "main")

    @pytest.mark.parametrize(
        ("wanted", "found"),
        [
            (DeadFilter(destination="main"), 4),
            (DeadFilter(destination="other"), 0),
            (DeadFilter(ids=("1", "3")), 2),
            (DeadFilter(ids=("00000000-0000-4000-8000-000000000002",)), 1),
            (DeadFilter(reason="rejected"), 2),
            (DeadFilter(reason="expired", ids=("1",)), 0),
            (DeadFilter(died_before=0.0), 0),
            (DeadFilter(died_before=4e9), 4),
            (DeadFilter(type="t"), 4),
            (DeadFilter(type="T"), 0),
            (DeadFilter(text='"N":2'), 1),
            (DeadFilter(text="nowhere"), 0),
            (DeadFilter(status=400), 2),
            (DeadFilter(status=0), 2),
            (DeadFilter(detail="no"), 2),
            (DeadFilter(detail=""), 2),
            (DeadFilter(after=1), 3),
            (DeadFilter(after=4), 0),
        ],
    )
    async def test_filters(self, open_queue: OpenQueue, wanted: DeadFilter, found: int) -> None:
        """Filters combine: list, replay and purge concern the same letters."""
        queue = await open_queue()
        await queue.append([segment(0, 4)])
        left, right = (await take(queue)).split(2)
        await queue.settle(left, REJECTED)
        await queue.settle(right, Burial("expired"))
        assert len([letter async for letter in queue.dead_letters(wanted)]) == found
        assert await queue.replay(wanted) == found
        counters = await account(queue)
        assert (counters.queued, counters.dead) == (found, 4 - found)
        assert len(await drain(queue)) == found

    @pytest.mark.parametrize("word", ["\x00", "\x00\x00", "a\x00", "a\x00b", "\udcff", "%", "*", "null", " ", '"', "٣"])
    async def test_an_id_finds_itself_alone(self, open_queue: OpenQueue, word: str) -> None:
        """An id that no letter has finds none, whatever is in it: not those without a readable id, either."""
        queue = await open_queue()
        named = b'{"eventSourceId":"s","eventType":"t","eventId":"a"}'
        await queue.append([Segment("main", 4, event(0) + b'\n{"a":"b"c"}\n{"a":1}\n' + named + b"\n")])
        await queue.settle(await take(queue), REJECTED)
        wanted = DeadFilter(ids=(word,))
        assert [letter async for letter in queue.dead_letters(wanted)] == []
        assert (await queue.replay(wanted), await queue.purge_dead(wanted)) == (0, 0)
        assert await queue.purge_dead(DeadFilter(ids=(word, "a"))) == 1

    async def test_what_is_damaged_is_not_replayed(self, open_queue: OpenQueue) -> None:
        """A dead letter that is no event any more stays; its neighbours go back."""
        queue = await open_queue()
        await queue.append([Segment("main", 3, event(0) + b'\n{"a":"b"c"}\n' + event(2) + b"\n")])
        await queue.settle(await take(queue), REJECTED)
        assert await queue.replay(DeadFilter()) == 2
        assert await drain(queue) == [0, 2]
        assert [letter.event async for letter in queue.dead_letters(DeadFilter())] == [b'{"a":"b"c"}']
        assert (await account(queue)).dead == 1

    async def test_purge_counts_as_dropped(self, open_queue: OpenQueue) -> None:
        """Purged dead letters are dropped, counted, and gone."""
        queue = await open_queue()
        await queue.append([segment(0, 700)])
        await queue.settle(await take(queue), REJECTED)
        assert await queue.purge_dead(DeadFilter(destination="main")) == 700
        found = await account(queue)
        assert (found.dead, found.dropped, found.dead_bytes) == (0, 700, 0)

    async def test_how_many_ever_died(self, open_queue: OpenQueue) -> None:
        """What has died and what was replayed only grows, whatever becomes of them, and across a restart."""
        queue = await open_queue()

        async def found() -> tuple[int, int, int]:
            counters = await account(queue)
            return counters.died, counters.replayed, counters.dead

        await queue.append([segment(0, 5)])
        await queue.settle((await take(queue)).split(4)[0], REJECTED)
        assert await found() == (4, 0, 4)
        assert await queue.replay(DeadFilter(ids=("1", "2"))) == 2
        assert await found() == (4, 2, 2)
        assert await queue.purge_dead(DeadFilter()) == 2
        assert await found() == (4, 2, 0)
        assert await queue.expire("main", 4e9, Burial("expired")) == 2
        await queue.close()
        queue = await open_queue()
        assert await found() == (6, 2, 2)

    async def test_listing_is_bounded(self, open_queue: OpenQueue) -> None:
        """A limit stops the listing; without one all letters come, however many."""
        queue = await open_queue()
        await queue.append([segment(0, 600)])
        await queue.settle(await take(queue), REJECTED)
        assert len([letter async for letter in queue.dead_letters(DeadFilter(), limit=3)]) == 3
        assert len([letter async for letter in queue.dead_letters(DeadFilter())]) == 600


class TestInvalid:
    """What is accepted though it is no event."""

    BURIAL = Burial("invalid", 422, "no")

    async def test_dies_as_it_comes(self, open_queue: OpenQueue) -> None:
        """It is accepted together with the events beside it, and is a dead letter at once; a replay leaves it alone."""
        queue = await open_queue(shares={"main": Share(), "invalid": Share()})
        await queue.append([segment(0, 2)], [DeadSegment("invalid", 2, b"{}\nnone\n", self.BURIAL)])
        found = await account(queue, "invalid")
        assert (found.accepted, found.dead, found.queued) == (2, 2, 0)
        assert await queue.replay(DeadFilter()) == 0
        letters = [letter async for letter in queue.dead_letters(DeadFilter(reason="invalid"))]
        assert [(letter.event, letter.status, letter.detail) for letter in letters] == [
            (b"{}", 422, "no"),
            (b"none", 422, "no"),
        ]

    async def test_has_a_share(self, open_queue: OpenQueue) -> None:
        """Where it does not fit into its share, nothing of the request is stored."""
        queue = await open_queue(shares={"main": Share(), "invalid": Share(100_000)})
        died = DeadSegment("invalid", 60, (b"x" * 1000 + b"\n") * 60, self.BURIAL)
        await queue.append([], [died])
        with pytest.raises(QueueFullError):
            await queue.append([segment(0)], [died])
        assert (await account(queue)).accepted == 0

    async def test_groups(self, open_queue: OpenQueue) -> None:
        """Letters of the same destination, reason and answer are one group; the largest comes first."""
        queue = await open_queue()
        assert await queue.dead_groups() == []
        await queue.append([segment(0, 6)])
        first, rest = (await take(queue)).split(2)
        middle, last = rest.split(1)
        await queue.settle(first, REJECTED)
        await queue.settle(middle, REJECTED)
        await queue.settle(last, Burial("expired"))
        assert (await queue.stats()).last_letter == 6
        groups = await queue.dead_groups()
        found = [(group.destination, group.reason, group.status, group.detail, group.events) for group in groups]
        assert found == [("main", "expired", None, "", 3), ("main", "rejected", 400, "no", 3)]
        letters = [letter async for letter in queue.dead_letters(DeadFilter(reason="rejected"))]
        times = [letter.died_at for letter in letters]
        assert (groups[1].first, groups[1].last) == (min(times), max(times))

    async def test_replayed_as_another(self, open_queue: OpenQueue) -> None:
        """A letter is queued with another text, once, and the account says that it was replayed."""
        queue = await open_queue()
        await queue.append([segment(0, 3)])
        await queue.settle(await take(queue), REJECTED)
        await queue.append([segment(7)])
        _, letter, _ = [letter async for letter in queue.dead_letters(DeadFilter())]
        assert await queue.replay_as(letter, event(5, filler=100))
        assert not await queue.replay_as(letter, event(6))
        await queue.close()
        queue = await open_queue()
        counters = await account(queue)
        assert (counters.accepted, counters.queued, counters.dead, counters.replayed) == (4, 2, 2, 1)
        assert await drain(queue) == [7, 5]
        assert [numbers([each.event]) async for each in queue.dead_letters(DeadFilter())] == [[0], [2]]

    async def test_readmitted(self, open_queue: OpenQueue) -> None:
        """What passes the checks later is accepted elsewhere; what does not dies again, for another reason."""
        queue = await open_queue(shares={"main": Share(), "invalid": Share()})
        await queue.append([], [DeadSegment("invalid", 3, b"1\n2\n3\n", self.BURIAL)])
        passed, again, left = [letter async for letter in queue.dead_letters(DeadFilter())]
        other = Burial("invalid", 400, "worse")
        assert await queue.readmit([passed], [segment(0)], [(again, other)])
        found = await account(queue, "invalid")
        assert (found.delivered, found.dead) == (1, 2)
        # What dies for another reason has not died once more.
        assert (found.died, found.replayed) == (3, 1)
        letters = [letter async for letter in queue.dead_letters(DeadFilter())]
        assert [letter.event for letter in letters] == [left.event, again.event]
        assert (letters[1].detail, letters[1].accepted_at) == ("worse", again.accepted_at)
        # Without this number nobody could tell that a letter was exchanged for another.
        assert (await queue.stats()).last_letter == letters[1].id > left.id
        assert await drain(queue) == [0]
        # One of them is gone by now.
        assert not await queue.readmit([passed, left], [segment(1)])
        assert (await account(queue, "invalid")).dead == 2
        assert await drain(queue) == []


class TestLeavingTheQueue:
    async def test_expire_takes_only_the_old(self, open_queue: OpenQueue) -> None:
        """Only what was accepted before the given time expires."""
        queue = await open_queue()
        await queue.append([segment(0, 3)])
        oldest = (await take(queue)).oldest
        assert await queue.expire("main", oldest, Burial("expired")) == 0
        assert (await account(queue)).queued == 3

    async def test_held_events_do_not_expire(self, open_queue: OpenQueue) -> None:
        """What somebody holds stays; the rest goes to the dead letters."""
        queue = await open_queue()
        await queue.append([segment(0, 300)])
        held = await take(queue, Limits(100, 1 << 20))
        assert await queue.expire("main", 4e9, Burial("expired")) == 200
        await queue.settle(held)
        found = await account(queue)
        assert (found.delivered, found.dead, found.queued) == (100, 200, 0)

    async def test_purge_drops_what_is_not_held(self, open_queue: OpenQueue) -> None:
        """A purge counts what it drops and leaves held events alone."""
        queue = await open_queue()
        for first in range(0, 1000, 10):
            await queue.append([segment(first, 10)])
        held = await take(queue, Limits(15, 1 << 20))
        assert await queue.purge("main") == 985
        queue.release(held)
        assert await drain(queue) == list(range(15))
        assert (await account(queue)).dropped == 985

    async def test_purge_ends_with_what_waits_now(self, open_queue: OpenQueue) -> None:
        """However fast events come while a purge goes on, it drops those that waited when it began."""
        queue = await open_queue()
        for first in range(0, 3000, 10):
            await queue.append([segment(first, 10)])

        async def produce() -> int:
            for first in range(3000, 9000, 10):
                await queue.append([segment(first, 10)])
                if purging.done():
                    return first + 10
            return 9000

        purging = asyncio.ensure_future(queue.purge("main"))
        # What is asked for first is looked at first.
        await asyncio.sleep(0)
        accepted = await produce()
        assert await purging <= 3010
        assert await drain(queue) == list(range(await purging, accepted))

    async def test_peek_takes_nothing(self, open_queue: OpenQueue) -> None:
        """Peeking shows queued events, held ones too, and changes nothing."""
        queue = await open_queue()
        await queue.append([segment(0, 5)])
        await queue.append([segment(5, 5)])
        first, _ = (await take(queue, Limits(3, 1 << 20))).split(2)
        await queue.settle(first)
        assert [numbers(line)[0] async for line in queue.peek("main", None)] == list(range(2, 10))
        assert [numbers(line)[0] async for line in queue.peek("main", 2)] == [2, 3]


class TestSpace:
    async def test_reject_when_full(self, open_queue: OpenQueue) -> None:
        """A full queue refuses, keeps what it has, and takes events again once there is space."""
        queue = await open_queue(max_bytes=2 << 20)
        accepted = 0
        with pytest.raises(QueueFullError):
            while True:
                await queue.append([segment(accepted, 10, filler=1000)])
                accepted += 10
        assert accepted > 500
        assert (await account(queue)).accepted == accepted
        assert await drain(queue) == list(range(accepted))
        await queue.append([segment(accepted)])

    async def test_a_refusal_harms_no_neighbour(self, open_queue: OpenQueue) -> None:
        """Requests that are committed together are refused one by one."""
        queue = await open_queue(max_bytes=2 << 20)
        results = await asyncio.gather(
            queue.append([segment(0)]),
            queue.append([segment(1, 1000, filler=2000)]),
            queue.append([segment(2)]),
            return_exceptions=True,
        )
        assert [isinstance(result, TooLargeError) for result in results] == [False, True, False]
        assert [isinstance(result, BaseException) for result in results] == [False, True, False]
        assert await drain(queue) == [0, 2]

    async def test_drop_oldest(self, open_queue: OpenQueue) -> None:
        """With `drop_oldest` new events push the oldest out, and each is counted."""
        queue = await open_queue(max_bytes=2 << 20, shares={"main": Share(drop_oldest=True)})
        for first in range(0, 5000, 50):
            await queue.append([segment(first, 50, filler=1000)])
        found = await account(queue)
        assert found.accepted == 5000
        assert found.dropped > 3000
        assert await drain(queue) == list(range(found.dropped, 5000))

    async def test_drop_oldest_spares_what_is_held(self, open_queue: OpenQueue) -> None:
        """A batch that is being sent is never dropped under its taker."""
        queue = await open_queue(max_bytes=2 << 20, shares={"main": Share(drop_oldest=True)})
        await queue.append([segment(0, 10)])
        held = await take(queue)
        for first in range(10, 5010, 50):
            await queue.append([segment(first, 50, filler=1000)])
        await queue.settle(held)
        found = await account(queue)
        assert found.delivered == 10
        assert found.dropped + found.queued == 5000

    async def test_a_share_of_its_own(self, open_queue: OpenQueue) -> None:
        """A destination that has used up its share does not take space from another."""
        queue = await open_queue(shares={"a": Share(max_bytes=100_000), "b": Share()})
        with pytest.raises(QueueFullError, match="destination a"):
            for first in range(0, 1000, 10):
                await queue.append([segment(first, 10, destination="a", filler=1000)])
        await queue.append([segment(0, 1000, destination="b", filler=100)])
        with pytest.raises(QueueFullError):
            await queue.append([segment(0, 50, destination="a", filler=1000), segment(0, 1, destination="b")])
        assert (await account(queue, "b")).accepted == 1000

    async def test_a_share_that_drops(self, open_queue: OpenQueue) -> None:
        """A share with `drop_oldest` drops its own oldest events."""
        queue = await open_queue(shares={"a": Share(max_bytes=100_000, drop_oldest=True), "b": Share()})
        await queue.append([segment(0, 10, destination="b")])
        for first in range(0, 1000, 10):
            await queue.append([segment(first, 10, destination="a", filler=1000)])
        found = await account(queue, "a")
        assert found.queued_bytes <= 100_000
        assert found.dropped == 1000 - found.queued > 0
        assert (await account(queue, "b")).dropped == 0


class TestState:
    async def test_closed(self, open_queue: OpenQueue) -> None:
        """A queue that was closed takes nothing more, and says why."""
        queue = await open_queue()
        await queue.append([segment(0)])
        batch = await take(queue)
        await queue.close()
        await queue.close()
        assert queue.trouble() == "the forwarder is shutting down"
        for asked in (queue.append([segment(1)]), queue.take("main", LIMITS), queue.stats(), queue.purge("main")):
            with pytest.raises(ShuttingDownError):
                await asked
        queue.release(batch)
        queue = await open_queue()
        assert await drain(queue) == [0]

    async def test_paused_survives(self, open_queue: OpenQueue) -> None:
        """A paused destination is still paused after a restart."""
        queue = await open_queue()
        await queue.set_paused("main", True)
        await queue.close()
        queue = await open_queue()
        assert (await account(queue)).paused
        await queue.set_paused("main", False)
        assert not (await account(queue)).paused

    async def test_removed_destinations_are_named(self, open_queue: OpenQueue) -> None:
        """A destination that is no longer configured keeps its events, and is named."""
        queue = await open_queue(shares={"old": Share(), "main": Share()})
        await queue.append([segment(0, 3, destination="old")])
        assert list(await queue.configure({"main": Share()})) == ["old"]
        assert (await account(queue, "old")).queued == 3

    async def test_waiting_wakes_up(self, open_queue: OpenQueue) -> None:
        """A waiter returns when events come, long before its timeout."""
        queue = await open_queue()
        waiter = asyncio.create_task(queue.wait("main", 60))
        await asyncio.sleep(0)
        await queue.append([segment(0)])
        await asyncio.wait_for(waiter, PATIENCE)
        assert queue.pending("main").events == 1

    async def test_waiting_ends_at_its_timeout(self, open_queue: OpenQueue) -> None:
        """A waiter also returns when nothing happens."""
        queue = await open_queue()
        await asyncio.wait_for(queue.wait("main", 0.01), PATIENCE)
        assert queue.pending("main").events == 0
