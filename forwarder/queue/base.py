"""The contract of a queue. Every backend passes the same conformance tests.

A queue keeps, for each destination, events in the order in which they were appended. A batch
that was taken is *held* by its taker until it is settled or released; what is held is not handed
out again and is not dropped, expired or purged. What is settled is gone for good; the counters
move in the same transaction. A process that dies loses what it held back to the queue.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from forwarder.model import (
    EVERY_EVENT,
    Batch,
    Burial,
    DeadFilter,
    DeadLetter,
    DeadSegment,
    EventFilter,
    Limits,
    QueueStats,
    Segment,
)


@dataclass(frozen=True, slots=True)
class Share:
    """What one destination may use of the queue: bytes on disk (None: all of it) and the policy when full."""

    max_bytes: int | None = None
    drop_oldest: bool = False
    setting: str | None = None
    """The setting that says how many, where it is not that of the destination of this name."""


@dataclass(frozen=True, slots=True)
class Pending:
    """What of a destination waits and is not held.

    `events` is exact; `bytes` is so up to the queue's look-ahead and at least that beyond it.
    `since` is the monotonic time at which the oldest of them was appended, or minus infinity for
    events that were there before this process, or that were taken and given back: they are due.
    """

    events: int
    bytes: int
    since: float

    def fills(self, limits: Limits) -> bool:
        """Say whether it makes a full batch."""
        return self.events >= limits.max_events or self.bytes >= limits.max_bytes


class Queue(Protocol):
    """A durable queue of events for a set of named destinations."""

    async def append(self, segments: Sequence[Segment], dead: Sequence[DeadSegment] = ()) -> None:
        """Store all segments or none; durable on return. What is `dead` is accepted and dies at once.

        A dead segment counts for the share of its destination, which need not be one that is delivered to.

        Raises QueueFullError, DiskFullError, StorageError or ShuttingDownError; nothing is stored then.
        """

    async def next_batches(self, destination: str, limits: Limits, at_most: int = 1) -> list[Batch]:
        """Take the oldest events that are not held: a batch of as many as `limits` allow, at least one.

        Behind it come further ones, up to `at_most`, as long as they are full. An event over
        `limits.max_bytes` is handed out alone. Returns nothing where nothing waits.
        """

    async def take_at(self, destination: str, position: int) -> Batch | None:
        """Take one event out of its turn: the first at or behind a position that is not held.

        Where there is none behind it, the last one that is not held; None where nothing waits, or it cannot be read.
        """

    async def take_again(self, destination: str, positions: Sequence[int], max_bytes: int) -> list[Batch]:
        """Return held events once more, a batch each, by position: those that fit into `max_bytes`, at least one.

        What cannot be read is left out; it is still held.
        """

    async def settle(self, batch: Batch, burial: Burial | None = None) -> bool:
        """Settle a held batch: delivered, or dead for the reason given. Durable on return.

        Tries until the storage takes it: a failing disk delays a settlement, it does not undo it.
        Returns False where the queue is so full that it has no room for a dead letter: the batch is given back
        then, as by `release`, and can be buried when there is room.
        """

    def release(self, batch: Batch) -> None:
        """Give a held batch back; its events are handed out again, in their old places."""

    def pending(self, destination: str) -> Pending:
        """Return what waits for a destination."""

    async def wait(self, destination: str, timeout: float | None, enough: Limits | None = None) -> None:
        """Return when events came to an empty queue, or after `timeout` seconds.

        With `enough`, also when at least so many events, or so many bytes, wait; without, on every change.
        """

    def wake(self, destination: str) -> None:
        """Make `wait` return, now or the next time it is called."""

    async def wait_space(self, timeout: float) -> None:
        """Return when space may have become free, or after `timeout` seconds."""

    async def expire(self, destination: str, accepted_before: float, burial: Burial) -> int:
        """Move what waits and was accepted before that time to the dead letters; return how many.

        Where the queue has no room for dead letters, what is left stays queued.
        """

    async def purge(self, destination: str, wanted: EventFilter = EVERY_EVENT) -> int:
        """Drop what waits for a destination at this moment, or some of it, counted as dropped; return how many.

        What is accepted from now on is not concerned, nor what is held.
        """

    async def set_paused(self, destination: str, paused: bool) -> None:
        """Remember, across restarts, whether a destination is paused."""

    def peek(self, destination: str, limit: int | None) -> AsyncIterator[bytes]:
        """Yield queued events (held ones too) from the oldest on, without taking them."""

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
        them is gone meanwhile. Raises as `append` does.
        """

    async def purge_dead(self, wanted: DeadFilter) -> int:
        """Drop dead letters, counted as dropped; return how many."""

    def trouble(self) -> str | None:
        """Return why events cannot be accepted just now, or None while they can."""

    async def stats(self) -> QueueStats:
        """Return the counters of every destination that the queue knows, and its size."""

    async def configure(self, shares: dict[str, Share]) -> Sequence[str]:
        """Set the destinations that take events; return the names of others that still hold events or dead letters."""

    async def close(self) -> None:
        """Finish what was submitted and close. Later calls raise ShuttingDownError."""
