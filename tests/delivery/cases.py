"""One destination that answers by what is sent to it, and the world around it, in simulated time."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable
from random import Random
from typing import Any

from forwarder.config import BatchConfig, DestinationConfig, RetryConfig
from forwarder.model import Counters
from tests.delivery.conftest import destination as configured
from tests.delivery.simulation import Clock, simulate
from tests.delivery.world import OK, Destination, Fault, Pace, World

RETRY = RetryConfig(initial=1.0, max=60.0)
QUICK = Pace(is_even=True, job=0.0005, way=0.0005, signature=0.0)
REFUSED = Fault(400)

Judge = Callable[[list[dict[str, Any]]], Fault]


def about(max_events: int = 1000, in_flight: int = 1, retry: RetryConfig = RETRY, **more: Any) -> DestinationConfig:
    batch = BatchConfig(max_events=max_events, max_age=0.1)
    return configured(batch=batch, retry=retry, in_flight=in_flight, **more)


class Case:
    """A destination, a world around it, and what became of the events."""

    def __init__(self, clock: Clock, judge: Judge, config: DestinationConfig) -> None:
        self.clock = clock
        self.destination = Destination(clock, Random(1), QUICK, judge=judge)
        self.world = World(clock, {"main": config}, {"main": self.destination}, Random(2), QUICK)

    async def append(self, bad: Iterable[bool]) -> None:
        await self.world.append([("main", list(bad))])

    async def account(self) -> Counters:
        return (await self.world.queue.stats()).destinations["main"]

    async def dead(self) -> dict[int, str]:
        """Return the numbers of the dead, with the reason."""
        return {int(letter.event_id[-12:]): letter.reason for letter in await self.world.dead("main")}

    async def restart(self, *, crashes: bool) -> None:
        if crashes:
            await self.world.crash()
        else:
            await self.world.stop(1.0)
        await self.world.start()

    def arrived(self) -> list[int]:
        return list(dict.fromkeys(self.destination.stored))


def play(judge: Judge, config: DestinationConfig, act: Callable[[Case], Awaitable[None]]) -> None:
    """Play a case in simulated time, with the same jitter each time."""
    random.seed(4)

    async def run(clock: Clock) -> None:
        case = Case(clock, judge, config)
        await case.world.start()
        await act(case)
        await case.world.stop(1.0)
        case.world.close()
        assert case.world.wrong == []

    simulate(run)


def refuses_bad(events: list[dict[str, Any]]) -> Fault:
    return REFUSED if any("bad" in event for event in events) else OK
