"""Group commit: what arrives while one commit is being synced is written by the next, together.

One loop runs one job at a time. A job is all operations that wait when it starts, up to a size:
writes first, in one transaction, in the order in which they came; then reads, which see them.
Each caller gets its own result or error. If the transaction fails, every write of it failed, and
each caller is told.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from forwarder.errors import ShuttingDownError

S = TypeVar("S")


@dataclass(slots=True)
class Operation(Generic[S]):
    """Something to do with the store: a write of about `size` bytes, or a read."""

    act: Callable[[S], Any]
    size: int
    is_write: bool
    done: asyncio.Future[Any]


class GroupCommit(Generic[S]):
    """Gathers operations and hands them to `run`, group by group.

    `run` returns a result or an exception for each operation of its group, in order; it does not raise.
    """

    def __init__(self, run: Callable[[Sequence[Operation[S]]], Awaitable[list[Any]]], *, max_bytes: int) -> None:
        self._run = run
        self._max_bytes = max_bytes
        self._waiting: deque[Operation[S]] = deque()
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
        self._waiting.append(Operation(act, size, is_write, done))
        self._wake.set()
        return done

    async def close(self) -> None:
        """Run what was submitted, then stop."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task

    async def _run_groups(self) -> None:
        while True:
            await self._wake.wait()
            if not self._waiting:
                if self._closing:
                    return
                self._wake.clear()
                continue
            group = self._next_group()
            for operation, result in zip(group, await self._run(group), strict=True):
                # A caller that was cancelled meanwhile does not wait any more.
                if operation.done.done():
                    continue
                if isinstance(result, Exception):
                    operation.done.set_exception(result)
                else:
                    operation.done.set_result(result)

    def _next_group(self) -> list[Operation[S]]:
        group = [self._waiting.popleft()]
        size = group[0].size
        while self._waiting and size + self._waiting[0].size <= self._max_bytes:
            group.append(self._waiting.popleft())
            size += group[-1].size
        return group
