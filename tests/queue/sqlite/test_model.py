"""The store against a plain list: order, accounts, and every event in exactly one place, after every step."""

from __future__ import annotations

import sqlite3
import tempfile
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from forwarder.envelope import is_about
from forwarder.errors import QueueFullError, StorageError
from forwarder.model import Batch, Burial, DeadFilter, EventFilter, Limits
from forwarder.queue.base import Share
from forwarder.queue.sqlite import admission, burying, views
from forwarder.queue.sqlite.letters import COLUMNS, read_row
from forwarder.queue.sqlite.sizes import PAGE_BYTES, stored_bytes
from forwarder.queue.sqlite.store import Store
from tests.queue.sqlite.stores import Desk, lines, segment_of

pytestmark = pytest.mark.slow

NAMES = ("a", "b")
REJECTED = Burial("rejected", 400, "no")
EXPIRED = Burial("expired")
BURIALS = (None, None, REJECTED)
WAYS = ("expire", "expire", "purge", "replay", "replay", "purge dead", "purge some", "purge some")
AGES = (0.0, 0.5, 5.0)
REASONS = (None, "rejected", "expired", "damaged")
# Small events, and some that take pages of their own.
FILLERS = (0, 1, 20, 60, 9000, 20_000)
MAX_BYTES = (1, 60, 200, 1000, 20_000, 1 << 20)

names = st.sampled_from(NAMES)
numbers = st.integers(0, 99)
sizes = st.lists(st.sampled_from(FILLERS), min_size=1, max_size=12)
limits = st.builds(Limits, st.integers(1, 30), st.sampled_from(MAX_BYTES))


@dataclass(eq=False)
class Event:
    """An event of the model."""

    line: bytes
    at: float
    is_held: bool = False


@dataclass
class Books:
    """What the model knows of one destination."""

    queued: list[Event] = field(default_factory=list)
    dead: list[tuple[Event, Burial]] = field(default_factory=list)
    accepted: int = 0
    delivered: int = 0
    dropped: int = 0

    def waiting(self) -> list[Event]:
        return [event for event in self.queued if not event.is_held]


class StoreMachine(RuleBasedStateMachine):
    """Drives a store on a real file; the clock moves when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.patch = pytest.MonkeyPatch()
        self.now = 1000.0
        self.patch.setattr("forwarder.queue.sqlite.store.time", lambda: self.now)
        self.number = 0
        self.books = {name: Books() for name in NAMES}
        self.leased: list[tuple[Batch, list[Event]]] = []

    @initialize(ahead=st.sampled_from([16, 32, 4096]), max_bytes=st.sampled_from([1 << 20, 64 << 20]))
    def open(self, ahead: int, max_bytes: int) -> None:
        """A short look-ahead is left soon, a long one never; a small queue is full soon."""
        self.max_bytes = max_bytes
        self.patch.setattr("forwarder.queue.sqlite.state.LOOK_AHEAD", ahead)
        self.patch.setattr("forwarder.queue.sqlite.take.LOOK_AHEAD", ahead)
        self.desk = self.new_desk()

    def new_desk(self) -> Desk:
        shares = {"a": Share(), "b": Share(self.max_bytes // 2)}
        return Desk(Path(self.folder.name) / "queue.db", max_bytes=self.max_bytes, shares=shares)

    def teardown(self) -> None:
        self.desk.close()
        self.patch.undo()
        self.folder.cleanup()

    # --- what comes in -------------------------------------------------------------------------

    def new_events(self, fillers: list[int]) -> list[bytes]:
        found = []
        for filler in fillers:
            about = b'"eventObjectType":"user","eventObjectId":"%d"' % (self.number % 3)
            found.append(b'{"eventId":"%d",%b,"x":"%b"}' % (self.number, about, b"x" * filler))
            self.number += 1
        return found

    def appended(self, name: str, found: list[bytes]) -> None:
        books = self.books[name]
        books.queued += [Event(line, self.now) for line in found]
        books.accepted += len(found)

    @rule(name=names, fillers=sizes)
    def append(self, name: str, fillers: list[int]) -> None:
        found = self.new_events(fillers)
        try:
            self.desk.append(segment_of(found, name))
        except QueueFullError:
            return
        self.appended(name, found)

    @rule(parts=st.lists(st.tuples(names, sizes), min_size=2, max_size=6))
    def append_together(self, parts: list[tuple[str, list[int]]]) -> None:
        """Several requests in one transaction, each for one destination or for both."""
        segments = [segment_of(self.new_events(fillers), name) for name, fillers in parts]
        half = len(segments) // 2
        requests = [segments[:half], segments[half:]]
        results = self.desk.store.transact([partial(admission.append, segments=request) for request in requests])
        for request, result in zip(requests, results, strict=True):
            for segment in () if isinstance(result, Exception) else request:
                self.appended(segment.destination, lines(segment.data))

    @rule(seconds=st.sampled_from([0.0, 1.0, 10.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    # --- what is handed out --------------------------------------------------------------------

    @precondition(lambda self: any(books.waiting() for books in self.books.values()))
    @rule(name=names, several=st.lists(limits, min_size=1, max_size=4))
    def take(self, name: str, several: list[Limits]) -> None:
        for wanted in several:
            self.take_one(name, wanted)

    def take_one(self, name: str, wanted: Limits) -> None:
        """The oldest events that are not leased, as many as fit, at least one."""
        expected: list[Event] = []
        size = 1
        for event in self.books[name].waiting():
            size += len(event.line) + 1
            if expected and (len(expected) == wanted.max_events or size > wanted.max_bytes):
                break
            expected.append(event)
        batch = self.desk.take(wanted, name)
        assert (lines(batch.data) if batch else []) == [event.line for event in expected]
        if batch is not None:
            assert batch.events == len(expected)
            assert [part.accepted_at for part in batch.slices for _ in range(part.events)] == [e.at for e in expected]
            for event in expected:
                event.is_held = True
            self.leased.append((batch, expected))

    def gone(self, name: str, found: list[Event]) -> None:
        leaving = set(map(id, found))
        self.books[name].queued = [event for event in self.books[name].queued if id(event) not in leaving]

    @precondition(lambda self: self.leased)
    @rule(which=numbers, burial=st.sampled_from(BURIALS))
    def settle(self, which: int, burial: Burial | None) -> None:
        batch, found = self.leased[which % len(self.leased)]
        try:
            self.desk.settle(batch, burial)
        except QueueFullError:
            # Only letters need room; what has none is still leased.
            assert burial is not None
            assert self.max_bytes == 1 << 20
            return
        del self.leased[which % len(self.leased)]
        books = self.books[batch.destination]
        self.gone(batch.destination, found)
        if burial is None:
            books.delivered += len(found)
        else:
            books.dead += [(event, burial) for event in found]

    @precondition(lambda self: self.leased)
    @rule(which=numbers)
    def release(self, which: int) -> None:
        batch, found = self.leased.pop(which % len(self.leased))
        self.desk.release(batch)
        for event in found:
            event.is_held = False

    @precondition(lambda self: any(len(found) > 1 for _, found in self.leased))
    @rule(which=numbers, count=numbers)
    def split(self, which: int, count: int) -> None:
        divisible = [leased for leased in self.leased if len(leased[1]) > 1]
        batch, found = divisible[which % len(divisible)]
        self.leased = [leased for leased in self.leased if leased[0] is not batch]
        cut = 1 + count % (len(found) - 1)
        left, right = batch.split(cut)
        assert (left.events, right.events) == (cut, len(found) - cut)
        self.leased += [(left, found[:cut]), (right, found[cut:])]

    # --- other ways out ------------------------------------------------------------------------

    @rule(way=st.sampled_from(WAYS), name=names, age=st.sampled_from(AGES), reason=st.sampled_from(REASONS))
    def take_away(self, way: str, name: str, age: float, reason: str | None) -> None:
        """What empties queues is one rule among many, or there would be nothing to see."""
        match way:
            case "expire":
                self.expire(name, age)
            case "purge":
                self.purge(name)
            case "replay":
                self.replay(name, reason)
            case "purge dead":
                self.purge_dead(name, reason)
            case "purge some":
                self.purge_some(name, int(age) % 3)

    def expire(self, name: str, age: float) -> None:
        before = self.now - age
        old = [event for event in self.books[name].waiting() if event.at < before]
        queued = self.desk.store.destinations[name].ledger.queued
        try:
            assert self.desk.expire(before, EXPIRED, name) == len(old)
        except QueueFullError:
            # The oldest have died, as far as there was room.
            old = old[: queued - self.desk.store.destinations[name].ledger.queued]
        self.gone(name, old)
        self.books[name].dead += [(event, EXPIRED) for event in old]

    def purge(self, name: str) -> None:
        found = self.books[name].waiting()
        assert self.desk.purge(name) == len(found)
        self.gone(name, found)
        self.books[name].dropped += len(found)

    def purge_some(self, name: str, person: int) -> None:
        """Events are about one of three: what is cut out leaves the others where they are."""
        wanted = EventFilter(object=("user", str(person)))
        found = [event for event in self.books[name].waiting() if is_about(event.line, wanted)]
        assert self.desk.purge(name, wanted) == len(found)
        self.gone(name, found)
        self.books[name].dropped += len(found)

    def replay(self, name: str, reason: str | None) -> None:
        books = self.books[name]
        found = [event for event, burial in books.dead if reason in {None, burial.reason}]
        try:
            assert self.desk.replay(DeadFilter(destination=name, reason=reason)) == len(found)
        except QueueFullError:
            # A step that has no room is undone.
            assert self.max_bytes == 1 << 20
            return
        books.dead = [(event, burial) for event, burial in books.dead if reason not in {None, burial.reason}]
        books.queued += [Event(event.line, self.now) for event in found]

    def purge_dead(self, name: str, reason: str | None) -> None:
        books = self.books[name]
        left = [(event, burial) for event, burial in books.dead if reason not in {None, burial.reason}]
        count = len(books.dead) - len(left)
        assert self.desk.purge_dead(DeadFilter(destination=name, reason=reason)) == count
        books.dead, books.dropped = left, books.dropped + count

    # --- trouble -------------------------------------------------------------------------------

    @rule(name=names, fillers=sizes)
    def fail(self, name: str, fillers: list[int]) -> None:
        """A transaction that fails leaves no trace: neither of what came, nor of what was settled with it."""

        def broken(_store: Store) -> None:
            raise sqlite3.OperationalError("the disk is gone")

        def act(store: Store) -> None:
            store.append([segment_of([b"{}"] * len(fillers), name)])
            if self.leased:
                burying.bury_batch(store, self.leased[0][0], REJECTED)

        with pytest.raises(StorageError):
            self.desk.store.transact([act, broken])

    @rule()
    def reopen(self) -> None:
        """A process that dies loses what it leased back to the queue, and nothing else."""
        self.desk.close()
        self.desk = self.new_desk()
        for _, found in self.leased:
            for event in found:
                event.is_held = False
        self.leased.clear()

    # --- what always holds ---------------------------------------------------------------------

    @invariant()
    def accounts_add_up(self) -> None:
        for name, books in self.books.items():
            found = views.counters(self.desk.store, name)
            assert found.accepted == found.queued + found.delivered + found.dead + found.dropped
            assert (found.accepted, found.queued) == (books.accepted, len(books.queued))
            assert (found.delivered, found.dead, found.dropped) == (books.delivered, len(books.dead), books.dropped)
            assert found.oldest_accepted_at == (books.queued[0].at if books.queued else None)

    @invariant()
    def sizes_add_up(self) -> None:
        for name, state in self.desk.store.destinations.items():
            ledger = state.ledger
            rows = self.desk.column("SELECT size FROM segment WHERE id >> 48 = ?", ledger.id)
            assert ledger.bytes == sum(map(stored_bytes, rows))
            dead = self.desk.db.execute(f"SELECT {COLUMNS} FROM dead_segment WHERE destination = ?", (ledger.id,))
            letters = [row for row in map(read_row, dead) if row is not None and row.is_whole]
            assert ledger.dead_bytes == sum(row.disk_bytes for row in letters)
            assert ledger.dead == sum(row.events for row in letters)
            if not self.books[name].queued:
                assert not rows

    @invariant()
    def everything_is_where_it_belongs(self) -> None:
        for name, books in self.books.items():
            position, found = 0, list[bytes]()
            while (step := views.lines_from(self.desk.store, name, position)) is not None:
                found += step[0]
                position = step[1]
            assert found == [event.line for event in books.queued]
            letters = self.desk.letters(DeadFilter(destination=name))
            assert [letter.event for letter in letters] == [event.line for event, _ in books.dead]
            assert [letter.accepted_at for letter in letters] == [event.at for event, _ in books.dead]
            assert [letter.reason for letter in letters] == [burial.reason for _, burial in books.dead]

    @invariant()
    def it_stays_within_its_bounds(self) -> None:
        """No page more than the queue may have, and a twentieth for what moves; the same for a share."""
        store = self.desk.store
        assert store.live_bytes <= self.max_bytes * 1.05 + PAGE_BYTES
        for state in store.destinations.values():
            most = state.share.max_bytes or self.max_bytes
            assert state.ledger.bytes + state.ledger.dead_bytes <= most * 1.05 + PAGE_BYTES

    @invariant()
    def what_waits_is_known(self) -> None:
        for name, books in self.books.items():
            pending, waits = self.desk.store.destinations[name].pending(), books.waiting()
            assert pending.events == len(waits)
            # Of a segment that is leased or settled in parts, each event counts as its average.
            assert pending.bytes <= sum(self.desk.column("SELECT size FROM segment"))
            assert bool(pending.bytes) == bool(waits)

    def check(self) -> None:
        """Check everything that always holds."""
        self.accounts_add_up()
        self.sizes_add_up()
        self.it_stays_within_its_bounds()
        self.everything_is_where_it_belongs()
        self.what_waits_is_known()


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)


def step(machine: StoreMachine, chance: Random) -> None:
    """Do something by chance, with the weights of a busy forwarder."""
    name, number = chance.choice(NAMES), chance.randrange(100)
    fillers = chance.choices(FILLERS, k=chance.randint(1, 12))
    match chance.choices(range(10), (20, 5, 3, 30, 25, 8, 8, 6, 2, 1))[0]:
        case 0:
            machine.append(name, fillers)
        case 1:
            machine.append_together([(chance.choice(NAMES), fillers) for _ in range(chance.randint(2, 6))])
        case 2:
            machine.pass_time(chance.choice([0.0, 1.0, 10.0]))
        case 3:
            machine.take_one(name, Limits(chance.randint(1, 30), chance.choice(MAX_BYTES)))
        case 4 if machine.leased:
            machine.settle(number, chance.choice(BURIALS))
        case 5 if machine.leased:
            machine.release(number)
        case 6 if any(len(found) > 1 for _, found in machine.leased):
            machine.split(number, chance.randrange(100))
        case 7:
            machine.take_away(chance.choice(WAYS), name, chance.choice(AGES), chance.choice(REASONS))
        case 8:
            machine.fail(name, fillers)
        case 9:
            machine.reopen()


@pytest.mark.parametrize("seed", range(4))
def test_long_runs(seed: int) -> None:
    """The list and the store agree after each of many steps, in which much is leased and settled out of order."""
    machine, chance = StoreMachine(), Random(seed)
    machine.open((16, 32, 4096, 4096)[seed], (1 << 20, 64 << 20)[seed % 2])
    try:
        for _ in range(400):
            step(machine, chance)
            machine.check()
    finally:
        machine.teardown()
