"""Group commit: what arrives while one commit is being synced is written by the next one, in one transaction.

A sync to disk costs about as much for one event as for a thousand, so nobody gets a commit of their own. Operations
gather in a backlog while the storage is busy; when it is free it takes a group of them: all that wait, up to a size.
Writes are carried out first, in one transaction, those that bring events last; then come the reads, which see them.
Within each of these kinds the order is that of submission.

A large group of events takes long to write, and a settlement that waited for it would keep the next delivery waiting.
So where there are many bytes of events, the other writes are committed before them. They give way once only: the
producers are not made to wait for everything that is settled meanwhile.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from forwarder.queue.sqlite.store import Store

# From so many bytes of events on, other writes are committed before them.
_MANY_BYTES = 512 * 1024


@dataclass(slots=True)
class Operation:
    """Something to do with the store: a write, of about `size` bytes where it brings events, or a read."""

    act: Callable[[Store], Any]
    size: int
    is_write: bool
    done: asyncio.Future[Any]


@dataclass(slots=True)
class Group:
    """Operations that are carried out together, and what has come of each so far: a result, or its error as a value."""

    operations: list[Operation]
    results: dict[int, Any] = field(default_factory=dict)
    """By place in the group. What has no result is not done."""
    error: Exception | None = None
    """Why not all of it is done."""

    def undone(self, *, is_write: bool) -> list[int]:
        """Return the places of the writes, or of the reads, that are still to be done."""
        results = self.results
        return [
            index
            for index, operation in enumerate(self.operations)
            if operation.is_write == is_write and index not in results
        ]

    def has(self, kind: type[Exception]) -> bool:
        """Say whether an operation ended with an error of this kind."""
        return any(isinstance(result, kind) for result in self.results.values())

    def forget(self, kind: type[Exception]) -> None:
        """Take operations that ended with an error of this kind for not done."""
        self.results = {index: result for index, result in self.results.items() if not isinstance(result, kind)}

    def answer(self) -> None:
        """Tell each caller its result, or why there is none; to be called on the event loop."""
        # A missing result must never pass for success: an event that nobody stored would be acknowledged.
        missing = self.error or RuntimeError("the queue has not done this")
        for index, operation in enumerate(self.operations):
            # A caller that was cancelled in the meantime waits no more.
            if operation.done.done():
                continue
            result = self.results.get(index, missing)
            if isinstance(result, Exception):
                operation.done.set_exception(result)
            else:
                operation.done.set_result(result)


class Backlog:
    """Operations that wait. The event loop adds them; the connection's thread takes them off, group by group.

    Both ends use deques, whose single operations are atomic, so there is no lock.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._events: deque[Operation] = deque()
        self._others: deque[Operation] = deque()
        self._gave_way = False

    def __bool__(self) -> bool:
        return bool(self._events or self._others)

    def add(self, operation: Operation) -> None:
        (self._events if operation.size else self._others).append(operation)

    def next_group(self) -> Group | None:
        """Take what waits, up to the size of a group, which one operation alone may exceed. None: nothing waits."""
        # The length is read once: what is added from here on belongs to the next group.
        others = [self._others.popleft() for _ in range(len(self._others))]
        events: list[Operation] = []
        size = 0
        while self._events and (not events or size + self._events[0].size <= self._max_bytes):
            events.append(self._events.popleft())
            size += events[-1].size
        self._gave_way = not self._gave_way and size > _MANY_BYTES and any(other.is_write for other in others)
        if self._gave_way:
            self._events.extendleft(reversed(events))
            return Group(others)
        return Group(others + events) if others or events else None
