"""What has been taken stays leased for as long as somebody may still send it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import cast

import pytest

from forwarder.config import BatchConfig, RetryConfig
from forwarder.delivery.leases import renewed
from forwarder.delivery.pump import Pump
from forwarder.errors import StorageError
from forwarder.model import Segment
from forwarder.observe.logs import Logs
from forwarder.queue.base import RENEW_SECONDS, Outbox, Share
from forwarder.queue.memory import MemoryQueue
from tests.delivery.conftest import destination as configured
from tests.delivery.simulation import Clock, simulate
from tests.delivery.world import OK, UNREACHABLE, Destination, Fault, Way


class Renewals:
    """An outbox that remembers when its leases were renewed; the first time it fails."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.times: list[float] = []

    async def renew(self, destination: str) -> None:
        assert destination == "main"
        self.times.append(self.clock.now)
        if len(self.times) == 1:
            raise StorageError("no answer")


def test_renewed_until_the_end() -> None:
    """Leases are renewed in time, also after a renewal failed, and no longer than somebody delivers."""

    async def play(clock: Clock) -> None:
        began, outbox = clock.now, Renewals(clock)
        async with renewed("main", cast("Outbox", outbox), Logs()):
            await asyncio.sleep(3.5 * RENEW_SECONDS)
        await asyncio.sleep(10 * RENEW_SECONDS)
        assert outbox.times == pytest.approx([began + count * RENEW_SECONDS for count in (1, 2, 3)], abs=0.01)

    simulate(play)


def test_an_error_of_the_deliveries_comes_through() -> None:
    """What ends the deliveries ends the renewals, and is told."""

    async def play(clock: Clock) -> None:
        outbox = Renewals(clock)
        with pytest.raises(ExceptionGroup) as caught:
            async with renewed("main", cast("Outbox", outbox), Logs()):
                raise ValueError("no key")
        assert caught.group_contains(ValueError, match="no key")
        await asyncio.sleep(10 * RENEW_SECONDS)
        assert outbox.times == []

    simulate(play)


@asynccontextmanager
async def delivering(clock: Clock, destination: Destination) -> AsyncIterator[MemoryQueue]:
    """Deliver three events out of a queue whose leases end after a minute."""
    policy = configured(batch=BatchConfig(max_age=0), retry=RetryConfig(initial=1.0, max=7200.0))
    async with MemoryQueue(1 << 20, lease_seconds=3 * RENEW_SECONDS) as queue:
        await queue.configure({"main": Share()})
        await queue.append([Segment("main", 3, b"".join(b'{"n":%d}\n' % number for number in range(3)))])
        task = asyncio.create_task(Pump("main", policy, queue, Way(destination, 1), Logs()).run())
        yield queue
        task.cancel()
        await asyncio.wait([task])
        # What it had leased has been released by then.
        assert queue.pending("main").events == (await queue.stats()).destinations["main"].queued


def test_a_batch_that_waits_for_hours_stays_leased() -> None:
    """However long the waits between two attempts are, the batch is not handed out to anybody else meanwhile."""

    async def play(clock: Clock) -> None:
        destination = Destination(clock, Random(1), mode=UNREACHABLE)
        async with delivering(clock, destination) as queue:
            await asyncio.sleep(1.0)
            for _ in range(1000):
                await asyncio.sleep(60.0)
                assert queue.pending("main").events == 0
            destination.mode = OK
            await asyncio.sleep(7300.0)
        assert destination.stored == [0, 1, 2]
        assert len(destination.attempts) > 10

    simulate(play)


def test_an_event_that_is_set_aside_stays_leased() -> None:
    """An event that is refused alone is leased for as long as it is set aside."""

    async def play(clock: Clock) -> None:
        destination = Destination(clock, Random(1), judge=lambda events: Fault(400) if {"n": 1} in events else OK)
        async with delivering(clock, destination) as queue:
            await asyncio.sleep(60.0)
            for _ in range(1000):
                await asyncio.sleep(60.0)
                assert queue.pending("main").events == 0
        assert destination.stored == [0, 2]

    simulate(play)
