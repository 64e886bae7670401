"""What is too old is given up, what is younger is not, and what is set aside is no exception."""

from __future__ import annotations

import asyncio

from forwarder.config import RetryConfig
from forwarder.delivery.expiry import expire, release
from forwarder.delivery.suspects import Suspect
from forwarder.model import Burial, Limits
from tests.delivery.conftest import MakeLine


async def test_never_by_default(make_line: MakeLine) -> None:
    """Without `give_up_after` nothing is too old."""
    line = await make_line()
    await line.append(0, 3)
    pump = line.build()
    await expire("main", line.queue, pump.health)
    assert (await line.account()).queued == 3


async def test_what_is_too_old(make_line: MakeLine) -> None:
    """What has waited longer dies as `expired`, with what the destination said last; the rest stays."""
    line = await make_line(retry=RetryConfig(initial=1.0, max=1.0, give_up_after=0.5))
    pump = line.build()
    await line.append(0, 3)
    await asyncio.sleep(0.6)
    await line.append(3, 2)
    await expire("main", line.queue, pump.health)
    assert [letter.reason for letter in await line.dead()] == ["expired"] * 3
    assert (await line.account()).queued == 2


async def test_what_is_set_aside_expires_too(make_line: MakeLine) -> None:
    """The place of an event that is set aside is given back first."""
    line = await make_line(retry=RetryConfig(initial=1.0, max=1.0, give_up_after=0.1))
    pump = line.build()
    await line.append(0, 3)
    [batch] = await line.queue.take("main", Limits(1, 1 << 20))
    pump.health.suspects.doubt(Suspect(batch.slices[0], Burial("rejected", 400, "no")), 0.0, failed=False)
    pump.health.suspects.taken(0.0)
    await asyncio.sleep(0.2)
    await expire("main", line.queue, pump.health)
    assert len(pump.health.suspects) == 0
    account = await line.account()
    assert (account.queued, account.dead) == (0, 3)


async def test_places_are_given_back(make_line: MakeLine) -> None:
    """What is released is waiting in its place again."""
    line = await make_line()
    await line.append(0, 3)
    batches = await line.queue.take("main", Limits(1, 1 << 20), 2)
    release(
        "main", line.queue, [Suspect(batch.slices[0], Burial("rejected", 400, "no")) for batch in reversed(batches)]
    )
    [found] = await line.queue.take("main", Limits(10, 1 << 20))
    assert found.events == 3
