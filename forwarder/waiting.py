"""Wait for an event, but never for ever."""

from __future__ import annotations

import asyncio
from contextlib import suppress


async def wait_at_most(seconds: float | None, event: asyncio.Event) -> None:
    """Return when the event is set, or after so many seconds; None means that nothing limits the wait."""
    # Not `asyncio.wait_for`: up to Python 3.11 it loses a cancellation that comes with the wake-up.
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
