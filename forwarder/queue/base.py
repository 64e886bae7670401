"""The contract of a queue: three ports, and what the daemon needs beside them.

Events come in through the `Inbox`, leave through the `Outbox`, and operators look after them through `Inspection`.
A stage is given the port that it needs and knows nothing else of the queue; only the daemon has the whole `Queue`.
Every backend passes the same conformance tests.

A queue keeps, for each destination, events in the order in which they were appended. A batch that was taken is
*leased* to its taker until it is settled or released: what is leased is not handed out again and is not dropped,
expired or purged. A process that dies loses its leases, and its events are handed out again. A backend may let leases
end, so that another process can take over; a taker renews them meanwhile. Where a lease ended all the same, its events
are handed out again, perhaps delivered twice, and counted once.

What is settled is gone for good, and its counters move in the same transaction. Calls take effect in the order in which
they were made: whatever is awaited after a release finds the released events waiting. What `pending` and `stats` say of
sizes and ages is an estimate, which a backend may make as exact as it can.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, NamedTuple, Protocol, Self

from forwarder.model import (
    EVERY_EVENT,
    Batch,
    Burial,
    DeadFilter,
    DeadGroup,
    DeadLetter,
    DeadSegment,
    EventFilter,
    Limits,
    QueueStats,
    Segment,
)

RENEW_SECONDS: Final = 20.0
"""How often a taker renews its leases. A lease lasts at least three times as long, so that one renewal may fail."""


@dataclass(frozen=True, slots=True)
class Share:
    """What one destination may use of the queue: bytes on disk (None: all of it) and the policy when full."""

    max_bytes: int | None = None
    drop_oldest: bool = False
    setting: str | None = None
    """The setting that says how many, where it is not that of the destination of this name."""


@dataclass(frozen=True, slots=True)
class Pending:
    """What of a destination waits and is not leased: an estimate, but not nothing for long while something waits.

    `since` is the monotonic time at which the oldest of them was appended, or minus infinity for
    events that were there before this process, or that were taken and released: they are due.
    """

    events: int
    bytes: int
    since: float

    def fills(self, limits: Limits) -> bool:
        """Say whether it makes a full batch."""
        return self.events >= limits.max_events or self.bytes >= limits.max_bytes


class Appended(NamedTuple):
    """Where a segment was put: its events have the positions from `position` up to `position + events`."""

    destination: str
    position: int
    events: int


class Inbox(Protocol):
    """Where events come in."""

    async def append(self, segments: Sequence[Segment], dead: Sequence[DeadSegment] = ()) -> Sequence[Appended]:
        """Store all segments or none; durable on return. What is `dead` is accepted and dies at once.

        Returns the place of each segment in the queue of its destination, in any order.

        A dead segment counts for the share of its destination, which need not be one that is delivered to.

        Raises QueueFullError, StorageError or ShuttingDownError; nothing is stored then. Raises
        TooLargeError where the segments could never fit.
        """

    async def wait_space(self, timeout: float) -> None:
        """Return when space may have become free, or after `timeout` seconds."""

    def trouble(self) -> str | None:
        """Return why no events can be accepted just now, however much room there is, or None while they can."""


class Outbox(Protocol):
    """Where events leave."""

    async def take(self, destination: str, limits: Limits, at_most: int = 1) -> list[Batch]:
        """Lease the oldest events that wait: a batch of as many as `limits` allow, at least one.

        Behind it come further ones, up to `at_most`, as long as they are full. An event over
        `limits.max_bytes` is handed out alone. Returns nothing where nothing waits.
        """

    async def take_at(self, destination: str, position: int) -> Batch | None:
        """Lease one event out of its turn: the first at or behind a position that waits.

        Where there is none behind it, the last one that waits; None where nothing waits, or it cannot be read.
        """

    async def take_again(self, destination: str, positions: Sequence[int], max_bytes: int) -> list[Batch]:
        """Return leased events once more, a batch each, by position: those that fit into `max_bytes`, at least one.

        What cannot be read is left out; it is still leased.
        """

    async def renew(self, destination: str) -> None:
        """Extend the leases on whatever this process has taken of a destination and neither settled nor released.

        It costs nothing where leases do not end. Raises StorageError; the leases are then as they were.
        """

    async def settle(self, batch: Batch, burial: Burial | None = None) -> bool:
        """Settle a leased batch: delivered, or dead for the reason given. Durable on return.

        Tries until the storage takes it: a failing disk delays a settlement, it does not undo it.
        Returns False where the queue is so full that it has no room for a dead letter: the batch is released
        then, and can be buried when there is room.
        """

    def release(self, batch: Batch) -> None:
        """Give a leased batch back; its events are handed out again, in their old places."""

    def pending(self, destination: str) -> Pending:
        """Return what waits for a destination, without asking the storage."""

    async def wait(self, destination: str, timeout: float | None, enough: Limits | None = None) -> None:
        """Return when events came to an empty queue, or after `timeout` seconds.

        With `enough`, also when at least so many events, or so many bytes, wait; without, on every change. It may
        return sooner: whoever waits looks again.
        """

    def wake(self, destination: str) -> None:
        """Make `wait` return, now or the next time it is called."""

    async def expire(self, destination: str, accepted_before: float, burial: Burial) -> int:
        """Move what waits and was accepted before that time to the dead letters; return how many.

        Where the queue has no room for dead letters, what is left stays queued.
        """


class Inspection(Protocol):
    """What operators do: look at what is queued and dead, drop it, send it again."""

    async def stats(self) -> QueueStats:
        """Return the counters of every destination that the queue knows, all of one moment, and its size."""

    async def set_paused(self, destination: str, paused: bool) -> None:
        """Remember, across restarts, whether a destination is paused."""

    def peek(self, destination: str, limit: int | None) -> AsyncIterator[bytes]:
        """Yield queued events (leased ones too) from the oldest on, without taking them."""

    async def purge(self, destination: str, wanted: EventFilter = EVERY_EVENT) -> int:
        """Drop what waits for a destination at this moment, or some of it, counted as dropped; return how many.

        What is accepted from now on is not touched, nor what is leased.
        """

    def dead_letters(self, wanted: DeadFilter, limit: int | None = None) -> AsyncIterator[DeadLetter]:
        """Yield dead letters from the oldest on."""

    async def replay(self, wanted: DeadFilter) -> int:
        """Move dead letters to the end of their queues; return how many.

        What is damaged stays, and so does what was `invalid`: it never was an event. Raises QueueFullError
        where there is no room for more of them.
        """

    async def readmit(
        self,
        passed: Sequence[DeadLetter],
        segments: Sequence[Segment],
        again: Sequence[tuple[DeadLetter, Burial]] = (),
    ) -> bool:
        """Store what dead letters turned out to be, all or nothing; durable on return.

        Those that `passed` leave their account as delivered, and `segments` are accepted in their place; those that
        died `again` do so for another reason, under a new number. Returns False, having changed nothing, where one of
        them is gone meanwhile. Raises as `Inbox.append` does.
        """

    async def replay_as(self, letter: DeadLetter, event: bytes) -> bool:
        """Move a dead letter to the end of its queue with another text, which is one line; durable on return.

        Returns False where it is gone meanwhile. Raises QueueFullError where there is no room for it.
        """

    async def dead_groups(self) -> Sequence[DeadGroup]:
        """Return the dead letters by what they died of, the largest group first; a bounded number of groups."""

    async def purge_dead(self, wanted: DeadFilter) -> int:
        """Drop dead letters, counted as dropped; return how many."""


class Queue(Inbox, Outbox, Inspection, Protocol):
    """A durable queue of events for a set of named destinations, to be used as `async with`."""

    async def configure(self, shares: dict[str, Share]) -> Sequence[str]:
        """Set the destinations that take events; return the names of others that still hold events or dead letters."""

    async def close(self) -> None:
        """Finish what was submitted and close. Later calls raise ShuttingDownError."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
