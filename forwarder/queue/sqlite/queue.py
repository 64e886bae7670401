"""The queue in one SQLite file.

Here is what is promised to the rest of the program, each call in a few lines; what is done in the file is in the
modules beside this one. The state of the queue belongs to the connection's thread: whatever is to be done is submitted
to the `Worker`, and what the event loop knows in between is the snapshot that came back last. An append returns after
the commit that holds it has been synced. A process that dies leaves the last commit; what it had taken and not settled
is still queued.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType

from forwarder.errors import QueueFullError, StorageError
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
from forwarder.observe.base import Observer
from forwarder.observe.facts import Notice
from forwarder.queue.base import Appended, Pending, Share
from forwarder.queue.finding import Groups
from forwarder.queue.sqlite import admission, burying, dead, take, views, waiting
from forwarder.queue.sqlite.closing import RETRY_SECONDS, Closing
from forwarder.queue.sqlite.executor import Snapshot
from forwarder.queue.sqlite.folder import check_path, folder_error, make_folder
from forwarder.queue.sqlite.lock import InstanceLock
from forwarder.queue.sqlite.opening import open_with_reserve, refuse_newer
from forwarder.queue.sqlite.recovery import Accounts
from forwarder.queue.sqlite.store import Store
from forwarder.queue.sqlite.upkeep import Upkeep
from forwarder.queue.sqlite.wakeups import WakeUps
from forwarder.queue.sqlite.watch import Watch
from forwarder.queue.sqlite.worker import Worker


class SqliteQueue:
    """`forwarder.queue.base.Queue` on SQLite. Use `async with await SqliteQueue.open(…)`."""

    def __init__(self, worker: Worker, lock: InstanceLock, *, retry_seconds: float = RETRY_SECONDS) -> None:
        self._worker = worker
        self._observer = worker.observer
        self._lock = lock
        self._closing = Closing(retry_seconds)
        self._wake_ups = WakeUps()
        worker.on_snapshot += [self._wake_ups.see, self._tell_failing]
        self._upkeep = Upkeep(worker, self._closing)
        self._watch = Watch(worker, lock, self._closing)
        self._tasks: list[asyncio.Task[None]] = []
        self._settling: set[asyncio.Task[bool]] = set()

    @classmethod
    async def open(
        cls,
        path: Path,
        observer: Observer,
        *,
        max_bytes: int,
        names: Sequence[str] = (),
        retry_seconds: float = RETRY_SECONDS,
    ) -> SqliteQueue:
        """Open or begin the queue at `path`; its folder is made where it is missing.

        A file that is damaged may have lost the name of a destination; `names` are those that are configured. A storage
        that fails is tried again every `retry_seconds`.

        Raises QueueLockedError, StorageError or DiskFullError.
        """
        check_path(path)
        try:
            await asyncio.to_thread(make_folder, path.parent)
        except OSError as error:
            raise folder_error(path.parent, error) from error
        lock = InstanceLock(path)
        lock.acquire()
        try:
            await refuse_newer(path)
            connection, store, reserve = await open_with_reserve(path, observer, max_bytes, Accounts(names=names))
        except BaseException:
            lock.release()
            raise
        if (missing := lock.noted() - store.accepted) > 0:
            observer.saw(Notice("queue.events_missing", {"events": missing}))
        return cls(Worker(path, connection, store, reserve, note=lock.note), lock, retry_seconds=retry_seconds)

    async def __aenter__(self) -> SqliteQueue:
        self._worker.start()
        self._tasks.append(asyncio.create_task(self._upkeep.run(), name="queue-upkeep"))
        if self._worker.place.is_known:
            self._tasks.append(asyncio.create_task(self._watch.run(), name="queue-watch"))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Finish what was submitted, fold the log into the file, and close."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._upkeep.stop()
        for task in self._tasks:
            await task
        if self._settling:
            await asyncio.wait(self._settling)
        try:
            await self._worker.close()
        finally:
            self._lock.release()

    # --- the contract --------------------------------------------------------------------------

    async def configure(self, shares: dict[str, Share]) -> Sequence[str]:
        """Set the destinations that take events; return the names of others that still keep something."""
        return await self._worker.submit(lambda store: store.configure(shares))

    async def append(self, segments: Sequence[Segment], dead: Sequence[DeadSegment] = ()) -> Sequence[Appended]:
        """Store all segments or none; durable on return. What is `dead` is accepted and dies at once."""
        self._watch.check()
        size = sum([len(segment.data) for segment in segments]) + sum([len(died.data) for died in dead])
        if not segments and not dead:
            return []
        places: list[Appended] = await self._worker.submit(
            lambda store: admission.append(store, segments, dead), size=size
        )
        return places

    async def take(self, destination: str, limits: Limits, at_most: int = 1) -> list[Batch]:
        """Take the oldest events that are not leased: a batch as large as `limits` allow, and full ones behind it."""
        return await self._taken(lambda store: take.take(store, destination, limits, at_most))

    async def take_at(self, destination: str, position: int) -> Batch | None:
        """Take one event out of its turn: the first at or behind a position that is not leased, else the last."""
        return next(iter(await self._taken(lambda store: take.take_at(store, destination, position))), None)

    async def take_again(self, destination: str, positions: Sequence[int], max_bytes: int) -> list[Batch]:
        """Return leased events once more, a batch each: those that fit into `max_bytes`, at least one."""
        return await self._worker.submit(
            lambda store: take.take_again(store, destination, positions, max_bytes), is_write=False
        )

    async def renew(self, destination: str) -> None:
        """Do nothing: what this process has taken is leased to it for as long as it lives."""

    async def _taken(self, act: Callable[[Store], list[Batch]]) -> list[Batch]:
        taking = self._worker.submit(act, is_write=False)
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            # Whoever is gone cannot release what was taken for it.
            taking.add_done_callback(self._release_taken)
            raise

    def _release_taken(self, taken: asyncio.Future[list[Batch]]) -> None:
        if not taken.cancelled() and taken.exception() is None:
            for batch in taken.result():
                self.release(batch)

    async def settle(self, batch: Batch, burial: Burial | None = None) -> bool:
        """Settle a leased batch: delivered, or dead for the reason given. Durable on return.

        Returns False where there is no room for dead letters; the batch is given back then.

        A caller that is cancelled does not cancel the settlement: what was answered is recorded, or
        tried until the queue is closed.
        """
        settling = asyncio.create_task(self._settle(batch, burial), name="settle")
        self._settling.add(settling)
        settling.add_done_callback(self._settling.discard)
        try:
            return await asyncio.shield(settling)
        except asyncio.CancelledError:
            settling.add_done_callback(partial(self._tell_unsettled, batch))
            raise

    async def _settle(self, batch: Batch, burial: Burial | None) -> bool:
        while True:
            try:
                await self._worker.submit(
                    lambda store: burying.bury_batch(store, batch, burial) if burial else store.settle(batch)
                )
            except QueueFullError as error:
                self._tell_unburied(batch.destination, error)
                self.release(batch)
                # It comes again soon, and there is no more room by then than there is now.
                await self._closing.pause()
                return False
            except StorageError:
                if self._closing.is_set():
                    raise
                await self._closing.pause()
            else:
                return True

    def release(self, batch: Batch) -> None:
        """Give a leased batch back; its events are handed out again, in their old places."""
        self._worker.release(batch)

    def pending(self, destination: str) -> Pending:
        """Return what waits for a destination."""
        return self._worker.snapshot.pending.get(destination, Pending(0, 0, float("-inf")))

    async def wait(self, destination: str, timeout: float | None, enough: Limits | None = None) -> None:
        """Return when events came to an empty queue, or there are `enough`, or after `timeout` seconds."""
        await self._wake_ups.wait(destination, timeout, enough)

    def wake(self, destination: str) -> None:
        """Make `wait` return, now or the next time it is called."""
        self._wake_ups.wake(destination)

    async def wait_space(self, timeout: float) -> None:
        """Return when space may have become free, or after `timeout` seconds."""
        await self._wake_ups.wait_space(timeout)

    async def expire(self, destination: str, accepted_before: float, burial: Burial) -> int:
        """Move what waits and was accepted before that time to the dead letters; return how many."""
        total = 0
        try:
            while count := await self._worker.submit(
                lambda store: burying.expire(store, destination, accepted_before, burial)
            ):
                total += count
        except QueueFullError as error:
            self._tell_unburied(destination, error)
        return total

    async def purge(self, destination: str, wanted: EventFilter = EVERY_EVENT) -> int:
        """Drop what waits for a destination at this moment, or some of it; return how many."""
        until = await self._worker.submit(lambda store: store.tail_of(destination), is_write=False)
        return await self._repeat(partial(waiting.purge, name=destination, wanted=wanted, until=until))

    async def set_paused(self, destination: str, paused: bool) -> None:
        """Remember, across restarts, whether a destination is paused."""
        await self._worker.submit(lambda store: store.set_paused(destination, paused))

    async def replay(self, wanted: DeadFilter) -> int:
        """Move dead letters to the end of their queues; return how many."""
        return await self._repeat(partial(dead.replay, wanted=await self._up_to_now(wanted)))

    async def readmit(
        self,
        passed: Sequence[DeadLetter],
        segments: Sequence[Segment],
        again: Sequence[tuple[DeadLetter, Burial]] = (),
    ) -> bool:
        """Store what dead letters turned out to be, all or nothing; durable on return."""
        return await self._worker.submit(lambda store: dead.readmit(store, passed, segments, again))

    async def replay_as(self, letter: DeadLetter, event: bytes) -> bool:
        """Move a dead letter to the end of its queue with another text; False if it is gone."""
        return await self._worker.submit(lambda store: dead.replay_as(store, letter, event))

    async def dead_groups(self) -> list[DeadGroup]:
        """Return the dead letters by what they died of, the largest group first."""
        found, after = Groups(), 0
        while True:
            step, after = await self._worker.submit(partial(dead.groups, after=after), is_write=False)
            for group in step:
                found.add(group)
            if not after:
                return found.largest()

    async def purge_dead(self, wanted: DeadFilter) -> int:
        """Drop dead letters, counted as dropped; return how many."""
        return await self._repeat(partial(dead.purge, wanted=await self._up_to_now(wanted)))

    async def _up_to_now(self, wanted: DeadFilter) -> DeadFilter:
        """Return a filter for the letters that there are now: what dies meanwhile is left alone."""
        return await self._worker.submit(partial(dead.up_to_now, wanted=wanted), is_write=False)

    async def _repeat(self, step: Callable[..., tuple[int, int]]) -> int:
        """Repeat a bounded write, each time `after` what was looked at before; return how many events it moved."""
        total = after = 0
        while True:
            count, after = await self._worker.submit(partial(step, after=after))
            total += count
            if not after:
                return total

    async def peek(self, destination: str, limit: int | None) -> AsyncIterator[bytes]:
        """Yield queued events (leased ones too) from the oldest on, without taking them."""
        position, left = 0, sys.maxsize if limit is None else limit
        while left > 0:
            found = await self._worker.submit(
                partial(views.lines_from, name=destination, position=position), is_write=False
            )
            if found is None:
                return
            lines, position = found
            for line in lines[:left]:
                yield line
            left -= len(lines)

    async def dead_letters(self, wanted: DeadFilter, limit: int | None = None) -> AsyncIterator[DeadLetter]:
        """Yield dead letters from the oldest on."""
        after, left = 0, sys.maxsize if limit is None else limit
        wanted = await self._up_to_now(wanted)
        while left > 0:
            step = partial(dead.find, wanted=wanted, after=after, limit=min(left, dead.STEP_LETTERS))
            letters, after = await self._worker.submit(step, is_write=False)
            for letter in letters:
                yield letter
            if not after:
                return
            left -= len(letters)

    def trouble(self) -> str | None:
        """Return why events cannot be accepted just now, or None while they can."""
        if self._closing.is_set():
            return "the forwarder is shutting down"
        return self._why_failing()

    async def stats(self) -> QueueStats:
        """Return the counters of every destination that the queue knows, and its size."""
        stats: QueueStats = await self._worker.submit(partial(views.stats, path=self._worker.path), is_write=False)
        return replace(stats, failing=self._why_failing())

    def _why_failing(self) -> str | None:
        failing = self._worker.snapshot.failing
        return self._watch.trouble or (failing.message if failing is not None else None)

    # --- what is told ----------------------------------------------------------------------------

    def _tell_failing(self, before: Snapshot, now: Snapshot) -> None:
        """Tell that the storage has begun to fail, or works again."""
        if now.failing is not None and before.failing is None:
            details = {"reason": now.failing.message, "hint": now.failing.hint}
            self._observer.saw(Notice("queue.storage_failing", details))
        elif now.failing is None and before.failing is not None:
            self._observer.saw(Notice("queue.storage_recovered", {}))

    def _tell_unburied(self, destination: str, error: QueueFullError) -> None:
        """Tell that events stay queued that should be dead letters."""
        details = {"destination": destination, "reason": error.message}
        self._observer.saw(Notice("queue.no_room_for_dead_letters", details))

    def _tell_unsettled(self, batch: Batch, settling: asyncio.Task[bool]) -> None:
        """Tell that a settlement for which nobody waits any more could not be made."""
        if not settling.cancelled() and (error := settling.exception()) is not None:
            details = {"destination": batch.destination, "events": batch.events, "reason": str(error)}
            self._observer.saw(Notice("batch.not_settled", details))
