"""The one way to the queue's file: operations go in, and results and a snapshot of the store come back.

An operation that is submitted joins the backlog. On the connection's thread a group of them is taken off and carried
out, then handed back to the event loop: there the new snapshot is shown to its observers, and each caller gets its
result. While something waits, the thread goes from one group to the next without asking the event loop, which
may be busy; it comes back when nothing waits any more, or when something has gone wrong.

What can go wrong is damage, at any moment: then the file is rebuilt from what can be read, and the rest of the group is
done on the new one. What was done before stays done. A write that was committed is in the rebuilt file, too, and would
be in it twice if it were repeated.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from forwarder.errors import DamagedError, DiskFullError, ForwarderError, ShuttingDownError, StorageError
from forwarder.model import Batch
from forwarder.observe.facts import Notice
from forwarder.queue.sqlite.database import Connection, map_error
from forwarder.queue.sqlite.executor import Executor, Snapshot
from forwarder.queue.sqlite.group_commit import Backlog, Group, Operation
from forwarder.queue.sqlite.opening import open_store, rebuilt_store
from forwarder.queue.sqlite.place import Place
from forwarder.queue.sqlite.recovery import Accounts
from forwarder.queue.sqlite.reserve import Reserve
from forwarder.queue.sqlite.sizes import wal_bytes
from forwarder.queue.sqlite.store import Store

# A disk with so much room, in bytes, is not full.
_ROOM_BYTES = 64 * 1024 * 1024

T = TypeVar("T")

OnSnapshot = Callable[[Snapshot, Snapshot], None]
"""Is told the snapshot before and the one now, on the event loop."""


class Worker:
    """The connection to a queue's file, the store that is loaded from it, and the thread on which both are used.

    `note` is told after each commit how many events were accepted since the file was begun.
    """

    def __init__(
        self, path: Path, connection: Connection, store: Store, reserve: Reserve, *, note: Callable[[int], None]
    ) -> None:
        self.path = path
        self._connection = connection
        self._executor = Executor(store, reserve, note)
        self.observer = store.observer
        # A quarter of the log for one group: it holds several before it is folded into the file.
        self._backlog = Backlog(wal_bytes(store.max_bytes) // 4)
        self._is_disconnected = False
        self._wake = asyncio.Event()
        self._is_closing = False
        self._task: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self.place = Place(path)
        self.place.remember()
        self.on_snapshot: list[OnSnapshot] = []
        self.snapshot = self._newest = Snapshot.of(store)
        """As the event loop knows it; the thread may have a newer one, which is on its way."""

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="queue-worker")

    def submit(self, act: Callable[[Store], T], *, size: int = 0, is_write: bool = True) -> asyncio.Future[T]:
        """Let `act` be done; the future has its result once it is durable. Raises ShuttingDownError.

        `size` is how many bytes of events a write brings. An operation whose future is cancelled is done all the same.
        """
        if self._is_closing:
            raise ShuttingDownError("the forwarder is shutting down")
        done: asyncio.Future[T] = self._loop.create_future()
        self._backlog.add(Operation(act, size, is_write, done))
        self._wake.set()
        return done

    def release(self, batch: Batch) -> None:
        """Give a batch back, before anything else that is submitted from now on."""
        self._executor.release(batch)
        with suppress(ShuttingDownError):
            self.submit(lambda _store: None, is_write=False)

    async def close(self) -> None:
        """Do what was submitted; fold the log into the file, and close it."""
        self._is_closing = True
        self._wake.set()
        if self._task is not None:
            await self._task
        if not self._is_disconnected:
            await self._connection.close()

    async def _run(self) -> None:
        while self._backlog or not self._is_closing:
            await self._wake.wait()
            self._wake.clear()
            while self._backlog:
                await self._work_off()

    async def _work_off(self) -> None:
        """Let the thread do group after group until nothing waits, or something has gone wrong; then see to that."""
        try:
            if self._is_disconnected:
                self._go_on_with(
                    *await open_store(self.path, self.observer, self._executor.store.max_bytes, self._accounts())
                )
            stopped = await self._connection.run(self._do_groups)
        except Exception as error:  # there is no way to the file: nothing of a group is done
            stopped = self._backlog.next_group() or Group([])
            stopped.error = error
        if stopped is not None:
            await self._finish(stopped)
            self._hand_back(stopped, self._newest)

    def _do_groups(self, db: sqlite3.Connection) -> Group | None:
        """Do one group after the other, on the connection's thread; return one in which something went wrong."""
        while (group := self._backlog.next_group()) is not None:
            try:
                self._newest = self._executor.execute(group, self._newest, db)
            except Exception as error:  # it is looked into on the event loop
                group.error = map_error(error) if isinstance(error, sqlite3.Error) else error
                return group
            # A read writes, too, where it meets damage, and may find the disk full.
            if self._newest.is_short or group.has(DiskFullError):
                return group
            self._connection.tell(self._hand_back, group, self._newest)
        return None

    def _hand_back(self, group: Group, snapshot: Snapshot) -> None:
        """Show the snapshot to its observers, then answer the callers, who find the state after their own commit."""
        before, self.snapshot = self.snapshot, snapshot
        for see in self.on_snapshot:
            see(before, snapshot)
        group.answer()

    # --- damage --------------------------------------------------------------------------------

    async def _finish(self, group: Group) -> None:
        """Do the rest of a group in which something went wrong, where that is possible.

        A group without an error has met a full disk. While all was well until now, it may be none: the file's list of
        free pages may be damaged.
        """
        try:
            if group.error is None and self.snapshot.failing is None and await self._is_damaged():
                group.forget(DiskFullError)
                group.error = DamagedError("the queue file is damaged: the disk is called full, though there is room")
            if isinstance(group.error, DamagedError):
                await self._rebuild(group.error)
                self._newest = await self._connection.run(partial(self._executor.execute, group, self._newest))
                group.error = None
        except Exception as failure:  # it becomes the answer to every caller
            group.error = failure
        if isinstance(group.error, ForwarderError):
            self._newest = replace(self._newest, failing=group.error)
        elif group.error is not None:  # a bug; the next group is tried all the same
            self.observer.saw(Notice("queue.job_failed", {}, group.error))

    async def _is_damaged(self) -> bool:
        """Say whether the file is damaged where the disk is called full but has room."""
        free = await asyncio.to_thread(lambda: shutil.disk_usage(self.path.parent).free)
        if free < _ROOM_BYTES:
            return False
        found = await self._connection.run(lambda db: db.execute("PRAGMA quick_check(1)").fetchone()[0])
        return bool(found != "ok")

    async def _rebuild(self, error: DamagedError) -> None:
        """Go on with a new file that has what could be read of the damaged one.

        Where that fails, the next group finds no connection, opens the damaged file again, and comes back here.
        """
        if (trouble := self.place.trouble()) is not None:
            # What is there now is somebody else's.
            raise StorageError(f"the queue file is damaged, and cannot be rebuilt: {trouble}")
        self._is_disconnected = True
        self.place.forget()
        # The file is damaged; it may well not be closed in order either.
        with suppress(sqlite3.Error):
            await self._connection.close()
        found = self.observer, self._executor.store.max_bytes, error.message, self._accounts()
        self._go_on_with(*await rebuilt_store(self.path, *found))

    def _accounts(self) -> Accounts:
        """Return the accounts as the last commit left them: they are in memory, so damage cannot have reached them."""
        return Accounts([state.ledger for state in self._executor.store.destinations.values()])

    def _go_on_with(self, connection: Connection, store: Store) -> None:
        """Use another connection; what is leased stays leased."""
        store.take_over(self._executor.store)
        self._connection, self._executor.store, self._is_disconnected = connection, store, False
        self.place.remember()
