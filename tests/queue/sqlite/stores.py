"""A store of the queue that is driven without an event loop, in memory or in a file."""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from forwarder.errors import QueueFullError
from forwarder.model import EVERY_EVENT, Batch, Burial, DeadFilter, DeadLetter, EventFilter, Limits, Segment
from forwarder.observe.logs import Logs
from forwarder.queue.base import Share
from forwarder.queue.sqlite import admission, burying, dead, waiting
from forwarder.queue.sqlite.schema import schema_sql
from forwarder.queue.sqlite.sizes import PAGE_BYTES
from forwarder.queue.sqlite.store import Store
from forwarder.queue.sqlite.take import take
from tests.queue.building import numbers, segment

ALL = DeadFilter()
PLENTY = Limits(100_000, 1 << 30)


def beyond_bounds(store: Store) -> list[str]:
    """Return what takes more of the disk than it may: file and log together, without the reserve, and shares."""
    broken = []
    path = store.query("PRAGMA database_list", ())[0][2]
    files = [Path(path + suffix) for suffix in ("", "-wal")] if path else []
    size = sum(file.stat().st_size for file in files if file.exists()) if files else store.live_bytes
    if size > store.max_bytes * 1.05 + (8 << 20):
        broken.append(f"{size} bytes on disk, {store.max_bytes} are the most")
    for name, state in store.destinations.items():
        used, most = state.ledger.bytes + state.ledger.dead_bytes, state.share.max_bytes
        if most is not None and used > most * 1.05 + (1 << 20):
            broken.append(f"{used} bytes of {name}, {most} are the most")
    return broken


class Desk:
    """Calls to a store, each write in a transaction of its own."""

    def __init__(
        self,
        path: Path | None = None,
        *,
        max_bytes: int = 64 << 20,
        wal_bytes: int = 0,
        shares: dict[str, Share] | None = None,
    ) -> None:
        # Few tests close their desk, and Python warns of a connection that nobody closes. A desk may be
        # collected in whichever thread is running then.
        self.db = sqlite3.connect(path or ":memory:", isolation_level=None, check_same_thread=False)
        weakref.finalize(self, self.db.close)
        # What these tests kill are transactions, not machines.
        for pragma in (f"page_size = {PAGE_BYTES}", "auto_vacuum = INCREMENTAL", "synchronous = OFF"):
            self.db.execute(f"PRAGMA {pragma}")
        if not self.db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            self.db.executescript(schema_sql())
        self.store = Store(self.db, Logs(), max_bytes=max_bytes, wal_bytes=wal_bytes)
        self.write(lambda store: store.configure(shares or {"main": Share()}))

    def close(self) -> None:
        self.db.close()

    def write(self, act: Callable[[Store], Any]) -> Any:
        """Do one write; return its result, or raise what it refused with."""
        [result] = self.store.transact([act])
        if isinstance(result, Exception):
            raise result
        return result

    def append(self, *segments: Segment) -> None:
        self.write(lambda store: admission.append(store, segments))

    def take(self, limits: Limits = PLENTY, name: str = "main") -> Batch | None:
        return next(iter(take(self.store, name, limits)), None)

    def settle(self, batch: Batch, burial: Burial | None = None) -> None:
        self.write(lambda store: burying.bury_batch(store, batch, burial) if burial else store.settle(batch))

    def release(self, batch: Batch) -> None:
        self.store.release(batch)

    def purge(self, name: str = "main", wanted: EventFilter = EVERY_EVENT, until: int | None = None) -> int:
        until = self.store.tail_of(name) if until is None else until
        return self.repeat(partial(waiting.purge, name=name, wanted=wanted, until=until))

    def expire(self, before: float, burial: Burial, name: str = "main") -> int:
        total = 0
        while count := self.write(lambda store: burying.expire(store, name, before, burial)):
            total += count
        return total

    def replay(self, wanted: DeadFilter) -> int:
        return self.repeat(partial(dead.replay, wanted=dead.up_to_now(self.store, wanted)))

    def purge_dead(self, wanted: DeadFilter) -> int:
        return self.repeat(partial(dead.purge, wanted=dead.up_to_now(self.store, wanted)))

    def repeat(self, step: Callable[..., tuple[int, int]]) -> int:
        """Repeat a bounded write, each time after what was looked at before."""
        total = after = 0
        while True:
            count: int
            count, after = self.write(partial(step, after=after))
            total += count
            if not after:
                return total

    def letters(self, wanted: DeadFilter = ALL) -> list[DeadLetter]:
        """Return dead letters from the oldest on."""
        found, after = dead.find(self.store, wanted, 0, 100)
        while after:
            more, after = dead.find(self.store, wanted, after, 100)
            found += more
        return found

    def column(self, statement: str, *values: object) -> list[Any]:
        """Return the first column of what a statement finds."""
        return [row[0] for row in self.db.execute(statement, values)]


def fill(rows: int, each: int = 10, *, filler: int = 0) -> Desk:
    """Return a store with so many rows of numbered events."""
    desk = Desk()
    for row in range(rows):
        desk.append(segment(row * each, each, filler=filler))
    return desk


def left(desk: Desk) -> list[int]:
    """Return the numbers of what is handed out."""
    batch = desk.take()
    return numbers(batch.data) if batch else []


def fill_up(desk: Desk, name: str, *, filler: int = 1000) -> int:
    """Append until the queue refuses; return how many events it took."""
    for first in range(0, 100_000, 10):
        try:
            desk.append(segment(first, 10, destination=name, filler=filler))
        except QueueFullError:
            return first
    raise AssertionError("the queue takes everything")


def lines(data: bytes) -> list[bytes]:
    """Return the events of a batch or a segment."""
    return data.split(b"\n")[:-1]


def segment_of(events: Iterable[bytes], name: str = "main") -> Segment:
    """Return a segment of these events."""
    found = list(events)
    return Segment(name, len(found), b"".join(event + b"\n" for event in found))
