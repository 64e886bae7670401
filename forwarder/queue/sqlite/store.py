"""The queue inside its SQLite file: plain calls on one connection, made on one thread.

Every write is a function that runs inside a transaction opened by `transact`, which runs many of them together. A write
that refuses, because the queue is full, raises before it has changed anything, so it does no harm to its neighbours.

What is in memory follows the file and never runs ahead of it. A ledger is copied when a transaction first changes it,
and the copy is put in its place after the commit. Changes to leases and look-aheads wait in `after` until then. So a
transaction that fails leaves nothing behind, and a crash at any moment leaves the last commit.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from time import monotonic, time
from typing import Any

from forwarder.errors import DamagedError, QueueFullError, TooLargeError, UnavailableError
from forwarder.model import Batch, Segment
from forwarder.observe.base import Observer
from forwarder.queue.base import Appended, Share
from forwarder.queue.sqlite.checksum import checksum
from forwarder.queue.sqlite.database import map_error
from forwarder.queue.sqlite.ledger import COLUMNS, Ledger
from forwarder.queue.sqlite.sizes import PAGE_BYTES, packed, stored_bytes
from forwarder.queue.sqlite.state import DestinationState, Entry, SegmentRow

# Bytes of committed events that are kept in memory, so that what is delivered soon is not read back from the file. That
# is what arrives at full speed during a few round trips to a destination nearby.
_KEPT_BYTES = 4 * 1024 * 1024

# The data of a row as bytes, whatever type a damaged one claims to have.
_DATA = "ifnull(CAST(data AS BLOB), x'')"

Write = Callable[["Store"], Any]


class Store:
    """The file's content as the state of each destination, and the writes and reads of the queue.

    `max_bytes` bounds the file, its write-ahead log and the disk's reserve together, in bytes;
    `wal_bytes` of it are kept for the log, `reserve_bytes` for the reserve.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        observer: Observer,
        *,
        max_bytes: int,
        wal_bytes: int,
        reserve_bytes: int = 0,
    ) -> None:
        self._db = connection
        self.observer = observer
        self.max_bytes = max_bytes
        self.capacity = max_bytes - wal_bytes - reserve_bytes
        self.is_short = False
        """Whether the disk has no room for more than settlements."""
        self.destinations: dict[str, DestinationState] = {}
        self.live_bytes = 0
        self.free_bytes = 0
        self._begin_anew()
        self._load()

    # --- transactions --------------------------------------------------------------------------

    def _begin_anew(self) -> None:
        """Forget the transaction that has ended; what the next one changes is noted here until its commit."""
        self._changed: dict[str, Ledger] = {}
        self._new: list[str] = []
        self.after: list[Callable[[], None]] = []
        self.appended: dict[str, list[tuple[Segment, list[Appended]]]] = {}
        self.appended_bytes = 0

    def transact(self, writes: Sequence[Write]) -> list[Any]:
        """Run writes in one transaction; return each one's result, or the error with which it refused.

        Durable on return. Raises DiskFullError or StorageError, and then nothing has happened.
        """
        results: list[Any] = []
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for write in writes:
                try:
                    results.append(write(self))
                except DamagedError:
                    raise
                except (UnavailableError, TooLargeError) as refusal:
                    results.append(refusal)
            self._flush()
            self._write_ledgers()
            self._db.execute("COMMIT")
        except BaseException as error:
            self._undo()
            if isinstance(error, sqlite3.Error):
                raise map_error(error) from error
            raise
        self._put_in_place()
        return results

    def _undo(self) -> None:
        for name in self._new:
            del self.destinations[name]
        self._begin_anew()
        if self._db.in_transaction:
            self._db.rollback()

    def _put_in_place(self) -> None:
        for name, ledger in self._changed.items():
            self.destinations[name].ledger = ledger
        acts = self.after
        self._begin_anew()
        for act in acts:
            act()
        # The commit is done and must not be reported as failed: its events would be sent again. Whatever is wrong with
        # the file, the next commit meets it.
        with suppress(sqlite3.Error):
            self.measure()

    def _write_ledgers(self) -> None:
        for ledger in self._changed.values():
            ledger.save(self._db)
            if ledger.settled or self.destinations[ledger.name].ledger.settled:
                ledger.save_settled(self._db)

    @contextmanager
    def undone_when_full(self) -> Iterator[None]:
        """Write: take back what is written in this context when it ends with QueueFullError."""
        changed, acts = {name: ledger.copy() for name, ledger in self._changed.items()}, len(self.after)
        self._db.execute("SAVEPOINT step")
        try:
            yield
        except QueueFullError:
            self._db.execute("ROLLBACK TO step")
            self._db.execute("RELEASE step")
            self._changed = changed
            del self.after[acts:]
            self.measure()
            raise
        self._db.execute("RELEASE step")

    def query(self, statement: str, values: Sequence[Any]) -> list[Any]:
        """Run a statement and return its rows."""
        return self._db.execute(statement, values).fetchall()

    def ledger(self, name: str) -> Ledger:
        """Return the ledger of a destination, to be changed by the running transaction."""
        ledger = self._changed.get(name)
        if ledger is None:
            ledger = self._changed[name] = self.destinations[name].ledger.copy()
        return ledger

    @property
    def accepted(self) -> int:
        """How many events were accepted, for all destinations, since the file was begun."""
        return sum([state.ledger.accepted for state in self.destinations.values()])

    def name_of(self, number: int) -> str:
        """Return the name of the destination with this number."""
        return next(name for name, state in self.destinations.items() if state.ledger.id == number)

    def tail_of(self, name: str) -> int:
        """Return the position of a destination's next event."""
        return self.destinations[name].ledger.tail

    def waiting_bytes(self, name: str) -> int:
        """Return how many bytes were appended for a destination that this transaction has not written yet."""
        return sum(stored_bytes(len(segment.data)) for segment, _places in self.appended.get(name, ()))

    def measure(self) -> None:
        """Read how much of the file is used and how much is free, in bytes."""
        pages = self._db.execute("PRAGMA page_count").fetchone()[0]
        free = self._db.execute("PRAGMA freelist_count").fetchone()[0]
        self.live_bytes = (pages - free) * PAGE_BYTES
        self.free_bytes = free * PAGE_BYTES

    # --- destinations --------------------------------------------------------------------------

    def _load(self) -> None:
        for row in self._db.execute(f"SELECT {COLUMNS} FROM destination"):  # noqa: S608 - a constant
            ledger = Ledger(*row)
            runs = self.query("SELECT first, until FROM settled WHERE destination = ?", (ledger.id,))
            if not ledger.is_typed or not ledger.takes(runs) or not ledger.adds_up:
                raise DamagedError(f"the queue file is damaged: the account of {ledger.name} does not add up")
            self.destinations[ledger.name] = DestinationState(ledger)
        self.measure()

    def configure(self, shares: dict[str, Share]) -> list[str]:
        """Write: add new destinations, set shares; return others that still keep something."""
        for name in shares.keys() - self.destinations.keys():
            found = self._db.execute("INSERT INTO destination (name) VALUES (?) RETURNING id", (name,)).fetchone()
            self.destinations[name] = DestinationState(Ledger(found[0], name))
            self._new.append(name)
        for name, state in self.destinations.items():
            state.share = shares.get(name, Share())
        return [
            name
            for name, state in self.destinations.items()
            if name not in shares and (state.ledger.queued or state.ledger.dead_bytes)
        ]

    def set_paused(self, name: str, paused: bool) -> None:
        """Write: remember whether a destination is paused."""
        self.ledger(name).paused = paused

    def probe(self) -> None:
        """Write: change nothing, but go through a whole commit, to learn whether the storage works."""
        # The header is written even where its number stays the same. A row would not be: SQLite compares first.
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        self._db.execute(f"PRAGMA user_version = {version}")

    def fold(self) -> None:
        """Write what is in the log into the file."""
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def vacuum(self, pages: int, keep: int) -> None:
        """Hand back free pages of the file; fold the log into it once no more than `keep` bytes are free."""
        # As a script, since `execute` runs a single step of the statement, and each step hands back one page.
        self._db.executescript(f"PRAGMA incremental_vacuum({pages})")
        self.measure()
        if self.is_short or self.free_bytes <= keep:
            self.fold()

    def release(self, batch: Batch) -> None:
        """Give back what is leased; it is handed out again, in its old place."""
        state = self.destinations[batch.destination]
        state.end_lease(batch)
        state.look_again()

    def take_over(self, before: Store) -> None:
        """Go on where the store of a file that was rebuilt has stopped: what was leased is still leased."""
        for name, state in before.destinations.items():
            if name in self.destinations:
                self.destinations[name].leased, self.destinations[name].share = state.leased, state.share
        self.is_short = self.is_short or before.is_short

    # --- append --------------------------------------------------------------------------------

    def append(self, segments: Sequence[Segment]) -> list[Appended]:
        """Write: put segments at the tail of their queues; `admission` has made room for them.

        Returns a list that holds their places when the transaction is at its end.
        """
        places: list[Appended] = []
        for segment in segments:
            self.appended.setdefault(segment.destination, []).append((segment, places))
            self.appended_bytes += stored_bytes(len(segment.data))
            self.ledger(segment.destination).accepted += segment.events
        return places

    def _flush(self) -> None:
        """Insert what was appended in this transaction, joined into few rows."""
        for name, appended in self.appended.items():
            for joined in packed(appended, lambda each: len(each[0].data)):
                position = self.ledger(name).tail
                for segment, places in joined:
                    places.append(Appended(name, position, segment.events))
                    position += segment.events
                data = b"".join([segment.data for segment, _places in joined])
                self.insert(name, data, position - self.ledger(name).tail)

    def insert(self, name: str, data: bytes, events: int) -> None:
        """Write: put a row at the tail of a destination's queue."""
        ledger, now = self.ledger(name), time()
        position, row = ledger.tail, ledger.base + ledger.tail
        self._db.execute(
            "INSERT INTO segment VALUES (?, ?, ?, ?, ?, ?)",
            (row, events, len(data), now, checksum(row, events, data), data),
        )
        ledger.tail += events
        ledger.bytes += stored_bytes(len(data))
        entry = Entry(row, position, 0, events, len(data), now, monotonic(), data)
        self.after.append(lambda: self._appended(self.destinations[name], entry))

    def _appended(self, state: DestinationState, entry: Entry) -> None:
        if sum(state.kept_bytes for state in self.destinations.values()) + entry.size > _KEPT_BYTES:
            entry.data = None
        state.appended(entry)

    # --- settle --------------------------------------------------------------------------------

    def settle(self, batch: Batch) -> None:
        """Write: settle a leased batch as delivered."""
        self.ledger(batch.destination).delivered += batch.events
        self.take_out(batch)

    def take_out(self, batch: Batch) -> None:
        """Write: settle the positions of a leased batch, of which its caller says what became of them."""
        ledger = self.ledger(batch.destination)
        for first, until in batch.runs:
            self.mark_settled(ledger, first, until)
        state = self.destinations[batch.destination]
        self.after.append(lambda: state.end_lease(batch))

    def mark_settled(self, ledger: Ledger, first: int, until: int) -> None:
        """Write: mark positions as settled and delete the rows that are settled altogether."""
        base, (start, end) = ledger.base, ledger.settle(first, until)
        # Two statements, since SQLite would carry out one with RETURNING in two passes, which costs more.
        rows = "FROM segment WHERE id >= ? AND id < ? AND id + events <= ?"
        values = (start + base, end + base, end + base)
        sizes = self._db.execute(f"SELECT ifnull(length(data), 0) {rows}", values).fetchall()
        self._db.execute(f"DELETE {rows}", values)
        ledger.bytes -= sum([stored_bytes(size) for (size,) in sizes])

    # --- what waits ----------------------------------------------------------------------------

    def rows_from(self, ledger: Ledger, position: int, limit: int) -> list[SegmentRow]:
        """Return rows in order, from the one that holds `position` on."""
        first = self._db.execute(
            "SELECT id FROM segment WHERE id <= ? AND id >= ? ORDER BY id DESC LIMIT 1",
            (ledger.base + position, ledger.base),
        ).fetchone()
        # SQLite does not check the types of a row that it reads, and a damaged one may have any.
        rows = self._db.execute(
            "SELECT id, ifnull(CAST(events AS INTEGER), 0), ifnull(CAST(size AS INTEGER), 0),"
            " ifnull(CAST(accepted_at AS REAL), 0) FROM segment WHERE id >= ? AND id < ? ORDER BY id LIMIT ?",
            (first[0] if first else ledger.base, ledger.base + ledger.tail, limit + 2),
        ).fetchall()
        # A damaged tree leads anywhere, whatever was asked for.
        numbers = [ledger.base - 1, *(number for number, _, _, _ in rows), ledger.base + ledger.tail]
        if any(number >= following for number, following in pairwise(numbers)):
            raise DamagedError("the queue file is damaged: its rows are out of order")
        # A damaged number of events must not reach into the next row, nor leave the row without any.
        found = [
            SegmentRow(row, events if 0 < events <= end - row else end - row, max(0, size), accepted_at)
            for (row, events, size, accepted_at), end in zip(rows, numbers[2:], strict=False)
        ]
        # The first may end before the position, which is then in a gap.
        return [row for row in found if row.until > ledger.base + position][:limit]

    # --- read ----------------------------------------------------------------------------------

    def data_of(self, row: int) -> bytes:
        """Return the data of a row."""
        found = self._db.execute(f"SELECT {_DATA} FROM segment WHERE id = ?", (row,)).fetchone()  # noqa: S608
        return found[0] if found else b""

    def lines_of(self, entry: Entry) -> bytes:
        """Return the lines of an entry, whatever its row looks like: exactly as many as it has events."""
        lines = self.data_of(entry.row).split(b"\n")[entry.skip : entry.skip + entry.events]
        return b"".join(line + b"\n" for line in [*lines, *[b""] * (entry.events - len(lines))])

    def rows_of(self, first: int, last: int) -> Iterable[tuple[int, int, int, bytes]]:
        """Yield number, events, checksum and data of the rows from `first` to `last`."""
        return self._db.execute(
            f"SELECT id, ifnull(CAST(events AS INTEGER), 0), CAST(checksum AS INTEGER), {_DATA}"  # noqa: S608
            " FROM segment WHERE id BETWEEN ? AND ? ORDER BY id",
            (first, last),
        )
