"""Dead letters in the queue's file: found by a filter, replayed, dropped or handed in again.

Whatever looks through them does so in steps. A step looks at so many rows, and reads so many bytes of events, then says
how far it came. So a search for one letter among millions does not hold up the events that are being accepted
meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import NamedTuple

from forwarder.envelope import event_id, identity, is_about, is_json_object
from forwarder.model import EVERY_EVENT, INVALID, Burial, DeadFilter, DeadGroup, DeadLetter, Segment
from forwarder.queue.sqlite import admission, room
from forwarder.queue.sqlite.burying import bury, last_number, take_away
from forwarder.queue.sqlite.letters import COLUMNS, DeadRow, read_row
from forwarder.queue.sqlite.sizes import packed
from forwarder.queue.sqlite.store import Store

# Dead letters that one step lists; rows of them that it looks at, and bytes of letters that it reads: bounds
# memory, the size of a transaction, and how long others wait.
STEP_LETTERS = 256
STEP_ROWS = 1024
STEP_BYTES = 4 * 1024 * 1024

_GROUPS = """
    SELECT destination, reason, status, detail, sum(events), min(died_at), max(died_at), count(*), max(id)
    FROM (
        SELECT id, destination, CAST(reason AS TEXT) AS reason, status, CAST(detail AS TEXT) AS detail, events,
            ifnull(CAST(died_at AS REAL), 0) AS died_at
        FROM dead_segment WHERE id > ? ORDER BY id LIMIT ?
    ) GROUP BY destination, reason, status, detail
"""

# No letter has a higher number.
_MOST = (1 << 63) - 1


class _Found(NamedTuple):
    """Letters of one row, and the number up to which the row was looked through."""

    row: DeadRow
    letters: list[DeadLetter]
    until: int


class Search:
    """Which letters a filter wants."""

    def __init__(self, store: Store, wanted: DeadFilter) -> None:
        self._wanted = wanted
        self.names = {state.ledger.id: name for name, state in store.destinations.items()}
        self.after = wanted.after
        self.last = _MOST if wanted.last is None else wanted.last
        self._ids = frozenset(wanted.ids)
        self._about = wanted.about

    def takes_row(self, destination: object, reason: object, died_at: float) -> bool:
        """Say whether letters of a row can be wanted."""
        wanted, name = self._wanted, self.names.get(destination) if isinstance(destination, int) else None
        return (
            name is not None
            and wanted.destination in {None, name}
            and wanted.reason in {None, reason}
            and (wanted.died_before is None or died_at < wanted.died_before)
        )

    def takes_burial(self, burial: Burial) -> bool:
        """Say whether letters of a row that died for this reason can be wanted."""
        return self._wanted.takes_burial(burial)

    def takes(self, number: int, event: bytes) -> bool:
        """Say whether a letter of such a row is wanted."""
        is_named = not self._ids or str(number) in self._ids or identity(event).eventId in self._ids
        # An event is read only where that is asked for.
        return is_named and (self._about == EVERY_EVENT or is_about(event, self._about))


def _look(store: Store, search: Search, after: int, limit: int) -> tuple[list[_Found], int]:
    """Find letters with a number above `after`; return them, and the number up to which was looked, 0 at the end."""
    rows = store.query(
        "SELECT id, destination, reason, ifnull(CAST(died_at AS REAL), 0) FROM dead_segment WHERE id > ? AND id <= ?"
        " ORDER BY id LIMIT ?",
        (max(after, search.after), search.last, STEP_ROWS),
    )
    found, size = list[_Found](), 0
    for number, *about in rows:
        if search.takes_row(*about) and (row := _row(store, number)) is not None:
            found.append(_wanted_of(row, search, after, limit))
            limit -= len(found[-1].letters)
            size += len(row.data)
            if limit <= 0 or size >= STEP_BYTES:
                return found, found[-1].until
    return found, rows[-1][0] if len(rows) == STEP_ROWS else 0


def _row(store: Store, number: int) -> DeadRow | None:
    """Return the row that has the letter of this number, unless it is gone: then it is the row behind it, or None."""
    # Whatever types a damaged row claims.
    values = store.query(f"SELECT {COLUMNS} FROM dead_segment WHERE id >= ? ORDER BY id LIMIT 1", (number,))  # noqa: S608
    return read_row(values[0]) if values else None


def _wanted_of(row: DeadRow, search: Search, after: int, limit: int) -> _Found:
    name, burial, after = search.names[row.destination], row.burial, max(after, search.after)
    found = list[DeadLetter]()
    if not search.takes_burial(burial):
        return _Found(row, found, row.id)
    for number, accepted_at, event in row.letters():
        if len(found) >= limit:
            return _Found(row, found, found[-1].id)
        if number > after and search.takes(number, event):
            about = (burial.reason, burial.status, burial.detail, accepted_at, row.died_at)
            found.append(DeadLetter(number, name, event_id(event), *about, event))
    return _Found(row, found, row.id)


def up_to_now(store: Store, wanted: DeadFilter) -> DeadFilter:
    """Return a filter for the letters that there are now: what dies later is not among them."""
    return replace(wanted, last=last_number(store))


def find(store: Store, wanted: DeadFilter, after: int, limit: int) -> tuple[list[DeadLetter], int]:
    """Return dead letters with a number above `after`: up to `limit`, fewer where they are large or far apart.

    Beside them, the number up to which was looked, 0 when none is left.
    """
    found, until = _look(store, Search(store, wanted), after, limit)
    return [letter for one in found for letter in one.letters], until


def replay(store: Store, wanted: DeadFilter, after: int) -> tuple[int, int]:
    """Write: move some of the dead letters with a number above `after` to the end of their queues.

    What is damaged is no event any more, and stays: it would spoil the batch that it came into. Returns how
    many were moved, and the number of the last one that was looked at, 0 when none was left.
    Raises QueueFullError.
    """
    found, until = _look(store, Search(store, wanted), after, STEP_BYTES)
    moving = [(one.row, events) for one in found if (events := [*_events(one)])]
    room.move(store, {events[0].destination for _, events in moving}, lambda: _put_back(store, moving))
    return sum(len(events) for _, events in moving), until


def _events(found: _Found) -> Iterator[DeadLetter]:
    """Yield the letters that can be sent; what was not accepted as an event can only be handed in again."""
    if found.row.is_whole and found.row.burial.reason != INVALID:
        for letter in found.letters:
            if is_json_object(letter.event):
                yield letter


def _put_back(store: Store, moving: list[tuple[DeadRow, list[DeadLetter]]]) -> None:
    pending: dict[str, list[bytes]] = {}
    for row, events in moving:
        take_away(store, row, {letter.id for letter in events})
        name = events[0].destination
        store.ledger(name).replayed += len(events)
        pending.setdefault(name, []).extend(letter.event + b"\n" for letter in events)
    for name, lines in pending.items():
        for together in packed(lines, len):
            store.insert(name, b"".join(together), len(together))


def replay_as(store: Store, letter: DeadLetter, event: bytes) -> bool:
    """Write: see `Queue.replay_as`. Raises QueueFullError."""
    row = _row(store, letter.id)
    if row is None or letter.id not in {found.number for found in row.letters()}:
        return False
    moving = [(row, [replace(letter, event=event)])]
    room.move(store, {letter.destination}, lambda: _put_back(store, moving))
    return True


def groups(store: Store, after: int) -> tuple[list[DeadGroup], int]:
    """Return the groups of some rows with a number above `after`, and how far it came, as `replay`.

    No event is read for that: SQLite skips the pages that only hold events.
    """
    found = store.query(_GROUPS, (after, STEP_ROWS))
    names = {state.ledger.id: name for name, state in store.destinations.items()}
    known = [
        DeadGroup(names[destination], reason or "", status, detail or "", events, first, last)
        for destination, reason, status, detail, events, first, last, _, _ in found
        if destination in names
    ]
    is_all = sum(count for *_, count, _ in found) < STEP_ROWS
    return known, 0 if is_all else max(until for *_, until in found)


def purge(store: Store, wanted: DeadFilter, after: int) -> tuple[int, int]:
    """Write: drop some dead letters with a number above `after`; return how many, and how far it came, as `replay`."""
    found, until = _look(store, Search(store, wanted), after, STEP_BYTES)
    count = 0
    for one in found:
        if one.letters:
            store.ledger(one.letters[0].destination).dropped += len(one.letters)
            take_away(store, one.row, {letter.id for letter in one.letters})
            count += len(one.letters)
    return count, until


def readmit(
    store: Store, passed: Sequence[DeadLetter], segments: Sequence[Segment], again: Sequence[tuple[DeadLetter, Burial]]
) -> bool:
    """Write: see `Queue.readmit`. Raises QueueFullError or TooLargeError, and then nothing is changed."""
    left = {letter.id for letter in passed} | {letter.id for letter, _ in again}
    leaving: dict[int, set[int]] = {}
    while left:
        row = _row(store, min(left))
        found = left.intersection(letter.number for letter in row.letters()) if row else set[int]()
        if row is None or min(left) not in found:
            return False
        leaving[row.id] = found
        left -= found
    # Whatever refuses does so before anything is written.
    admission.append(store, segments)
    for number, gone in leaving.items():
        if (row := _row(store, number)) is not None:
            take_away(store, row, gone)
    for letter in passed:
        ledger = store.ledger(letter.destination)
        ledger.delivered += 1
        ledger.replayed += 1
    for (name, burial), group in groupby(again, lambda one: (one[0].destination, one[1])):
        letters = [letter for letter, _ in group]
        times = [letter.accepted_at for letter in letters]
        bury(store, name, [letter.event + b"\n" for letter in letters], times, burial)
        # They had died before, and do so for another reason now.
        store.ledger(name).died -= len(letters)
    store.measure()
    return True
