"""One request after the other, in parts, until full batches are taken again."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from forwarder.config import BatchConfig
from forwarder.model import Segment
from tests.delivery.cases import Case, about, play, refuses_bad
from tests.delivery.conftest import MakeLine, until
from tests.delivery.world import OK, Fault
from tests.queue.building import event_id


@pytest.mark.parametrize("in_flight", [1, 8])
def test_one_request_at_a_time(in_flight: int) -> None:
    """While parts are tried nothing else is under way but questions about what is set aside."""

    async def act(case: Case) -> None:
        await case.append([number == 700 for number in range(1000)])
        await asyncio.sleep(30.0)
        attempts = [attempt for attempt in case.destination.attempts if not attempt.is_fresh]
        alone = next(index for index, attempt in enumerate(attempts) if attempt.numbers == [700])
        attempts = attempts[: alone + 2]
        assert len(attempts) > 5
        for before, after in pairwise(attempts):
            assert before.ended is not None
            assert before.ended <= after.began
        assert (await case.account()).delivered == 999

    play(refuses_bad, about(1000, in_flight), act)


def test_full_batches_afterwards() -> None:
    """Once parts were taken the destination gets full batches again."""

    async def act(case: Case) -> None:
        await case.append([number == 0 for number in range(1000)])
        for _ in range(5):
            await case.append([False])
            await asyncio.sleep(5.0)
        assert await case.dead() == {0: "rejected"}
        await case.append([False] * 3000)
        assert await case.world.is_emptied(10.0)
        assert [len(attempt.numbers) for attempt in case.destination.attempts][-3:] == [1000] * 3

    play(refuses_bad, about(), act)


def test_held_in_the_midst_of_it() -> None:
    """A 401 in the midst of it waits, and the events go on in order afterwards."""
    mode: list[Fault | None] = [None]

    def judge(events: list[dict[str, Any]]) -> Fault:
        return mode[0] or refuses_bad(events)

    async def act(case: Case) -> None:
        await case.append([number == 5 for number in range(10)])
        mode[0] = Fault(400)
        await asyncio.sleep(20.0)
        mode[0] = Fault(401)
        await asyncio.sleep(200.0)
        assert (await case.account()).queued == 10
        mode[0] = None
        await case.world.resume()
        await asyncio.sleep(20.0)
        assert case.arrived() == [number for number in range(10) if number != 5]

    play(judge, about(), act)


def test_what_comes_meanwhile_is_tried_after_the_oldest() -> None:
    """While everything is refused a new event is tried at once, with the oldest one before it, a few times a wait."""

    async def act(case: Case) -> None:
        await case.append([False] * 50)
        await asyncio.sleep(500.0)
        before = len(case.destination.attempts)
        await case.append([False])
        await asyncio.sleep(0.5)
        numbers = [attempt.numbers for attempt in case.destination.attempts[before:]]
        assert numbers in ([[0], [50]], [[50]])
        for _ in range(10):
            await case.append([False])
            await asyncio.sleep(0.5)
        assert len(case.destination.attempts) - before <= 20

    play(lambda _events: Fault(400), about(), act)


def test_a_pause_gives_everything_back() -> None:
    """What is doubted waits in its place after a pause, and comes in order once it is taken."""
    mode = [Fault(400)]

    async def act(case: Case) -> None:
        await case.append([False] * 50)
        await asyncio.sleep(20.0)
        await case.world.pause()
        mode[0] = OK
        await case.world.resume()
        assert await case.world.is_emptied(10.0)
        assert case.arrived() == list(range(50))

    play(lambda _events: mode[0], about(), act)


async def test_what_is_no_json_is_buried(make_line: MakeLine) -> None:
    """What a damaged line is refused for does not touch its neighbours: it dies as `damaged`, they arrive."""
    line = await make_line(batch=BatchConfig(max_age=0.05))
    await line.append(0, 2)
    await line.queue.append([Segment("main", 1, b'{"eventId":"' + event_id(9).encode() + b'"}}\n')])
    await line.append(2, 2)
    line.start()
    await until(lambda: line.arrived == [0, 1, 2, 3])
    await line.empty()
    assert [letter.reason for letter in await line.dead()] == ["damaged"]
