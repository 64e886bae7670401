"""Who is woken by what a snapshot shows."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from forwarder.model import Limits
from forwarder.queue.base import Pending
from forwarder.queue.sqlite.executor import Snapshot
from forwarder.queue.sqlite.wakeups import WakeUps
from tests.queue.sqlite.files import PATIENCE

LONG = 1000.0
NOTHING = Snapshot({}, live_bytes=100, free_bytes=0, is_short=False)


def with_events(events: int, name: str = "main") -> Snapshot:
    """Return a snapshot in which so many events wait."""
    return replace(NOTHING, pending={name: Pending(events, events * 10, 0.0)})


async def is_woken(before: Snapshot, now: Snapshot, enough: Limits | None = None) -> bool:
    """Say whether a waiter for `main` is woken when the second snapshot follows the first."""
    wake_ups = WakeUps()
    waiting = asyncio.create_task(wake_ups.wait("main", LONG, enough))
    await asyncio.sleep(0)
    wake_ups.see(before, now)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    return not waiting.cancelled()


FULL = Limits(10, 1 << 20)


@pytest.mark.parametrize(
    ("before", "now", "enough", "woken"),
    [
        (NOTHING, with_events(1), FULL, True),
        (with_events(1), with_events(2), FULL, False),
        (with_events(9), with_events(10), FULL, True),
        (with_events(1), with_events(2), None, True),
        (with_events(2), with_events(2), None, False),
        (with_events(2), NOTHING, FULL, True),
        (with_events(1, "other"), with_events(2, "other"), None, False),
    ],
    ids=["the first", "not enough", "enough", "any change", "no change", "all gone", "another destination"],
)
async def test_events(before: Snapshot, now: Snapshot, enough: Limits | None, woken: bool) -> None:
    """The first event wakes, and what fills a batch; without a limit every change of this destination does."""
    assert await is_woken(before, now, enough) is woken


async def test_space() -> None:
    """All who wait for space are woken when the file's content has shrunk, and only then."""
    wake_ups = WakeUps()
    waiting = [asyncio.create_task(wake_ups.wait_space(LONG)) for _ in range(3)]
    await asyncio.sleep(0)
    wake_ups.see(NOTHING, replace(NOTHING, live_bytes=200))
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    wake_ups.see(replace(NOTHING, live_bytes=200), NOTHING)
    await asyncio.wait_for(asyncio.gather(*waiting), PATIENCE)


async def test_a_wake_up_is_kept() -> None:
    """One that comes before the wait ends it at once, and is used up by it."""
    wake_ups = WakeUps()
    wake_ups.wake("main")
    await asyncio.wait_for(wake_ups.wait("main", LONG, None), PATIENCE)
    waiting = asyncio.create_task(wake_ups.wait("main", LONG, None))
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()
