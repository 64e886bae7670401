"""Take what can still be read out of a damaged queue file, and put it into a new one.

Rows are read one by one, from both ends of each table up to what cannot be read. Segments that are then still missing
are looked for in every page of the file, whether a tree leads to it or not, so a damaged page costs only what is on it.

The accounts decide what is taken. A segment belongs where positions are queued and nothing was saved yet; elsewhere it
was settled before, and would be delivered twice. Where the accounts cannot be true, they are made from the rows that
were saved. Events whose rows are gone keep their positions: the queue finds the gap and counts them as dropped, so
every account still adds up.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forwarder.queue.sqlite import letters
from forwarder.queue.sqlite.checksum import is_whole
from forwarder.queue.sqlite.database import as_text
from forwarder.queue.sqlite.ledger import COLUMNS, Ledger
from forwarder.queue.sqlite.letters import DeadRow, read_row
from forwarder.queue.sqlite.migration import OLD_COLUMNS, as_rows
from forwarder.queue.sqlite.ranges import Ranges
from forwarder.queue.sqlite.recovery.pages import segments
from forwarder.queue.sqlite.sizes import stored_bytes

_SEGMENT = "id, events, size, accepted_at, checksum, data"
# Those of version 2 have two columns less, those of version 1 three.
_OLD_COLUMNS = (COLUMNS.removesuffix(", died, replayed"), COLUMNS.removesuffix(", purged, died, replayed"))

# The part of a row's number that is its position.
_POSITION = (1 << 48) - 1
# So an account counts no more events of one kind.
_MOST = _POSITION

Row = tuple[Any, ...]


@dataclass(slots=True)
class Salvage:
    """What was saved, and what of it could not be."""

    segments: int = 0
    events: int = 0
    lost_events: int = 0
    """Events that were queued, as far as the accounts tell, and whose rows cannot be read."""
    dead_letters: int = 0
    lost_dead_letters: int = 0


@dataclass(frozen=True, slots=True)
class Accounts:
    """What is known beside the file: the ledgers as the last commit left them, and names."""

    ledgers: Sequence[Ledger] = ()
    names: Sequence[str] = ()
    """The destinations that are configured."""


def salvage(damaged: Path, into: sqlite3.Connection, known: Accounts = Accounts()) -> Salvage:
    """Copy what can be read of a damaged file into a new, empty queue.

    What of the accounts is `known` is not read. Raises sqlite3.Error for the new file only, and
    OSError for one that cannot be opened.
    """
    rescue = _Rescue(into, known)
    with into:
        into.execute("BEGIN IMMEDIATE")
        # Whatever is in its log goes into the file when it is closed.
        with closing(sqlite3.connect(damaged, isolation_level=None)) as source:
            source.text_factory = as_text
            # Nothing is written to it. This setting makes SQLite read what there is of a file that was cut off, or of
            # one whose schema is damaged, instead of refusing all of it.
            source.execute("PRAGMA writable_schema = ON")
            rescue.copy(source)
        rescue.search(damaged)
        rescue.fit_in()
        rescue.reconcile()
    return rescue.found


@dataclass(slots=True)
class _Account:
    """What the accounts say of a destination, and which of its positions and letters are saved."""

    ledger: Ledger
    is_believed: bool
    saved_letters: int = 0
    letter_bytes: int = 0
    saved: Ranges = field(default_factory=Ranges)

    def is_missed(self, first: int, until: int) -> bool:
        """Say whether any of these positions was queued, as far as the accounts tell, and is not saved."""
        if not self.is_believed:
            return any(self.saved.gaps(first, until))
        return any(True for _ in self.ledger.remaining(first, min(until, self.ledger.tail), self.saved))


class _Rescue:
    """One damaged file on its way into a new one."""

    def __init__(self, into: sqlite3.Connection, known: Accounts) -> None:
        self.found = Salvage()
        self._into = into
        self._known = known
        self._accounts: dict[int, _Account] = {}
        self._spoiled: list[Row] = []
        # The numbers of letters that are saved.
        self._letters = Ranges()

    # --- reading -------------------------------------------------------------------------------

    def copy(self, source: sqlite3.Connection) -> None:
        """Take what the tables lead to."""
        for ledger in self._known.ledgers:
            self._insert("destination", COLUMNS, ledger.row())
            self._accounts[ledger.id] = _Account(ledger.copy(), is_believed=True)
        # What is there already is not replaced.
        for columns in (COLUMNS, *_OLD_COLUMNS):
            for row in _rows(source, "destination", columns):
                self._insert("destination", columns, row)
        for run in _all(source, "SELECT destination, first, until FROM settled"):
            self._insert("settled", "destination, first, until", run)
        for number, events, size, accepted_at, expected, data in _rows(source, "segment", _SEGMENT):
            if not isinstance(data, bytes):
                continue
            row = (number, events, size, accepted_at, expected, data)
            if isinstance(events, int) and is_whole(number, events, data, expected):
                self._keep(row)
            else:
                self._spoiled.append(row)
        for row in _rows(source, "dead_segment", letters.COLUMNS):
            self._keep_letters(read_row(row))
        self._count_on(source)
        # Of version 1, or not moved yet.
        for row in _rows(source, "dead", OLD_COLUMNS):
            for died in as_rows([row]):
                self._keep_letters(died)

    def _count_on(self, source: sqlite3.Connection) -> None:
        """Let no letter have a number that one had before that is gone, as far as the last number can be read."""
        numbers = [number for (number,) in _all(source, "SELECT max(seq) FROM sqlite_sequence")]
        number = next((number for number in numbers if isinstance(number, int) and 0 < number < 1 << 62), 0)
        self._into.execute("DELETE FROM sqlite_sequence WHERE name = 'dead_segment' AND seq < ?", (number,))
        self._into.execute(
            "INSERT INTO sqlite_sequence (name, seq) SELECT 'dead_segment', ?"
            " WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'dead_segment')",
            (number,),
        )

    def search(self, damaged: Path) -> None:
        """Take segments that no tree leads to; those that are settled are left where they are."""
        for row in segments(damaged):
            if isinstance(row, DeadRow):
                account = self._account_of(row)
                # What goes beyond the number of letters in the account was purged, or replayed, before the damage.
                if account and (not account.is_believed or account.saved_letters + row.events <= account.ledger.dead):
                    self._keep_letters(row)
            else:
                self._keep(row)

    def fit_in(self) -> None:
        """Take segments that do not match their checksum, if they are where others are missing.

        The queue makes dead letters of them. Where the accounts are lost nothing tells where that is.
        """
        for number, _, size, accepted_at, expected, data in self._spoiled:
            account, position = self._account(number >> 48), number & _POSITION
            # The data tells how many events there are: their number may be what is damaged.
            gap = next(account.saved.gaps(position, position + data.count(b"\n")), None)
            if account.is_believed and gap is not None and gap[0] == position:
                self._keep((number, gap[1] - position, size, accepted_at, expected, data))

    def _keep(self, row: Row) -> None:
        number, events, _, accepted_at, expected, data = row
        account, position = self._account(number >> 48), number & _POSITION
        if not account.is_missed(position, position + events):
            return
        # What the checksum does not cover may be damaged.
        when = float(accepted_at) if isinstance(accepted_at, int | float) else 0.0
        expected = expected if isinstance(expected, int) else 0
        if self._insert("segment", _SEGMENT, (number, events, len(data), when, expected, data)):
            account.saved.add(position, position + events)
            self.found.segments += 1
            self.found.events += events

    def _account_of(self, row: DeadRow) -> _Account | None:
        # A row number has place for so many destinations.
        return self._account(row.destination) if 0 < row.destination < 1 << 15 else None

    def _keep_letters(self, row: DeadRow | None) -> None:
        account = None if row is None else self._account_of(row)
        if row is None or account is None or row.parts[0].first < 1:
            return
        first, until = row.parts[0].first, row.id + 1
        is_free = next(iter(self._letters.gaps(first, until)), None) == (first, until)
        if is_free and self._insert("dead_segment", letters.COLUMNS, row.values()):
            self._letters.add(first, until)
            account.saved_letters += row.events
            account.letter_bytes += row.disk_bytes
            self.found.dead_letters += row.events

    def _insert(self, table: str, columns: str, row: Row) -> bool:
        """Insert a row; return False for one that cannot be one of this table: it is as good as not readable."""
        places = ", ".join("?" * len(row))
        try:
            self._into.execute(f"INSERT INTO {table} ({columns}) VALUES ({places})", row)  # noqa: S608
        except (sqlite3.IntegrityError, OverflowError):
            return False
        return True

    # --- accounts ------------------------------------------------------------------------------

    def _account(self, destination: int) -> _Account:
        """Return what is known of a destination; one whose own row could not be read is made."""
        if destination not in self._accounts:
            self._know(destination)
            self._accounts[destination] = self._read_account(destination)
        return self._accounts[destination]

    def _know(self, destination: int) -> None:
        """Make sure that a destination exists; where its name is lost, it has the only one that is left, or none."""
        if self._into.execute("SELECT 1 FROM destination WHERE id = ?", (destination,)).fetchone():
            return
        taken = {name for (name,) in self._into.execute("SELECT name FROM destination")}
        left = [name for name in self._known.names if name not in taken]
        name = left[0] if len(left) == 1 else f"recovered-{destination}"
        self._insert("destination", "id, name", (destination, name))

    def _read_account(self, destination: int) -> _Account:
        into, values = self._into, (destination,)
        ledger = Ledger(*into.execute(f"SELECT {COLUMNS} FROM destination WHERE id = ?", values).fetchone())  # noqa: S608
        runs = into.execute("SELECT first, until FROM settled WHERE destination = ?", values)
        ledger.settled = Ranges((first, until) for first, until in runs if 0 <= first < until <= 1 << 48)
        # What the rows take on the disk is summed up anew, so it decides nothing here.
        ledger.bytes = ledger.dead_bytes = 0
        # The versions before the third did not count these.
        ledger.replayed = _believable(ledger.replayed)
        ledger.died = max(_believable(ledger.died), _believable(ledger.dead) + ledger.replayed)
        if ledger.adds_up and ledger.tail > 0:
            return _Account(ledger, is_believed=True)
        # Lost, or damaged: what is queued is what will be saved.
        ledger.head = ledger.tail = ledger.purged = 0
        ledger.delivered, ledger.dead, ledger.dropped = map(
            _believable, (ledger.delivered, ledger.dead, ledger.dropped)
        )
        return _Account(ledger, is_believed=False)

    def reconcile(self) -> None:
        """Make the accounts add up with the rows that were saved."""
        for (destination,) in self._into.execute("SELECT id FROM destination").fetchall():
            self._reconcile(self._account(destination))

    def _reconcile(self, account: _Account) -> None:
        ledger = account.ledger
        if not account.is_believed:
            self._believe_rows(account)
        lost = sum(until - first for first, until in ledger.remaining(ledger.head, ledger.tail, account.saved))
        # Where something was purged there is a gap, too.
        self.found.lost_events += max(0, lost - ledger.purged)
        lost_letters = max(0, ledger.dead - account.saved_letters)
        self.found.lost_dead_letters += lost_letters
        # Counts that were believed one by one may come to a sum that the queue would not believe.
        ledger.dropped = min(ledger.dropped + lost_letters, _MOST)
        died = max(ledger.died, lost_letters + account.saved_letters + ledger.replayed)
        ledger.died = min(died, account.saved_letters + _MOST)
        ledger.dead, ledger.dead_bytes = account.saved_letters, account.letter_bytes
        ledger.accepted = ledger.queued + ledger.delivered + ledger.dead + ledger.dropped
        rows = (ledger.base, ledger.base + _POSITION)
        sizes = self._into.execute("SELECT size FROM segment WHERE id BETWEEN ? AND ?", rows)
        ledger.bytes = sum(stored_bytes(size) for (size,) in sizes)
        ledger.save(self._into)
        ledger.save_settled(self._into)

    def _believe_rows(self, account: _Account) -> None:
        """Let an account that is lost, or damaged, be that of the rows that were saved."""
        ledger, runs = account.ledger, list(account.saved)
        ledger.head, ledger.tail = (runs[0][0], runs[-1][1]) if runs else (0, 0)
        covers = "SELECT 1 FROM segment WHERE id >= ? AND id + events <= ? AND id < ? LIMIT 1"
        # A row of which all is settled is deleted with its settlement: a run around one is damaged.
        settled = [
            (max(first, ledger.head), min(until, ledger.tail))
            for first, until in ledger.settled
            if not self._into.execute(
                covers, (ledger.base + first, ledger.base + until, ledger.base + until)
            ).fetchone()
        ]
        ledger.settled = Ranges(run for run in settled if run[0] < run[1])


def _believable(count: int) -> int:
    """Return a count of a damaged account, 0 where it cannot be true: no number of events is as large."""
    return count if 0 <= count <= _MOST else 0


def _rows(source: sqlite3.Connection, table: str, columns: str) -> Iterator[Row]:
    """Yield the rows of a table that can be read, from the first up to the damage, then from the last down to it."""
    bounds = [-1, 1 << 62]
    for end, (order, sign) in enumerate((("ASC", ">"), ("DESC", "<"))):
        while True:
            at = bounds[end]
            statement = f"FROM {table} WHERE id {sign} ? ORDER BY id {order} LIMIT 1"
            row = _read(source, f"SELECT {columns} {statement}", at) or _read(source, f"SELECT id {statement}", at)
            # A damaged tree may lead anywhere, in circles, too: only what lies between both ends is new.
            if row is None or not bounds[0] < row[0] < bounds[1]:
                break
            bounds[end] = row[0]
            # Only its number could be read: its data is on a page that cannot be, and the row is stepped over.
            if len(row) > 1:
                yield row


def _read(source: sqlite3.Connection, statement: str, at: int) -> Row | None:
    """Return a row, or None where there is none or it cannot be read."""
    try:
        row: Row | None = source.execute(statement, (at,)).fetchone()
    except sqlite3.DatabaseError:
        return None
    return row


def _all(source: sqlite3.Connection, statement: str) -> list[Row]:
    """Return the rows of a statement, none where one of them cannot be read."""
    try:
        return source.execute(statement).fetchall()
    except sqlite3.DatabaseError:
        return []
