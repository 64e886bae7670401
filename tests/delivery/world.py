"""A forwarder without its intake, and the destinations it delivers to, in simulated time.

The pumps, what starts and steers them, and the queue are the real ones; the destinations
do as they are told and remember every attempt. A process can crash at any moment: what it had
committed is there for the next one, and what it had sent has been sent.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Any

from forwarder.config import DestinationConfig
from forwarder.daemon.assembly import BuiltDestination
from forwarder.daemon.destinations import Destinations
from forwarder.destination.base import Answer, Outlook
from forwarder.destination.http_put.put import payload
from forwarder.destination.http_put.responses import outcome_of
from forwarder.model import Batch, DeadFilter, DeadLetter, Segment
from forwarder.observe.logs import Logs
from forwarder.queue.base import Share
from forwarder.queue.fullness import Fullness
from forwarder.queue.sqlite import views
from tests.delivery.simulation import Clock, Storage, open_queue
from tests.queue.sqlite.stores import Desk

# Seconds after which a client gives an attempt up.
TIMEOUT = 30.0
_SIGNATURE = b"signed:"
_KEY_FILE = Path("/nowhere/key.pem")


@dataclass(frozen=True)
class Fault:
    """What a destination does with a request: answer `status` (None: nothing that arrives), after `seconds`."""

    status: int | None
    stores: bool = False
    seconds: float = 0.0
    retry_after: float | None = None


OK = Fault(200, stores=True)
LOST = Fault(None, stores=True)
LOST_LATE = Fault(None, stores=True, seconds=TIMEOUT)
UNREACHABLE = Fault(None)
HANGS = Fault(None, seconds=TIMEOUT)


@dataclass(eq=False)
class Attempt:
    """One request; `ended` is None where its process did not live to see the answer."""

    process: int
    began: float
    body: bytes
    numbers: list[int]
    fault: Fault = OK
    is_fresh: bool = False
    """Whether it asked for a new connection, as questions about single events do."""
    is_stored: bool = False
    ended: float | None = None

    @property
    def status(self) -> int | None:
        return self.fault.status

    @property
    def is_confirmed(self) -> bool:
        """Whether the forwarder knows that it was delivered."""
        return self.is_stored and self.ended is not None and self.status is not None


@dataclass(frozen=True)
class Pace:
    """How long things take, in seconds: a job of the queue, one way to a destination or back, a signature.

    Even, each takes as long as the one before, so whoever runs beside another stays in step with it;
    else anything up to twice as long.
    """

    is_even: bool = False
    job: float = 0.01
    way: float = 0.01
    signature: float = 0.005

    def seconds(self, mean: float, chance: Random) -> float:
        return mean if self.is_even else chance.uniform(0.0, 2 * mean)


@dataclass
class Destination:
    """A destination that follows a script: `mode` for as long as it is set, then `faults`, one a request."""

    clock: Clock
    chance: Random
    pace: Pace = field(default_factory=Pace)
    faults: list[Fault] = field(default_factory=list)
    max_events: int = 1 << 30
    mode: Fault | None = None
    judge: Callable[[list[dict[str, Any]]], Fault] | None = None
    """What it answers to these events, in place of all else."""
    attempts: list[Attempt] = field(default_factory=list)
    arrived: set[int] = field(default_factory=set)
    """The numbers of the events that arrived, in no order."""

    async def send(self, process: int, body: bytes, *, fresh: bool) -> Answer:
        assert body.startswith(_SIGNATURE)
        events = json.loads(body.removeprefix(_SIGNATURE))
        attempt = Attempt(process, self.clock.now, body, [event["n"] for event in events], is_fresh=fresh)
        self.attempts.append(attempt)
        fault = attempt.fault = self._next(events)
        try:
            await asyncio.sleep(self._way() + fault.seconds)
        except asyncio.CancelledError:
            # A request that is on its way arrives, or does not, whatever becomes of its sender.
            self._store(attempt, fault.stores and self.chance.random() < 0.5)
            raise
        self._store(attempt, fault.stores)
        await asyncio.sleep(self._way())
        attempt.ended = self.clock.now
        is_timeout = fault.seconds == TIMEOUT
        is_reached = fault.status is not None or is_timeout or fault.stores
        return Answer(
            outcome_of(fault.status, {}),
            "as the script says",
            fault.retry_after,
            fault.status,
            timed_out=is_timeout,
            is_about_events=is_reached and fault.retry_after is None and fault.status not in {425, 429},
        )

    def _store(self, attempt: Attempt, is_stored: bool) -> None:
        attempt.is_stored = is_stored
        if is_stored:
            self.arrived.update(attempt.numbers)

    def _way(self) -> float:
        return self.pace.seconds(self.pace.way, self.chance)

    def _next(self, events: list[dict[str, Any]]) -> Fault:
        if self.judge is not None:
            return self.judge(events)
        fault = self.mode
        if fault is None:
            fault = self.faults.pop(0) if self.faults else OK
        if fault.stores and len(events) > self.max_events:
            return Fault(413)
        if fault.stores and any("bad" in event for event in events):
            return Fault(400)
        return fault

    @property
    def stored(self) -> list[int]:
        """The numbers of the events that arrived, in order, each as often as it came."""
        return [number for attempt in self.attempts if attempt.is_stored for number in attempt.numbers]


class Way:
    """The way of one process to a destination; a test can read what was prepared."""

    description: Mapping[str, str] = MappingProxyType({})
    outlook = Outlook()

    def __init__(self, destination: Destination, process: int) -> None:
        self._destination = destination
        self._process = process

    def renew(self) -> None:
        """There is no connection to renew."""

    async def aclose(self) -> None:
        """There is no connection to end."""

    async def prepare(self, batch: Batch) -> bytes:
        return await asyncio.to_thread(lambda: _SIGNATURE + payload(batch.data))

    async def send(self, body: bytes, *, fresh: bool = False) -> Answer:
        return await self._destination.send(self._process, body, fresh=fresh)


@dataclass
class Event:
    """An event as its producer knows it; `accepted` is when it was told so."""

    number: int
    destination: str
    is_bad: bool
    sent: float
    accepted: float | None = None


@dataclass
class Moments:
    """What was done to one destination from outside, and when."""

    opened: list[float] = field(default_factory=list)
    """What ends a wait: `flush` and `resume`."""
    replaced: list[float] = field(default_factory=list)
    """What begins anew: a start and a reload."""
    recalled: list[float] = field(default_factory=list)
    """Whatever gives batches back to the queue: a stop, a reload, `pause`, `purge`."""
    paused: list[tuple[float, float]] = field(default_factory=list)
    purged: list[tuple[float, float]] = field(default_factory=list)
    replayed: list[float] = field(default_factory=list)


class World:
    """Producers, one process of the forwarder after the other, and destinations."""

    def __init__(
        self,
        clock: Clock,
        configs: dict[str, DestinationConfig],
        destinations: dict[str, Destination],
        chance: Random,
        pace: Pace,
    ) -> None:
        self.clock = clock
        self.configs = configs
        self.destinations = destinations
        self.chance = chance
        self.pace = pace
        self.events: list[Event] = []
        self.moments = {name: Moments() for name in configs}
        self.started: list[float] = []
        self.crashed: list[tuple[int, float]] = []
        self.reloads = 0
        self.wrong: list[str] = []
        """What was seen that must never be, at the moment at which it was."""
        self._desk = Desk(shares=dict.fromkeys(configs, Share()))
        self._tasks: set[asyncio.Task[None]] = set()
        self._paused_since: float | None = None

    # --- life ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start a process on what the one before has left."""
        self._storage = Storage(self._desk.db, lambda: self.pace.seconds(self.pace.job, self.chance))
        self.queue, self._store = open_queue(self._desk.db, self._storage)
        self._storage.look = self._check_account
        self.started.append(self.clock.now)
        await self.queue.__aenter__()
        await self.queue.configure(dict.fromkeys(self.configs, Share()))
        self.pumps = Destinations(self.queue, Logs(), Fullness(time.monotonic, time.time))
        await self._apply()

    async def _apply(self) -> None:
        await self.pumps.apply({name: self._built(name) for name in self.configs})
        # The pumps are replaced at the end of it.
        for moments in self.moments.values():
            moments.replaced.append(self.clock.now)
            moments.recalled.append(self.clock.now)

    def _built(self, name: str) -> BuiltDestination:
        way = Way(self.destinations[name], len(self.started))
        # Files that were replaced count as a change; only those of "main" ever are.
        files = ((_KEY_FILE, (self.reloads if name == "main" else 0,)),)
        return BuiltDestination(self.configs[name], way, files)

    async def reload(self, config: DestinationConfig) -> None:
        """Put another configuration, or another key, of "main" in place."""
        self.reloads += 1
        self.configs["main"] = config
        await self._apply()

    async def crash(self) -> None:
        """End the process at this moment: nothing of what it was about to do happens."""
        self._storage.is_dead = True
        self.crashed.append((len(self.started), self.clock.now))
        await self._end_tasks()

    async def stop(self, timeout: float) -> None:
        """Stop in order: accept nothing more, deliver for so long, close the queue."""
        if self._tasks:
            await asyncio.wait(self._tasks)
        for moments in self.moments.values():
            moments.recalled.append(self.clock.now)
        await self.pumps.drain(timeout)
        await self.queue.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if left:
            self.wrong.append(f"left behind after a stop: {left}")
        await self._end_tasks()

    async def _end_tasks(self) -> None:
        found = asyncio.all_tasks() - {asyncio.current_task()}
        for task in found:
            task.cancel()
        if found:
            await asyncio.wait(found)
        self._tasks.clear()

    def _check_account(self) -> None:
        for name, destination in self.destinations.items():
            found = views.counters(self._store, name)
            if found.accepted != found.queued + found.delivered + found.dead + found.dropped:
                self.wrong.append(f"the account of {name} does not add up: {found}")
            if found.delivered > len(destination.arrived):
                self.wrong.append(f"more was counted as delivered to {name} than arrived: {found}")

    # --- producers and people ------------------------------------------------------------------

    def begin(self, act: Coroutine[Any, Any, None]) -> None:
        """Do something beside whatever else happens; a crash ends it."""
        task = asyncio.create_task(act)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def append(self, wanted: Sequence[tuple[str, Sequence[bool]]]) -> None:
        """Append events, together, for several destinations; each is said to be bad or not."""
        found = [
            Event(number, name, is_bad, self.clock.now)
            for number, (name, is_bad) in enumerate(
                ((name, is_bad) for name, several in wanted for is_bad in several), len(self.events)
            )
        ]
        self.events += found
        await self.queue.append([_segment(name, found) for name, several in wanted if several])
        for event in found:
            event.accepted = self.clock.now

    async def pause(self) -> None:
        await self.pumps.pause("main")
        self.moments["main"].recalled.append(self.clock.now)
        if self._paused_since is None:
            self._paused_since = self.clock.now

    async def resume(self) -> None:
        if self._paused_since is not None:
            self.moments["main"].paused.append((self._paused_since, self.clock.now))
        await self.pumps.resume("main")
        # A pause that was asked for in between was lifted as well.
        self._paused_since = None
        self.moments["main"].opened.append(self.clock.now)

    async def flush(self) -> None:
        await self.pumps.flush("main")
        self.moments["main"].opened.append(self.clock.now)

    async def purge(self) -> None:
        moments, began = self.moments["main"], self.clock.now
        moments.recalled.append(began)
        # Until it has ended, or for ever: a crash may leave it half done.
        moments.purged.append((began, float("inf")))
        await self.pumps.purge("main")
        moments.purged[moments.purged.index((began, float("inf")))] = (began, self.clock.now)
        moments.recalled.append(self.clock.now)

    async def replay(self) -> None:
        self.moments["main"].replayed.append(self.clock.now)
        await self.queue.replay(DeadFilter(destination="main"))

    async def dead(self, name: str) -> list[DeadLetter]:
        """Return the dead letters of a destination."""
        return [letter async for letter in self.queue.dead_letters(DeadFilter(destination=name))]

    async def is_emptied(self, seconds: float) -> bool:
        """Wait until nothing is queued anywhere; return whether that came to be within so many seconds."""
        end = self.clock.now + seconds
        while any(found.queued for found in (await self.queue.stats()).destinations.values()):
            if self.clock.now >= end:
                return False
            await asyncio.sleep(0.5)
        return True

    def close(self) -> None:
        self._desk.close()


def _segment(name: str, events: Sequence[Event]) -> Segment:
    lines = [_line(event) for event in events if event.destination == name]
    return Segment(name, len(lines), b"".join(lines))


def _line(event: Event) -> bytes:
    bad = ',"bad":true' if event.is_bad else ""
    return b'{"eventId":"00000000-0000-4000-8000-%012d","n":%d%b}\n' % (event.number, event.number, bad.encode())
