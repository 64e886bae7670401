"""Dead letters that become events: all or nothing, and every account adds up."""

from __future__ import annotations

import pytest

from forwarder.errors import QueueFullError
from forwarder.model import INVALID, Burial, Counters, DeadFilter, DeadLetter, DeadSegment
from forwarder.queue.base import Queue, Share
from tests.queue.building import numbers, segment
from tests.queue.conftest import OpenQueue

NO = Burial(INVALID, 422, "no")


async def graveyard(open_queue: OpenQueue, *, max_bytes: int = 64 << 20) -> tuple[Queue, list[DeadLetter]]:
    """Return a queue with six letters that were invalid, four of them in one segment."""
    queue = await open_queue(max_bytes=max_bytes, shares={"main": Share(), INVALID: Share(1 << 20)})
    await queue.append([], [DeadSegment(INVALID, 4, b"1\n2\n3\n4\n", NO), DeadSegment(INVALID, 2, b"5\n6\n", NO)])
    return queue, [letter async for letter in queue.dead_letters(DeadFilter())]


async def dead(queue: Queue) -> list[tuple[bytes, str]]:
    return [(letter.event, letter.detail) async for letter in queue.dead_letters(DeadFilter())]


async def queued(queue: Queue) -> list[int]:
    return [number async for event in queue.peek("main", None) for number in numbers(event + b"\n")]


async def accounts(queue: Queue) -> tuple[Counters, Counters]:
    found = (await queue.stats()).destinations
    for one in found.values():
        assert one.accepted == one.queued + one.delivered + one.dead + one.dropped
    return found["main"], found[INVALID]


async def test_some_pass(open_queue: OpenQueue) -> None:
    """Those that pass leave, out of the middle of a segment too; those that die again have other words."""
    queue, letters = await graveyard(open_queue)
    other = Burial(INVALID, 413, "too large")
    assert await queue.readmit([letters[1], letters[4]], [segment(0, 2)], [(letters[2], other)])
    assert await queued(queue) == [0, 1]
    assert await dead(queue) == [(b"1", "no"), (b"4", "no"), (b"6", "no"), (b"3", "too large")]
    main, invalid = await accounts(queue)
    assert (main.accepted, invalid.accepted, invalid.delivered, invalid.dead) == (2, 6, 2, 4)
    again = [letter async for letter in queue.dead_letters(DeadFilter())][-1]
    assert again.accepted_at == letters[2].accepted_at


async def test_one_after_the_other(open_queue: OpenQueue) -> None:
    """Whichever of those that died together passes first, each of them leaves when it passes."""
    queue, letters = await graveyard(open_queue)
    for number, index in enumerate((3, 0, 2)):
        assert await queue.readmit([letters[index]], [segment(number, 1)])
    assert [event for event, _ in await dead(queue)] == [b"2", b"5", b"6"]
    main, invalid = await accounts(queue)
    assert (main.accepted, invalid.accepted, invalid.delivered, invalid.dead) == (3, 6, 3, 3)


async def test_one_is_gone(open_queue: OpenQueue) -> None:
    """Where one of them was purged nothing is done."""
    queue, letters = await graveyard(open_queue)
    await queue.purge_dead(DeadFilter(ids=("2",)))
    assert not await queue.readmit(letters[:3], [segment(0, 3)])
    assert await queued(queue) == []
    main, invalid = await accounts(queue)
    assert (main.accepted, invalid.delivered, invalid.dead) == (0, 0, 5)


async def test_a_full_queue(open_queue: OpenQueue) -> None:
    """Where there is no room for the events the letters stay as they are."""
    queue, letters = await graveyard(open_queue, max_bytes=1 << 20)
    with pytest.raises(QueueFullError):
        for first in range(0, 100_000, 100):
            await queue.append([segment(first, 100, filler=1000)])
    before = await accounts(queue)
    with pytest.raises(QueueFullError):
        await queue.readmit(letters, [segment(0, 100, filler=1000)], [])
    assert await accounts(queue) == before
    assert len(await dead(queue)) == 6
