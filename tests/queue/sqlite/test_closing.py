"""A pause ends at its time, or when the queue closes."""

from __future__ import annotations

import asyncio

from forwarder.queue.sqlite.closing import Closing
from tests.queue.sqlite.files import PATIENCE


async def test_a_pause_ends_with_its_time() -> None:
    """Whoever pauses goes on after a while, and the queue is still open."""
    closing = Closing(0.001)
    await asyncio.wait_for(closing.pause(), PATIENCE)
    assert not closing.is_set()


async def test_a_close_ends_every_pause() -> None:
    """However long a pause would be, it ends when the queue closes; a later one ends at once."""
    closing = Closing(1000.0)
    pausing = [asyncio.create_task(closing.pause()) for _ in range(2)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in pausing)
    closing.set()
    await asyncio.wait_for(asyncio.gather(*pausing, closing.pause()), PATIENCE)
