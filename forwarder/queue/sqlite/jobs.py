"""Run groups of operations on the connection's thread, and go on when the file turns out to be damaged.

A group's writes are one transaction; then come its reads. Damage may show at any of them: then the
file is rebuilt from what can be read, and what was not done yet is done on the new one. What was
done before stays done: a write that was committed is in the rebuilt file, and must not be repeated.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import structlog

from forwarder.errors import DamagedError, DiskFullError, ForwarderError, StorageError
from forwarder.model import Batch
from forwarder.queue.base import Pending
from forwarder.queue.sqlite.commit import Operation
from forwarder.queue.sqlite.database import Connection, disk_full, fold, map_error
from forwarder.queue.sqlite.opening import open_store, rebuilt_store
from forwarder.queue.sqlite.place import Place
from forwarder.queue.sqlite.recovery import Accounts
from forwarder.queue.sqlite.reserve import Reserve
from forwarder.queue.sqlite.store import Store

# A disk with so much room, in bytes, is not full.
_ROOM_BYTES = 64 * 1024 * 1024

log = structlog.get_logger(__name__)

Group = Sequence[Operation[Store]]
NextGroup = Callable[[], Group]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a job brings back to the event loop; sizes in bytes of the file."""

    pending: dict[str, Pending]
    live_bytes: int
    free_bytes: int
    is_full: bool
    is_short: bool
    wrote: bool = False
    failure: ForwarderError | None = None

    @classmethod
    def of(cls, store: Store, *, wrote: bool = False, failure: ForwarderError | None = None) -> Snapshot:
        pending = {name: lane.pending() for name, lane in store.lanes.items()}
        return cls(pending, store.live_bytes, store.free_bytes, store.is_full, store.is_short, wrote, failure)


Tell = Callable[[Group, list[Any], Snapshot], None]


class _Left(NamedTuple):
    """A group in which something went wrong, what of it is done, by place in the group, and the error.

    Without an error, the disk is full.
    """

    group: Group
    done: dict[int, Any]
    error: Exception | None


class Jobs:
    """The connection to one queue file and the store that is loaded from it; one job runs at a time.

    `note` is told after each commit how many events were accepted, since the file was begun.
    """

    def __init__(
        self, path: Path, connection: Connection, store: Store, reserve: Reserve, *, note: Callable[[int], None]
    ) -> None:
        self._path = path
        self._note = note
        self._store = store
        self._reserve = reserve
        self._is_disconnected = False
        self.connection = connection
        self.place = Place(path)
        self.place.remember()
        self.snapshot = Snapshot.of(store)
        self.released: deque[Batch] = deque()
        """Batches that are given back at the start of the next job."""

    @property
    def accepted(self) -> int:
        """How many events were accepted, for all destinations, since the file was begun."""
        return sum([lane.ledger.accepted for lane in self._store.lanes.values()])

    async def run(self, next_group: NextGroup, tell: Tell, *, is_sound: Callable[[], bool]) -> None:
        """Work off groups until there is none; `tell` is called on the event loop after each of them.

        It is told each operation's result, or its error as a value, and what there is to know afterwards.
        While the storage `is_sound`, a disk that is called full although it has room is looked into:
        the file's list of free pages may be damaged.
        """
        try:
            if self._is_disconnected:
                self._take_over(*await open_store(self._path, self._store.max_bytes, self._accounts()))
            left = await self.connection.run(partial(self._work, next_group, tell))
        except Exception as error:  # there is no way to the file: nothing of a group is done
            left = _Left(next_group(), {}, error)
        if left is not None:
            tell(left.group, await self._see_to(left, is_sound=is_sound()), self.snapshot)

    async def close(self) -> None:
        """Fold the log into the file, and close it."""
        if not self._is_disconnected:
            await self.connection.close()

    def _work(self, next_group: NextGroup, tell: Tell, db: sqlite3.Connection) -> _Left | None:
        """Do one group after the other, on the connection's thread; return one in which something went wrong."""
        while group := next_group():
            done: dict[int, Any] = {}
            try:
                self.snapshot = self._job(group, done, db)
            except Exception as error:  # it is seen to on the event loop
                return _Left(group, done, map_error(error) if isinstance(error, sqlite3.Error) else error)
            if isinstance(self.snapshot.failure, DiskFullError) or _full(done):
                return _Left(group, done, None)
            self.connection.tell(tell, group, _in_order(group, done), self.snapshot)
        return None

    async def _see_to(self, left: _Left, *, is_sound: bool) -> list[Any]:
        """Do what of a group is not done, where that is possible; return its results."""
        group, done, error = left
        try:
            if error is None and is_sound and await self._is_damaged():
                for index in _full(done):
                    del done[index]
                error = DamagedError("the queue file is damaged: the disk is called full, though there is room")
            if isinstance(error, DamagedError):
                await self._rebuild(error)
                self.snapshot, error = await self.connection.run(partial(self._job, group, done)), None
        except Exception as failure:  # every caller is told
            error = failure
        if isinstance(error, ForwarderError):
            self.snapshot = replace(self.snapshot, wrote=False, failure=error)
        elif error is not None:  # a bug; the next job is run
            log.error("queue.job_failed", exc_info=error)
        return _in_order(group, done, error)

    def _job(self, group: Group, done: dict[int, Any], db: sqlite3.Connection) -> Snapshot:
        """Do what of a group is not done yet, on the connection's thread."""
        store = self._store
        while self.released:
            _give_back(store, self.released.popleft())
        if store.is_short:
            store.is_short = not (self._reserve.hold() and fold(db))
        writes = [index for index, operation in enumerate(group) if operation.is_write and index not in done]
        failure = self._write(db, group, writes, done) if writes else None
        for index, operation in enumerate(group):
            if not operation.is_write and index not in done:
                done[index] = _attempt(operation.act, store)
        if store.is_short:
            failure = failure or disk_full()
        return Snapshot.of(store, wrote=bool(writes), failure=failure)

    def _write(
        self, db: sqlite3.Connection, group: Group, writes: list[int], done: dict[int, Any]
    ) -> ForwarderError | None:
        """Do the writes of a group, in one transaction if that is possible; return why the storage takes none."""
        parts, failure = deque([writes]), None
        while parts:
            part = parts.popleft()
            try:
                results = self._store.transact([group[index].act for index in part])
            except DamagedError:
                raise
            except (DiskFullError, StorageError) as error:
                failure = error
                if isinstance(error, DiskFullError) and self._run_short(db):
                    parts.appendleft(part)
                    continue
                self._take_back()
                results = [error] * len(part)
            except Exception as error:
                if len(part) > 1:
                    # One of them has a bug; alone it does no harm to the others.
                    parts.extendleft([index] for index in reversed(part))
                    continue
                log.exception("queue.write_failed")
                results = [error]
            done.update(zip(part, results, strict=True))
        self._note(self.accepted)
        return failure

    def _take_back(self) -> None:
        """Overwrite what a commit that failed has left in the log.

        It may be complete but for its sync: whoever reads the log after a crash would find what was
        refused, as if it had been accepted.
        """
        with suppress(DiskFullError, StorageError):
            self._store.transact([Store.probe])

    def _run_short(self, db: sqlite3.Connection) -> bool:
        """Give the reserve to the settlements; return whether there was any."""
        self._store.is_short = True
        if not self._reserve.release():
            return False
        fold(db)
        return True

    # --- damage --------------------------------------------------------------------------------

    async def _is_damaged(self) -> bool:
        """Say whether the file is damaged where the disk is called full but has room."""
        free = await asyncio.to_thread(lambda: shutil.disk_usage(self._path.parent).free)
        if free < _ROOM_BYTES:
            return False
        found = await self.connection.run(lambda db: db.execute("PRAGMA quick_check(1)").fetchone()[0])
        return bool(found != "ok")

    async def _rebuild(self, error: DamagedError) -> None:
        """Go on with a new file that has what could be read of the damaged one.

        Where that fails, the next job opens the damaged file again, and comes back here.
        """
        if (trouble := self.place.trouble()) is not None:
            # What is there now is somebody else's.
            raise StorageError(f"the queue file is damaged, and cannot be rebuilt: {trouble}")
        self._is_disconnected = True
        self.place.forget()
        # The file is damaged; it may well not be closed in order either.
        with suppress(sqlite3.Error):
            await self.connection.close()
        self._take_over(*await rebuilt_store(self._path, self._store.max_bytes, error.message, self._accounts()))

    def _accounts(self) -> Accounts:
        """Return the accounts as the last commit left them."""
        ledgers = [lane.ledger for lane in self._store.lanes.values()]
        settled = [(ledger.id, *run) for ledger in ledgers for run in ledger.settled]
        return Accounts([ledger.row() for ledger in ledgers], settled)

    def _take_over(self, connection: Connection, store: Store) -> None:
        """Go on with another connection; what is held stays held."""
        for name, lane in self._store.lanes.items():
            if name in store.lanes:
                store.lanes[name].held, store.lanes[name].share = lane.held, lane.share
        store.is_short = store.is_short or self._store.is_short
        self.connection, self._store, self._is_disconnected = connection, store, False
        self.place.remember()


def _full(done: dict[int, Any]) -> list[int]:
    """Return the places of operations for which the disk was full; a read writes, too, where it meets damage."""
    return [index for index, result in done.items() if isinstance(result, DiskFullError)]


def _in_order(group: Group, done: dict[int, Any], error: Exception | None = None) -> list[Any]:
    # Nobody may take it for done what has no result.
    error = error or RuntimeError("the queue has not done this")
    return [done.get(index, error) for index in range(len(group))]


def _give_back(store: Store, batch: Batch) -> None:
    lane = store.lanes[batch.destination]
    lane.let_go(batch)
    lane.look_again()


def _attempt(act: Callable[[Store], Any], store: Store) -> Any:
    """Run a read; return its result, or its error as a value. Raises DamagedError."""
    try:
        return act(store)
    except sqlite3.Error as error:
        mapped = map_error(error)
        if isinstance(mapped, DamagedError):
            raise mapped from error
        return mapped
    except DamagedError:
        raise
    except ForwarderError as error:
        return error
