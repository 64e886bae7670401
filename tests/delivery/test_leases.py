"""What has been taken stays leased for as long as somebody may still send it."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from forwarder.delivery.leases import renewed
from forwarder.errors import StorageError
from forwarder.queue.base import RENEW_SECONDS, Outbox
from tests.delivery.simulation import Clock, simulate


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
        async with renewed("main", cast("Outbox", outbox)):
            await asyncio.sleep(3.5 * RENEW_SECONDS)
        await asyncio.sleep(10 * RENEW_SECONDS)
        assert outbox.times == pytest.approx([began + count * RENEW_SECONDS for count in (1, 2, 3)], abs=0.01)

    simulate(play)


def test_an_error_of_the_deliveries_comes_through() -> None:
    """What ends the deliveries ends the renewals, and is told."""

    async def play(clock: Clock) -> None:
        outbox = Renewals(clock)
        with pytest.raises(ExceptionGroup) as caught:
            async with renewed("main", cast("Outbox", outbox)):
                raise ValueError("no key")
        assert caught.group_contains(ValueError, match="no key")
        await asyncio.sleep(10 * RENEW_SECONDS)
        assert outbox.times == []

    simulate(play)
