"""When to send, and in which shape: count, bytes and age, and the JSON array of a batch."""

from __future__ import annotations

from forwarder.model import Limits
from forwarder.queue.base import Pending


def seconds_until_due(pending: Pending, limits: Limits, max_age: float, now: float) -> float | None:
    """Return after how many seconds a batch should be sent: 0 for at once, None where nothing waits.

    A batch is due when it is full, by events or bytes, or when its oldest event has waited
    `max_age` seconds. `now` is monotonic.
    """
    if not pending.events:
        return None
    if pending.fills(limits):
        return 0.0
    return max(0.0, pending.since + max_age - now)


def payload(data: bytes, *, as_object: bool = False) -> bytes:
    """Return the JSON that is sent: an array of the events in `data`, a line each.

    No event is parsed: a newline cannot stand inside compact JSON, so each one becomes a comma.
    With `as_object` a lone event is sent without the array around it.
    """
    if as_object and data.find(b"\n") == len(data) - 1:
        return data[:-1]
    joined = memoryview(data.replace(b"\n", b","))
    return b"".join((b"[", joined[:-1], b"]"))


def events_within(data: bytes, limits: Limits) -> int:
    """Return how many of the first events of `data` make a batch within the limits; at least 1."""
    end = len(data) if len(data) < limits.max_bytes else data.rfind(b"\n", 0, limits.max_bytes - 1) + 1
    return max(1, min(limits.max_events, data.count(b"\n", 0, end)))
