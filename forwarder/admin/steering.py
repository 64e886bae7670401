"""What the admin API asks of the daemon: the parts that the queue does not know.

The daemon implements `Steering` over its pumps. A name that is passed in is always one of those
that `status` returned; everything else is answered before the daemon is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from forwarder.model import EVERY_EVENT, EventFilter, LastError, State


@dataclass(frozen=True, slots=True)
class DestinationStatus:
    """What the pump of one destination knows."""

    state: State
    attempts: int = 0
    """Attempts since the last success; 0 while all goes well."""
    next_attempt_in_seconds: float | None = None
    last_success: float | None = None
    """Seconds since the epoch."""
    last_error: LastError | None = None
    set_aside: int = 0
    """Events that were refused, or failed, alone, and are tried again by themselves; they count as queued."""
    reason: str | None = None
    """Why not everything is delivered, for people."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a reload was refused; `at` in seconds since the epoch."""

    at: float
    problems: tuple[str, ...]

    def __str__(self) -> str:
        return "; ".join(self.problems)


class Reloads(Protocol):
    """How the daemon reads its configuration again."""

    @property
    def refused(self) -> Refusal | None:
        """Why the last reload was refused; None after one that was not."""

    async def reload(self) -> Refusal | None:
        """Read configuration, keys and tokens again and put them in place; return why that was refused.

        Raises ShuttingDownError.
        """


class Steering(Protocol):
    """The daemon, as the admin API sees it."""

    async def status(self) -> Mapping[str, DestinationStatus]:
        """Return what each configured destination is doing."""

    def ready(self) -> str | None:
        """Return None while events can be accepted, else the reason why not."""

    async def flush(self, name: str) -> None:
        """Attempt a delivery now: wait neither for a fuller batch nor for the back-off."""

    async def pause(self, name: str) -> None:
        """Stop delivering; events are still accepted and queued. Holds across restarts."""

    async def resume(self, name: str) -> None:
        """Deliver again after a pause, and at once where the destination is held."""

    async def purge(self, name: str, wanted: EventFilter = EVERY_EVENT) -> int:
        """Drop everything that waits, or some of it, counted as dropped; return how many."""
