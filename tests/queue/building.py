"""Events that can be told apart, and how the tests put them into a queue and take them out again."""

from __future__ import annotations

import json
from collections.abc import Iterable

from forwarder.model import Batch, Counters, Limits, Segment
from forwarder.queue.base import Queue

LIMITS = Limits(max_events=1000, max_bytes=1 << 20)


def event_id(number: int) -> str:
    """Return the id of a numbered event."""
    return f"00000000-0000-4000-8000-{number:012d}"


def event(number: int, filler: int = 0) -> bytes:
    """Return an event that can be told from every other."""
    body = {"eventSourceId": "s", "eventType": "t", "eventId": event_id(number)}
    return json.dumps({**body, "data": {"n": number, "x": "x" * filler}}, separators=(",", ":")).encode()


def segment(first: int, count: int = 1, *, destination: str = "main", filler: int = 0) -> Segment:
    """Return a segment of `count` numbered events."""
    lines = b"".join(event(number, filler) + b"\n" for number in range(first, first + count))
    return Segment(destination, count, lines)


def numbers(found: bytes | Iterable[bytes]) -> list[int]:
    """Return the numbers of events, those of a batch or a segment or one by one."""
    return [json.loads(line)["data"]["n"] for line in (found.splitlines() if isinstance(found, bytes) else found)]


async def account(queue: Queue, destination: str = "main") -> Counters:
    """Return a destination's counters; the identity of the account is checked each time."""
    found = (await queue.stats()).destinations[destination]
    assert found.accepted == found.queued + found.delivered + found.dead + found.dropped
    assert found.died >= found.dead + found.replayed
    return found


async def next_batch(queue: Queue, name: str, limits: Limits) -> Batch | None:
    """Take one batch."""
    return next(iter(await queue.take(name, limits)), None)


async def drain(queue: Queue, limits: Limits = LIMITS, destination: str = "main") -> list[int]:
    """Deliver everything that waits; return the numbers in order."""
    delivered: list[int] = []
    while (batch := await next_batch(queue, destination, limits)) is not None:
        delivered += numbers(batch.data)
        await queue.settle(batch)
    return delivered


async def take(queue: Queue, limits: Limits = LIMITS) -> Batch:
    """Take a batch that must be there."""
    batch = await next_batch(queue, "main", limits)
    assert batch is not None
    assert batch.data.count(b"\n") == batch.events <= limits.max_events
    return batch
