"""The interface between the admin API and the daemon, for everything that the queue does not know.

The daemon implements `Steering` with its pumps. Names that are passed in are always among those that
`status` returned: the API answers requests with other names itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from forwarder.model import EVERY_EVENT, DeadFilter, EventFilter, LastError, Obstacle, State
from forwarder.queue.fullness import Full


@dataclass(frozen=True, slots=True)
class DestinationStatus:
    """What the pump of a destination knows about it."""

    state: State
    attempts: int = 0
    """Failed attempts since the last success; 0 while all goes well."""
    next_attempt_in_seconds: float | None = None
    last_success: float | None = None
    """Seconds since the epoch."""
    last_error: LastError | None = None
    since: float | None = None
    """Since when it has been working, failing or paused, in seconds since the epoch; None if that is unknown."""
    set_aside: int = 0
    """Events that were refused or failed even alone, and will be tried again on their own; they count as queued."""
    sent_again: int = 0
    """Batches that may have been taken but were not answered, and were sent again: duplicates are possible."""
    obstacle: Obstacle | None = None
    """What keeps it from taking everything, although it answers."""
    certificate_ends: float | None = None
    """When the first of the certificates for the way to it ends, in seconds since the epoch."""
    waiting_for: str | None = None
    """What is being waited for before the next attempt, in words for people."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a reload was refused; `at` is in seconds since the epoch."""

    at: float
    problems: tuple[str, ...]

    def __str__(self) -> str:
        return "; ".join(self.problems)


class ConfigOnDisk(Protocol):
    """The file that the configuration in force was read from."""

    @property
    def name(self) -> str:
        """Its path."""

    @property
    def loaded_at(self) -> float:
        """When that was, in seconds since the epoch."""

    @property
    def is_changed(self) -> bool:
        """Whether the file says something else than what is in force."""


class Room(Protocol):
    """The part of the daemon that knows how much room there is in the queue."""

    @property
    def full(self) -> Mapping[str | None, Full]:
        """The destinations whose share of the queue is full; None stands for the queue as a whole."""

    @property
    def full_in_seconds(self) -> float | None:
        """When the queue will be full, at the rate of now; None where it does not grow."""


class Reloads(Protocol):
    """The part of the daemon that reads its configuration again."""

    @property
    def file(self) -> ConfigOnDisk: ...

    @property
    def refused(self) -> Refusal | None:
        """Why the last reload was refused; None if it succeeded."""

    async def reload(self) -> Refusal | None:
        """Read configuration, keys and tokens again and apply them; return why this was refused, or None.

        Raises ShuttingDownError.
        """


class Readmission(Protocol):
    """The intake, as far as it takes dead letters once more."""

    async def again(self, wanted: DeadFilter) -> int:
        """Accept the wanted letters that were invalid when they were received and are valid now; return how many.

        Raises UnavailableError or TooLargeError.
        """

    async def edited(self, destination: str, number: int, event: bytes) -> None:
        """Accept an edited event in the place of a dead letter.

        Raises UnknownLetterError, InvalidEventsError, MalformedError, TooLargeError or UnavailableError.
        """


class Steering(Protocol):
    """The daemon, as the admin API sees it."""

    async def status(self) -> Mapping[str, DestinationStatus]:
        """Return the state of each configured destination."""

    def ready(self) -> str | None:
        """Return None while events can be accepted, otherwise the reason why not."""

    async def flush(self, name: str) -> None:
        """Attempt a delivery now, without waiting for a fuller batch or for the back-off."""

    async def pause(self, name: str) -> None:
        """Stop delivering, even across restarts; events are still accepted and queued."""

    async def resume(self, name: str) -> None:
        """Deliver again after a pause; a destination that is held is tried again at once."""

    async def purge(self, name: str, wanted: EventFilter = EVERY_EVENT) -> int:
        """Drop the queued events that match, counted as dropped; return how many."""
