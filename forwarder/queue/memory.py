"""The queue in memory: the contract in its plainest form. Nothing of it survives the process.

Tests of other stages run against it, and whoever writes a backend may look here first. Every call takes effect at
once and looks through all that is queued: it is made for thousands of events, not for millions. Sizes are those of the
events, so what is buried or replayed takes as much as before, and a full queue can do both. Leases end after
`lease_seconds`, where that is given, and have to be renewed then, as with a backend that several processes share.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from time import monotonic, time
from typing import Self

from forwarder.envelope import event_id, is_about, is_json_object
from forwarder.errors import QueueFullError, ShareFullError, ShuttingDownError, TooLargeError
from forwarder.model import (
    EVERY_EVENT,
    INVALID,
    Batch,
    Burial,
    Counters,
    DeadFilter,
    DeadGroup,
    DeadLetter,
    DeadSegment,
    EventFilter,
    Limits,
    QueueStats,
    Segment,
    Slice,
    whole_lines,
)
from forwarder.queue.base import Appended, Pending, Share
from forwarder.queue.finding import Groups, finds
from forwarder.waiting import wait_at_most

_NEVER = float("-inf")


@dataclass(slots=True)
class Event:
    """A queued event: its line with the newline, and until when it is leased. All but `accepted_at` is monotonic."""

    line: bytes
    accepted_at: float
    since: float = _NEVER
    leased_until: float = _NEVER


@dataclass(slots=True)
class Account:
    """What is kept of one destination: its events by position, its dead letters by number, and what has left it."""

    share: Share = field(default_factory=Share)
    queued: dict[int, Event] = field(default_factory=dict)
    dead: dict[int, DeadLetter] = field(default_factory=dict)
    tail: int = 0
    delivered: int = 0
    dropped: int = 0
    died: int = 0
    replayed: int = 0
    paused: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, lines: Iterable[bytes]) -> None:
        """Queue events behind all others."""
        for line in lines:
            self.queued[self.tail] = Event(line, time(), monotonic())
            self.tail += 1
        self.changed.set()

    def waiting(self) -> dict[int, Event]:
        """Return what is not leased, in order."""
        now = monotonic()
        return {position: event for position, event in self.queued.items() if event.leased_until <= now}

    def pending(self) -> Pending:
        """Return how much waits."""
        found = list(self.waiting().values())
        return Pending(len(found), sum(len(event.line) for event in found), found[0].since if found else _NEVER)

    def counters(self) -> Counters:
        """Return the account."""
        queued, dead = self.queued.values(), self.dead.values()
        return Counters(
            accepted=len(queued) + self.delivered + len(dead) + self.dropped,
            queued=len(queued),
            delivered=self.delivered,
            dead=len(dead),
            dropped=self.dropped,
            queued_bytes=sum(len(event.line) for event in queued),
            # A dead letter has lost its newline.
            dead_bytes=sum(len(letter.event) + 1 for letter in dead),
            oldest_accepted_at=next((event.accepted_at for event in queued), None),
            paused=self.paused,
            died=self.died,
            replayed=self.replayed,
        )

    def used(self) -> int:
        """Return how many bytes of its share it takes."""
        counters = self.counters()
        return counters.queued_bytes + counters.dead_bytes


class MemoryQueue:
    """`forwarder.queue.base.Queue` on dictionaries; with the `accounts` of one before it goes on as after a restart."""

    def __init__(
        self, max_bytes: int, *, lease_seconds: float = float("inf"), accounts: dict[str, Account] | None = None
    ) -> None:
        self.accounts = {} if accounts is None else accounts
        self._max_bytes = max_bytes
        self._lease_seconds = lease_seconds
        self._letters = max((number for account in self.accounts.values() for number in account.dead), default=0)
        self._is_closed = False
        self._space = asyncio.Event()
        for account in self.accounts.values():
            account.changed = asyncio.Event()
            for event in account.queued.values():
                event.leased_until = event.since = _NEVER

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def configure(self, shares: dict[str, Share]) -> Sequence[str]:
        for name, share in shares.items():
            self.accounts.setdefault(name, Account()).share = share
        return sorted(name for name in self.accounts.keys() - shares.keys() if self.accounts[name].used())

    async def close(self) -> None:
        self._is_closed = True

    def _account(self, name: str) -> Account:
        """Return the account of a destination, to be changed."""
        self._check_open()
        return self.accounts[name]

    def _check_open(self) -> None:
        if self._is_closed:
            raise ShuttingDownError("the queue is closed")

    # --- inbox ---------------------------------------------------------------------------------

    async def append(self, segments: Sequence[Segment], dead: Sequence[DeadSegment] = ()) -> Sequence[Appended]:
        places = self._append(segments, dead)
        # Whoever appends without end leaves room for others.
        await asyncio.sleep(0)
        return places

    def _append(self, segments: Sequence[Segment], dead: Sequence[DeadSegment] = ()) -> list[Appended]:
        self._check_open()
        self._make_room([*segments, *dead])
        places = []
        for segment in segments:
            account = self.accounts[segment.destination]
            places.append(Appended(segment.destination, account.tail, segment.events))
            account.add(whole_lines(segment.data))
        for died in dead:
            self._bury(died.destination, [Event(line, time()) for line in whole_lines(died.data)], died.burial)
        return places

    def _make_room(self, segments: Sequence[Segment | DeadSegment]) -> None:
        """Drop the oldest where that is the policy. Raises QueueFullError or TooLargeError, having dropped nothing."""
        needed: dict[str, int] = {}
        for segment in segments:
            needed[segment.destination] = needed.get(segment.destination, 0) + len(segment.data)
        shares = [([name], self.accounts[name].share) for name in needed]
        bounds = [*shares, ([*self.accounts], Share(self._max_bytes, setting="queue.max_bytes"))]
        for names, share in bounds:
            size = sum(needed.get(name, 0) for name in names)
            words = f"{share.max_bytes} bytes ({share.setting or f'destinations.{names[0]}.queue.max_bytes'})"
            if share.max_bytes is not None and size > share.max_bytes:
                raise TooLargeError(f"{size} bytes can never fit into the queue: {words}")
            if self._over(names, share, needed) > sum(size for *_, size in self._droppable(names)):
                if share.setting == "queue.max_bytes":
                    raise QueueFullError(f"the queue is full: {words}")
                raise ShareFullError(f"the queue of destination {names[0]} is full: {words}", names[0])
        for names, share in bounds:
            over = self._over(names, share, needed)
            for name, position, size in self._droppable(names) if over > 0 else []:
                if over > 0:
                    over -= size
                    self._drop(name, [position])

    def _over(self, names: Sequence[str], share: Share, needed: dict[str, int]) -> int:
        """Return by how many bytes these destinations would be over what they share."""
        used = sum(self.accounts[name].used() + needed.get(name, 0) for name in names)
        return 0 if share.max_bytes is None else used - share.max_bytes

    def _droppable(self, names: Sequence[str]) -> list[tuple[str, int, int]]:
        """Return destination, position and size of what may be dropped for new events, from the oldest on."""
        accounts = {name: self.accounts[name] for name in names if self.accounts[name].share.drop_oldest}
        found = [
            (event.accepted_at, place, name) for name in accounts for place, event in accounts[name].waiting().items()
        ]
        return [(name, place, len(accounts[name].queued[place].line)) for _, place, name in sorted(found)]

    def _drop(self, name: str, positions: Iterable[int]) -> int:
        return self._left(name, dropped=len([self.accounts[name].queued.pop(position) for position in positions]))

    def _left(self, name: str, *, delivered: int = 0, dropped: int = 0) -> int:
        """Count events that have left a destination's account; return how many they are."""
        account = self._account(name)
        account.delivered += delivered
        account.dropped += dropped
        account.changed.set()
        self._space.set()
        self._space = asyncio.Event()
        return delivered + dropped

    async def wait_space(self, timeout: float) -> None:
        await wait_at_most(timeout, self._space)

    def trouble(self) -> str | None:
        return "the forwarder is shutting down" if self._is_closed else None

    # --- outbox --------------------------------------------------------------------------------

    async def take(self, destination: str, limits: Limits, at_most: int = 1) -> list[Batch]:
        # Before anything is taken: whoever is cancelled has taken nothing.
        await asyncio.sleep(0)
        account, batches = self._account(destination), list[Batch]()
        while len(batches) < at_most and (not batches or account.pending().fills(limits)):
            found: dict[int, Event] = {}
            # An array of n events has n - 1 commas and two brackets: a byte more than n lines.
            room = limits.max_bytes - 1
            for position, event in account.waiting().items():
                room -= len(event.line)
                if found and (room < 0 or len(found) >= limits.max_events):
                    break
                found[position] = event
            if not found:
                break
            batches.append(self._lease(destination, found))
        return batches

    def _lease(self, destination: str, events: dict[int, Event]) -> Batch:
        for event in events.values():
            event.leased_until = monotonic() + self._lease_seconds
        return _batch(destination, events)

    async def take_at(self, destination: str, position: int) -> Batch | None:
        await asyncio.sleep(0)
        waiting = self._account(destination).waiting()
        found = min((place for place in waiting if place >= position), default=max(waiting, default=-1))
        return self._lease(destination, {found: waiting[found]}) if waiting else None

    async def take_again(self, destination: str, positions: Sequence[int], max_bytes: int) -> list[Batch]:
        queued, batches = self._account(destination).queued, list[Batch]()
        # What is gone was settled by somebody else after the lease had ended.
        for position in sorted(queued.keys() & positions):
            max_bytes -= len(queued[position].line)
            if batches and max_bytes < 0:
                break
            batches.append(_batch(destination, {position: queued[position]}))
        return batches

    async def renew(self, destination: str) -> None:
        now = monotonic()
        for event in self._account(destination).queued.values():
            if event.leased_until > now:
                event.leased_until = now + self._lease_seconds

    async def settle(self, batch: Batch, burial: Burial | None = None) -> bool:
        queued = self._account(batch.destination).queued
        events = [queued.pop(position) for position in _positions(batch) if position in queued]
        if burial:
            self._bury(batch.destination, events, burial)
        else:
            self._left(batch.destination, delivered=len(events))
        return True

    def _bury(self, name: str, events: Iterable[Event], burial: Burial) -> None:
        about = (burial.reason, burial.status, burial.detail)
        for event in events:
            self._letters += 1
            self.accounts[name].died += 1
            line = event.line.removesuffix(b"\n")
            letter = DeadLetter(self._letters, name, event_id(line), *about, event.accepted_at, time(), line)
            self.accounts[name].dead[letter.id] = letter

    def release(self, batch: Batch) -> None:
        account = self.accounts[batch.destination]
        for position in _positions(batch):
            if (event := account.queued.get(position)) is not None:
                event.leased_until = event.since = _NEVER
        account.changed.set()

    def pending(self, destination: str) -> Pending:
        return self.accounts[destination].pending()

    async def wait(self, destination: str, timeout: float | None, enough: Limits | None = None) -> None:
        account = self.accounts[destination]
        await wait_at_most(timeout, account.changed)
        account.changed.clear()

    def wake(self, destination: str) -> None:
        self.accounts[destination].changed.set()

    async def expire(self, destination: str, accepted_before: float, burial: Burial) -> int:
        account = self._account(destination)
        old = [place for place, event in account.waiting().items() if event.accepted_at < accepted_before]
        self._bury(destination, [account.queued.pop(place) for place in old], burial)
        return len(old)

    # --- inspection ----------------------------------------------------------------------------

    async def stats(self) -> QueueStats:
        self._check_open()
        used = sum(account.used() for account in self.accounts.values())
        counters = {name: account.counters() for name, account in self.accounts.items()}
        return QueueStats("memory", used, self._max_bytes, destinations=counters, last_letter=self._letters)

    async def set_paused(self, destination: str, paused: bool) -> None:
        self._account(destination).paused = paused

    async def peek(self, destination: str, limit: int | None) -> AsyncIterator[bytes]:
        for event in [*self._account(destination).queued.values()][:limit]:
            yield event.line.removesuffix(b"\n")

    async def purge(self, destination: str, wanted: EventFilter = EVERY_EVENT) -> int:
        await asyncio.sleep(0)
        waiting = self._account(destination).waiting()
        return self._drop(destination, [place for place, event in waiting.items() if is_about(event.line, wanted)])

    def _find(self, wanted: DeadFilter) -> list[DeadLetter]:
        self._check_open()
        letters = {number: letter for account in self.accounts.values() for number, letter in account.dead.items()}
        return [letter for _, letter in sorted(letters.items()) if finds(wanted, letter)]

    async def dead_letters(self, wanted: DeadFilter, limit: int | None = None) -> AsyncIterator[DeadLetter]:
        for letter in self._find(wanted)[:limit]:
            yield letter

    async def replay(self, wanted: DeadFilter) -> int:
        found = [letter for letter in self._find(wanted) if letter.reason != INVALID and is_json_object(letter.event)]
        return sum([await self.replay_as(letter, letter.event) for letter in found])

    async def readmit(
        self,
        passed: Sequence[DeadLetter],
        segments: Sequence[Segment],
        again: Sequence[tuple[DeadLetter, Burial]] = (),
    ) -> bool:
        moved = [*passed, *(letter for letter, _ in again)]
        if not all(letter.id in self._account(letter.destination).dead for letter in moved):
            return False
        self._append(segments)
        for letter in moved:
            del self.accounts[letter.destination].dead[letter.id]
        for letter in passed:
            self._left(letter.destination, delivered=1)
            self.accounts[letter.destination].replayed += 1
        for letter, burial in again:
            # It had died before, and does so for another reason now.
            self.accounts[letter.destination].died -= 1
            self._bury(letter.destination, [Event(letter.event + b"\n", letter.accepted_at)], burial)
        return True

    async def replay_as(self, letter: DeadLetter, event: bytes) -> bool:
        account = self._account(letter.destination)
        if account.dead.pop(letter.id, None) is None:
            return False
        account.add([event + b"\n"])
        account.replayed += 1
        return True

    async def dead_groups(self) -> list[DeadGroup]:
        found = Groups()
        for each in self._find(DeadFilter()):
            found.add(DeadGroup(each.destination, each.reason, each.status, each.detail, 1, each.died_at, each.died_at))
        return found.largest()

    async def purge_dead(self, wanted: DeadFilter) -> int:
        found = self._find(wanted)
        for letter in found:
            del self.accounts[letter.destination].dead[letter.id]
            self._left(letter.destination, dropped=1)
        return len(found)


def _batch(destination: str, events: dict[int, Event]) -> Batch:
    slices = tuple(Slice(position, 1, event.accepted_at) for position, event in events.items())
    return Batch(destination, slices, b"".join(event.line for event in events.values()))


def _positions(batch: Batch) -> list[int]:
    return [part.position for part in batch.slices]
