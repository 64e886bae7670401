"""The longest delay of the loop in the last minute is known."""

from __future__ import annotations

import asyncio
import time

from forwarder.daemon.lag import LoopLag


def test_the_longest_of_the_last_minute() -> None:
    """A long delay counts for a minute, whatever shorter ones come after it; then the longest of those does."""
    lag = LoopLag()
    assert lag.seconds == 0.0
    for now, delay, longest in [(0, 0.1, 0.1), (10, 2.0, 2.0), (20, 0.5, 2.0), (70, 0.2, 2.0), (71, 0.1, 0.5)]:
        lag.note(float(now), delay)
        assert lag.seconds == longest
    lag.note(1000.0, -0.1)
    assert lag.seconds == 0.0


async def test_a_loop_that_is_held() -> None:
    """What holds the loop is measured."""
    lag = LoopLag()
    task = asyncio.create_task(lag.run())
    await asyncio.sleep(0.1)
    time.sleep(0.9)  # noqa: ASYNC251 - this is what is to be met
    async with asyncio.timeout(10):
        while not lag.seconds:
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert lag.seconds > 0.2
