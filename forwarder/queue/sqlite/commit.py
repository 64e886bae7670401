"""Group commit: what arrives while one commit is being synced is written by the next, together.

A group is all operations that wait when the store gets to it, up to a size: writes first, in one
transaction, the events last, in the order in which they came; then reads, which see them. Each
caller gets its own result or error. If the transaction fails, every write of it failed, and each
caller is told. While something waits, one group follows the other on the store's thread, without a
way back in between.

Many events take long to write. What else is to be written does not wait for them, but is committed
before: a delivery goes on when what it has sent is settled.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from forwarder.errors import ShuttingDownError

# Bytes of events from which on other writes are committed before them.
_MANY_BYTES = 512 * 1024

S = TypeVar("S")


@dataclass(slots=True)
class Operation(Generic[S]):
    """Something to do with the store: a write, of about `size` bytes where it brings events, or a read."""

    act: Callable[[S], Any]
    size: int
    is_write: bool
    done: asyncio.Future[Any]


class GroupCommit(Generic[S]):
    """Gathers operations, and calls `run` while there are any.

    `run` asks for one group after the other with `next_group`, on whatever thread it works, until there is
    none, and tells the results of each with `finish`. It does not raise.
    """

    def __init__(self, run: Callable[[], Awaitable[None]], *, max_bytes: int) -> None:
        self._run = run
        self._max_bytes = max_bytes
        # What brings events, and everything else.
        self._events: deque[Operation[S]] = deque()
        self._others: deque[Operation[S]] = deque()
        self._gave_way = False
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run_groups(), name="group-commit")

    def submit(self, act: Callable[[S], Any], *, size: int = 0, is_write: bool = True) -> asyncio.Future[Any]:
        """Add an operation; the future has its result once it is durable. Raises ShuttingDownError."""
        if self._closing:
            raise ShuttingDownError("the forwarder is shutting down")
        done: asyncio.Future[Any] = self._loop.create_future()
        (self._events if size else self._others).append(Operation(act, size, is_write, done))
        self._wake.set()
        return done

    async def close(self) -> None:
        """Run what was submitted, then stop."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task

    def next_group(self) -> list[Operation[S]]:
        """Return what waits, up to the size of a group; nothing where nothing waits."""
        # Operations are added by the event loop and taken off here, at the other end.
        others = [self._others.popleft() for _ in range(len(self._others))]
        events: list[Operation[S]] = []
        size = 0
        while self._events and (not events or size + self._events[0].size <= self._max_bytes):
            events.append(self._events.popleft())
            size += events[-1].size
        # Once only: whoever accepts events does not wait for all that is settled meanwhile.
        self._gave_way = not self._gave_way and size > _MANY_BYTES and any(other.is_write for other in others)
        if self._gave_way:
            self._events.extendleft(reversed(events))
            return others
        return others + events

    def finish(self, group: Sequence[Operation[S]], results: Sequence[Any]) -> None:
        """Tell each caller its result, or its error; to be called on the event loop."""
        for operation, result in zip(group, results, strict=True):
            # A caller that was cancelled meanwhile does not wait any more.
            if operation.done.done():
                continue
            if isinstance(result, Exception):
                operation.done.set_exception(result)
            else:
                operation.done.set_result(result)

    async def _run_groups(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._events or self._others:
                await self._run()
            if self._closing:
                return
