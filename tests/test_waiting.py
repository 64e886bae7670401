"""Waiting for an event."""

from __future__ import annotations

import asyncio

import pytest

from forwarder.waiting import wait_at_most


async def test_a_wait_ends_with_the_event() -> None:
    """Whoever waits goes on as soon as the event is set, however long it would have waited."""
    event = asyncio.Event()
    asyncio.get_running_loop().call_soon(event.set)
    await asyncio.wait_for(wait_at_most(None, event), 10)
    await asyncio.wait_for(wait_at_most(3600, event), 10)


async def test_a_wait_ends_with_the_time() -> None:
    """An event that does not come is waited for no longer than was said, which is no error."""
    event = asyncio.Event()
    await asyncio.wait_for(wait_at_most(0.01, event), 10)
    assert not event.is_set()


async def test_a_cancellation_is_not_lost() -> None:
    """A task that is cancelled in the moment of the wake-up is cancelled."""
    event = asyncio.Event()
    waiting = asyncio.create_task(wait_at_most(3600, event))
    await asyncio.sleep(0)
    event.set()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
