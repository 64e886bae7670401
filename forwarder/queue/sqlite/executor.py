"""Carry out a group of operations on the connection's thread: its writes in one transaction, then its reads.

Each operation gets its own result, or its own error. A transaction that fails has changed nothing, and every write in
it is told so. One that fails because of a bug in one of its writes is repeated write by write, so that the others
are stored all the same.

A full disk must not stop deliveries, since it is they that make room. So when a transaction finds no space, the reserve
is given up, and the transaction is tried once more. From then on new events are refused, until the disk has room for
the reserve again.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any

from forwarder.errors import DamagedError, DiskFullError, ForwarderError, StorageError
from forwarder.model import Batch
from forwarder.observe.facts import Committed, Notice
from forwarder.queue.base import Pending
from forwarder.queue.sqlite.database import disk_full, fold, map_error
from forwarder.queue.sqlite.group_commit import Group
from forwarder.queue.sqlite.reserve import Reserve
from forwarder.queue.sqlite.store import Store


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the event loop knows of the store between two groups; sizes in bytes of the file."""

    pending: dict[str, Pending]
    live_bytes: int
    free_bytes: int
    is_short: bool
    failing: ForwarderError | None = None
    """Why the last write failed, until one succeeds."""

    @classmethod
    def of(cls, store: Store, failing: ForwarderError | None = None) -> Snapshot:
        pending = {name: state.pending() for name, state in store.destinations.items()}
        return cls(pending, store.live_bytes, store.free_bytes, store.is_short, failing)


class Executor:
    """A store, the disk's reserve, and how groups are carried out with them; for the connection's thread.

    `note` is told after each transaction how many events were accepted since the file was begun.
    """

    def __init__(self, store: Store, reserve: Reserve, note: Callable[[int], None]) -> None:
        self.store = store
        self._reserve = reserve
        self._note = note
        self._released: deque[Batch] = deque()

    def release(self, batch: Batch) -> None:
        """Give a batch back when the next group begins; to be called on the event loop."""
        self._released.append(batch)

    def execute(self, group: Group, before: Snapshot, db: sqlite3.Connection) -> Snapshot:
        """Do what is not done yet of a group; return what there is to know afterwards.

        Raises DamagedError, or sqlite3.Error where a read meets damage; what was done until then has its results.
        """
        store = self.store
        # Before all else: a purge or an expiry that was asked for after a release must find these events.
        while self._released:
            store.release(self._released.popleft())
        if store.is_short:
            store.is_short = not (self._reserve.hold() and fold(db))
        failure = None
        if writes := group.undone(is_write=True):
            failure = self._write(db, group, writes)
            self._note(store.accepted)
        for index in group.undone(is_write=False):
            group.results[index] = _read(group.operations[index].act, store)
        if store.is_short:
            failure = failure or disk_full()
        # Reads alone say nothing about whether the storage takes writes.
        return Snapshot.of(store, failure if writes or failure else before.failing)

    def _write(self, db: sqlite3.Connection, group: Group, writes: list[int]) -> ForwarderError | None:
        """Do the writes of a group, in one transaction if possible; return why the storage takes none."""
        parts, failure = deque([writes]), None
        while parts:
            part = parts.popleft()
            began, accepted = monotonic(), self.store.accepted
            try:
                results = self.store.transact([group.operations[index].act for index in part])
            except DamagedError:
                raise
            except StorageError as error:
                failure = error
                if isinstance(error, DiskFullError) and self._give_up_reserve(db):
                    parts.appendleft(part)
                    continue
                self._overwrite_failed_commit()
                results = [error] * len(part)
            except Exception as error:
                if len(part) > 1:
                    # One of them has a bug. Alone it does no harm to the others.
                    parts.extendleft([index] for index in reversed(part))
                    continue
                self.store.observer.saw(Notice("queue.write_failed", {}, error))
                results = [error]
            else:
                size = sum([group.operations[index].size for index in part])
                committed = Committed(self.store.accepted - accepted, size, monotonic() - began)
                self.store.observer.saw(committed)
            group.results.update(zip(part, results, strict=True))
        return failure

    def _overwrite_failed_commit(self) -> None:
        """Write something harmless over what a failed commit has left in the log.

        The commit may be complete in the log but for its sync. Whoever reads the log after a crash would then find
        events that were refused, as if they had been accepted.
        """
        with suppress(StorageError):
            self.store.transact([Store.probe])

    def _give_up_reserve(self, db: sqlite3.Connection) -> bool:
        """Let settlements have the room of the reserve; return whether there was any."""
        self.store.is_short = True
        if not self._reserve.release():
            return False
        fold(db)
        return True


def _read(act: Callable[[Store], Any], store: Store) -> Any:
    """Run a read; return its result, or its error as a value. Raises DamagedError."""
    try:
        return act(store)
    except (sqlite3.Error, ForwarderError) as error:
        known = map_error(error) if isinstance(error, sqlite3.Error) else error
        if isinstance(known, DamagedError):
            raise known from None
        return known
