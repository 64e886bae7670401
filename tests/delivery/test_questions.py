"""Events that are set aside: asked about beside all else, delivered or buried in the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from forwarder.config import RetryConfig
from forwarder.model import DeadFilter
from tests.delivery.cases import Case, about, play
from tests.delivery.world import OK, TIMEOUT, Fault

LONGEST = 60.0
RETRY = RetryConfig(initial=1.0, max=LONGEST)


def marked(answer: Callable[[], Fault]) -> Callable[[list[dict[str, Any]]], Fault]:
    """Return a destination that answers so to whatever holds a bad event, and takes all else."""
    return lambda events: answer() if any("bad" in event for event in events) else OK


def questions(case: Case, number: int) -> int:
    return sum(attempt.is_fresh and attempt.numbers == [number] for attempt in case.destination.attempts)


def test_each_over_a_new_connection() -> None:
    """An event that is set aside is asked about alone, over a new connection, and nothing else is."""

    async def act(case: Case) -> None:
        await case.append([True, False, False])
        await asyncio.sleep(5.0)
        assert questions(case, 0) >= 1
        assert {tuple(attempt.numbers) for attempt in case.destination.attempts if attempt.is_fresh} == {(0,)}

    play(marked(lambda: Fault(400)), about(), act)


def test_one_that_is_taken_in_the_end_is_delivered() -> None:
    """It is settled as delivered, and refusals are not believed for a while."""
    fault = [Fault(400)]

    async def act(case: Case) -> None:
        await case.append([True, False])
        await asyncio.sleep(5.0)
        fault[0] = OK
        await asyncio.sleep(2 * LONGEST)
        assert (await case.account()).delivered == 2
        status = (await case.world.pumps.status())["main"]
        assert status.obstacle is not None
        assert status.obstacle.kind == "distrusted"

    play(marked(lambda: fault[0]), about(), act)


@pytest.mark.parametrize("fault", [Fault(401), Fault(None), Fault(503, retry_after=1.0)])
def test_an_answer_that_is_about_something_else(fault: Fault) -> None:
    """Held, not reached, asked to come later: none of it counts against the event, however often."""
    mode = [Fault(400)]

    async def act(case: Case) -> None:
        await case.append([True, False])
        await asyncio.sleep(5.0)
        mode[0] = fault
        for _ in range(60):
            await case.append([False])
            await asyncio.sleep(LONGEST)
        assert (await case.account()).dead == 0
        assert questions(case, 0) < 70

    play(marked(lambda: mode[0]), about(), act)


@pytest.mark.parametrize(
    ("fault", "reason"), [(Fault(400), "rejected"), (Fault(500), "failing"), (Fault(None, seconds=TIMEOUT), "failing")]
)
def test_one_that_is_proven_is_buried(fault: Fault, reason: str) -> None:
    """It dies for what was said last, and is not counted as set aside any more."""

    async def act(case: Case) -> None:
        await case.append([False, True, False])
        for _ in range(200):
            await case.append([False])
            await asyncio.sleep(20.0)
            if (await case.account()).dead:
                break
        assert await case.dead() == {1: reason}
        assert (await case.world.pumps.status())["main"].set_aside == 0

    play(marked(lambda: fault), about(), act)


def test_it_expires_while_it_is_asked_about() -> None:
    """Past `give_up_after` an event that is set aside dies as `expired`."""
    retry = RetryConfig(initial=1.0, max=10.0, give_up_after=30.0)

    async def act(case: Case) -> None:
        await case.append([True, False])
        await asyncio.sleep(120.0)
        assert await case.dead() == {0: "expired"}

    play(marked(lambda: Fault(400)), about(retry=retry), act)


def test_a_pause_asks_nothing() -> None:
    """While a destination is paused nothing is asked; after it, it goes on."""

    async def act(case: Case) -> None:
        await case.append([True, False])
        await asyncio.sleep(5.0)
        await case.world.pause()
        await asyncio.sleep(1.0)
        before = len(case.destination.attempts)
        await asyncio.sleep(10 * LONGEST)
        assert len(case.destination.attempts) == before
        await case.world.resume()
        await asyncio.sleep(2 * LONGEST)
        assert len(case.destination.attempts) > before

    play(marked(lambda: Fault(400)), about(), act)


def test_a_purge_takes_what_is_set_aside() -> None:
    """What is set aside is still queued, so a purge drops it."""

    async def act(case: Case) -> None:
        await case.append([True, False])
        await asyncio.sleep(5.0)
        await case.world.purge()
        found = await case.account()
        assert (found.queued, found.dropped, found.delivered) == (0, 1, 1)
        assert (await case.world.pumps.status())["main"].set_aside == 0

    play(marked(lambda: Fault(400)), about(), act)


def test_a_dead_one_can_be_replayed() -> None:
    """A replay of what died is delivered once it is taken."""
    fault = [Fault(400)]

    async def act(case: Case) -> None:
        await case.append([True, False])
        for _ in range(6):
            await case.append([False])
            await asyncio.sleep(2.0)
        assert await case.dead() == {0: "rejected"}
        fault[0] = OK
        assert await case.world.queue.replay(DeadFilter(destination="main")) == 1
        assert await case.world.is_emptied(10.0)
        assert 0 in case.arrived()

    play(marked(lambda: fault[0]), about(), act)
