"""Simulated time: whenever nothing is left to do, the clock jumps to the next timer.

A loop in which an hour of waiting takes no time, with a queue that is the real one in all but the
thread and the disk: jobs run on the loop, in memory, and take as long as the test says. What is
committed there outlives the process that wrote it; nothing else does.
"""

from __future__ import annotations

import asyncio
import selectors
import sqlite3
import sys
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest
import structlog

from forwarder.observe.logs import Logs
from forwarder.queue.sqlite.database import Connection
from forwarder.queue.sqlite.lock import InstanceLock
from forwarder.queue.sqlite.queue import SqliteQueue
from forwarder.queue.sqlite.reserve import Reserve
from forwarder.queue.sqlite.store import Store
from forwarder.queue.sqlite.worker import Worker

# When the simulation begins, in seconds since the epoch and on the monotonic clock.
EPOCH = 1_700_000_000.0
START = 1000.0
# The least that a turn of the loop takes, in seconds. asyncio calls a timer up to a nanosecond early;
# whoever then waits for the rest must not find the clock where it was, again and again.
_TURN = 1e-6

T = TypeVar("T")


class Clock:
    """Stands in for the module `time` as far as delivery and the queue use it."""

    def __init__(self) -> None:
        self.now = START

    def monotonic(self) -> float:
        return self.now

    def perf_counter(self) -> float:
        return self.now

    def time(self) -> float:
        return EPOCH + self.now - START


class _Jumping(selectors.DefaultSelector):
    """Does not wait: it moves the clock by what it was asked to wait for."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("everything waits, and nothing is left that could happen")
        self._clock.now += max(_TURN, timeout)
        found: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        return found


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop in simulated time; what would run in a thread is done `seconds()` later."""

    def __init__(self, clock: Clock, seconds: Callable[[], float]) -> None:
        self._simulated = clock
        self._seconds = seconds
        super().__init__(_Jumping(clock))

    def time(self) -> float:
        return self._simulated.now

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        async def run() -> T:
            await asyncio.sleep(self._seconds())
            return func(*args)

        return self.create_task(run())


@contextmanager
def _clocks_replaced(clock: Clock) -> Iterator[None]:
    """Let delivery and the queue read another clock, however they have imported theirs."""
    stand_ins = {id(time): clock, id(time.time): clock.time, id(time.monotonic): clock.monotonic}
    with pytest.MonkeyPatch.context() as patch:
        for name, module in list(sys.modules.items()):
            if name.startswith(("forwarder.delivery", "forwarder.queue")):
                for attribute, value in list(vars(module).items()):
                    if id(value) in stand_ins:
                        patch.setattr(module, attribute, stand_ins[id(value)])
        yield


def at_once() -> float:
    """Return how long something takes that takes no time."""
    return 0.0


def simulate(play: Callable[[Clock], Coroutine[Any, Any, T]], thread_seconds: Callable[[], float] = at_once) -> T:
    """Run a coroutine to its end in simulated time; return its result. `thread_seconds` is how long a thread takes."""
    clock = Clock()
    with (
        _clocks_replaced(clock),
        structlog.testing.capture_logs(),
        # Debug mode notes down where each timer comes from, and days of simulated time have many.
        asyncio.Runner(debug=False, loop_factory=lambda: SimulatedLoop(clock, thread_seconds)) as runner,
    ):
        return runner.run(play(clock))


class Storage:
    """The connection of one process to the queue's data. `seconds` says how long the next job takes.

    Once `is_dead`, nothing of that process reaches the data any more. `look` sees the store after
    each job.
    """

    def __init__(self, db: sqlite3.Connection, seconds: Callable[[], float] = at_once) -> None:
        self._db = db
        self._seconds = seconds
        self._told: deque[Callable[[], None]] = deque()
        self.is_dead = False
        self.look: Callable[[], None] = lambda: None

    async def run(self, job: Callable[[sqlite3.Connection], T]) -> T:
        seconds = self._seconds()
        await asyncio.sleep(seconds / 2)
        if self.is_dead:
            return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]
        result = job(self._db)
        self.look()
        # Committed, but nobody knows yet.
        await asyncio.sleep(seconds / 2)
        while self._told:
            self._told.popleft()()
        return result

    def tell(self, act: Callable[..., None], *values: Any) -> None:
        """Call something when the job has ended."""
        self._told.append(partial(act, *values))

    async def close(self) -> None:
        """Keep the data: it outlives the process."""


def open_queue(db: sqlite3.Connection, storage: Storage, *, max_bytes: int = 64 << 20) -> tuple[SqliteQueue, Store]:
    """Return the real queue over data in memory, to be used as `async with`, and its store."""
    store = Store(db, Logs(), max_bytes=max_bytes, wal_bytes=0)
    # There is no file: memory does not fill up as a disk does, and there is nobody to lock out.
    nowhere = Path("/nowhere/queue.db")
    lock = InstanceLock(nowhere)
    worker = Worker(nowhere, cast("Connection", storage), store, Reserve(nowhere, 0), note=lock.note)
    return SqliteQueue(worker, lock), store
