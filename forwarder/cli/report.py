"""Keep account of the events of one `send`: how many were stored, and which were refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from forwarder.errors import NotReachableError
from forwarder.model import Address

# Refusals beyond this number are only counted, as they would mostly repeat the others.
MAX_REFUSALS = 20


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an event was not stored; `place` is its position in the input, `status` an HTTP status."""

    place: str
    status: int
    detail: str


@dataclass(slots=True)
class Report:
    """The account of one `send`; `changed` is called whenever it changes."""

    stored: int = 0
    refused: int = 0
    settled: int = 0
    """All events up to this number are stored or refused."""
    waiting: str = ""
    """Why nothing is being taken at the moment, or an empty string."""
    refusals: list[Refusal] = field(default_factory=list)
    changed: Callable[[], None] = lambda: None

    def refuse(self, place: str, status: int, detail: str) -> None:
        """Count a refused event."""
        self.refused += 1
        if len(self.refusals) < MAX_REFUSALS:
            self.refusals.append(Refusal(place, status, detail))
        self.changed()

    def lost(self, address: Address, place: Callable[[int], str]) -> NotReachableError:
        """Return the error for a connection that broke before everything was settled."""
        return NotReachableError(
            f"{address}: the connection was lost",
            hint=f"send again from {place(self.settled + 1)} on; what follows it may be stored already, "
            "so give each event an eventId, by which readers drop duplicates",
        )

    def store(self, count: int) -> None:
        """Count events that are stored durably."""
        self.stored += count
        self.changed()

    def settle(self, event: int) -> None:
        """Record that all events up to this number are stored or refused."""
        self.settled = max(self.settled, event)
        self.changed()

    def wait(self, reason: str) -> None:
        """Record why nothing is being taken; an empty string means that it goes on."""
        if reason != self.waiting:
            self.waiting = reason
            self.changed()
