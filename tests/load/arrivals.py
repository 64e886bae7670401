"""Events as they arrive at a receiver: each must be the next one, byte for byte as it was sent."""

from __future__ import annotations

from tests.load.finding import Finding
from tests.load.peers import event, number_of


class Arrivals:
    """Takes events numbered from 0 as they come, and keeps counters only."""

    def __init__(self) -> None:
        self.next = 0
        """The number behind the highest that has come."""
        self.left_out = 0
        self.late = 0
        """Came again, or after a later one."""
        self.changed = 0

    def take(self, events: list[bytes]) -> None:
        """Count events that a receiver has stored."""
        for found in events:
            if found != event(self.next):
                self._look_at(found)
            else:
                self.next += 1

    def _look_at(self, found: bytes) -> None:
        number = number_of(found)
        self.changed += found != event(number)
        if number < self.next:
            self.late += 1
        else:
            self.left_out += number - self.next
            self.next = number + 1

    def findings(self, count: int) -> list[Finding]:
        """Return what is wrong where events 0 to `count` were sent."""
        return [
            Finding("events that did not arrive in their place", self.left_out + abs(count - self.next), "events", 0),
            Finding("events that arrived again, or late", self.late, "events", 0),
            Finding("events that arrived changed", self.changed, "events", 0),
        ]
