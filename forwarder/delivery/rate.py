"""How fast a destination may be sent to: events and bytes a second.

A request is paid for afterwards: the next one waits for as long as the allowed rate would have needed for it. A
batch is cut to what one second allows, so nothing comes in bursts; a single large event may take longer.
"""

from __future__ import annotations

from forwarder.model import Limits

# What is sent may be larger than its events by a third, as base64 is: four bytes for three.
_SIGNED = 4 / 3


class Rate:
    """`events` and `size`, in bytes of requests, a second; None where there is no limit."""

    def __init__(self, events: int | None, size: int | None) -> None:
        self._events = events
        self._size = size
        self.ready_at = float("-inf")
        """The monotonic time before which nothing is to be sent."""

    def within(self, limits: Limits) -> Limits:
        """Return the most that a batch may hold."""
        events = limits.max_events if self._events is None else min(limits.max_events, max(1, self._events))
        size = limits.max_bytes if self._size is None else min(limits.max_bytes, max(1, int(self._size / _SIGNED)))
        return Limits(events, size)

    def sent(self, events: int, size: int, now: float) -> None:
        """Charge for a request of so many events and `size` bytes."""
        times = [sent / allowed for sent, allowed in ((events, self._events), (size, self._size)) if allowed]
        if times:
            self.ready_at = max(self.ready_at, now) + max(times)
