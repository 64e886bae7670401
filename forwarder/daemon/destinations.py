"""Start, replace, control and drain the pumps of all destinations."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from forwarder.admin.steering import DestinationStatus
from forwarder.daemon.assembly import BuiltDestination
from forwarder.daemon.since import Since
from forwarder.daemon.watch import Watched
from forwarder.delivery.clock import Clock
from forwarder.delivery.outage import Outage
from forwarder.delivery.pump import Pump
from forwarder.errors import ForwarderError
from forwarder.model import EVERY_EVENT, EventFilter, LastError, QueueStats, State
from forwarder.observe.base import Observer
from forwarder.observe.facts import Notice
from forwarder.observe.logs import brief
from forwarder.queue.base import Queue
from forwarder.queue.fullness import Fullness
from forwarder.waiting import wait_at_most

# Seconds before a pump that failed is restarted.
_RESTART_SECONDS = 1.0


class _Met(NamedTuple):
    """What is told of a destination since the start: a key that is replaced, or a reload, does not end it."""

    last_success: float | None = None
    last_error: LastError | None = None
    sent_again: int = 0


@dataclass(frozen=True, slots=True)
class _Running:
    """A running pump, the destination it was made for, and what the pumps before it have met."""

    built: BuiltDestination
    pump: Pump
    earlier: _Met

    @property
    def met(self) -> _Met:
        """What it and the pumps before it have met."""
        health, earlier = self.pump.health, self.earlier
        return _Met(
            health.last_success or earlier.last_success,
            health.last_error or earlier.last_error,
            health.sent_again + earlier.sent_again,
        )


class Destinations:
    """One pump for each configured destination. Implements `forwarder.admin.steering.Steering`."""

    def __init__(self, queue: Queue, observer: Observer, fullness: Fullness) -> None:
        self._queue = queue
        self._fullness = fullness
        self._observer = observer
        self._clock = Clock()
        self._since = Since(time.time)
        self._outages: dict[str, Outage] = {}
        self._running: dict[str, _Running] = {}
        # Includes the tasks of pumps that were replaced or removed and are finishing what they are sending.
        self._tasks: set[asyncio.Task[None]] = set()
        self._latest: dict[str, asyncio.Task[None]] = {}
        """For each destination, the task that was started last, until it ends."""
        self._is_stopping = asyncio.Event()

    # --- life cycle ----------------------------------------------------------------------------

    async def apply(self, wanted: dict[str, BuiltDestination]) -> None:
        """Run a pump for each of these destinations; the pump of an unchanged destination keeps running.

        A pump that is replaced, or removed and later wanted again, first finishes what it is sending. Only
        then does the new one start, so that no batch is sent by both and events stay in order.
        """
        paused = {name: found.paused for name, found in (await self._queue.stats()).destinations.items()}
        for name in self._running.keys() - wanted.keys():
            self._running.pop(name).pump.retire()
            del self._outages[name]
            self._observer.saw(Notice("destination.removed", {"destination": name}))
        for name, built in wanted.items():
            before = self._running.get(name)
            if before is not None and before.built.is_same(built):
                # An operator may also reload because the address behind a name has changed: connect anew.
                before.built.destination.renew()
                if before.pump.health.gate.state is State.HOLDING:
                    before.pump.flush()
                continue
            if before is not None:
                before.pump.retire()
            parts = (name, built.config, self._queue, built.destination, self._observer)
            outage = self._outages.setdefault(name, Outage())
            pump = Pump(*parts, clock=self._clock, outage=outage, paused=paused.get(name, False))
            task = asyncio.create_task(self._run(name, pump, built, self._latest.get(name)), name=f"pump-{name}")
            self._running[name] = _Running(built, pump, _Met() if before is None else before.met)
            self._tasks.add(task)
            self._latest[name] = task
            task.add_done_callback(partial(self._ended, name))
            details = {"destination": name, **built.destination.description}
            self._observer.saw(Notice("destination.started", details))

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._latest.get(name) is task:
            del self._latest[name]

    async def _run(self, name: str, pump: Pump, built: BuiltDestination, previous: asyncio.Task[None] | None) -> None:
        """Run a pump when the one before it has ended, and restart it if it should ever fail."""
        if previous is not None:
            await asyncio.wait([previous])
        async with aclosing(built.destination):
            while True:
                try:
                    await pump.run()
                except Exception as error:
                    self._observer.saw(Notice("pump.failed", {"destination": name}, error))
                    await wait_at_most(_RESTART_SECONDS, self._is_stopping)
                    if self._is_stopping.is_set():
                        return
                else:
                    return

    def begin_stop(self) -> None:
        """From now on report that the forwarder is stopping."""
        self._is_stopping.set()

    async def drain(self, timeout: float) -> None:
        """Deliver queued events for up to `timeout` seconds, then stop; the rest stays queued."""
        self.begin_stop()
        for running in self._running.values():
            running.pump.stop()
        if not self._tasks:
            return
        _done, late = await asyncio.wait(self._tasks, timeout=timeout)
        under_way = {
            name: running.pump.health.gate.pipeline.unsettled
            for name, running in self._running.items()
            if self._latest.get(name) in late
        }
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)
            await self._tell_left(under_way)

    async def _tell_left(self, under_way: Mapping[str, int]) -> None:
        """Say what is left of each destination that did not end in time, with so many batches under way."""
        try:
            accounts = (await self._queue.stats()).destinations
        except ForwarderError:
            # A storage that fails says so itself; the line is due all the same.
            accounts = {}
        for name, batches in under_way.items():
            left = {"events": accounts[name].queued} if name in accounts else {}
            self._observer.saw(Notice("shutdown.timeout", {"destination": name, **left, "batches": batches}))

    # --- control -------------------------------------------------------------------------------

    async def status(self) -> Mapping[str, DestinationStatus]:
        """Return the state of each configured destination."""
        return self._look()

    def look(self, stats: QueueStats | None) -> None:
        """Notice in a round whether a destination has begun or ceased to fail, and tell of an outage that goes on."""
        self._look()
        self._tell_outages(stats)

    def _look(self) -> dict[str, DestinationStatus]:
        self._since.keep(self._running.keys())
        return {name: self._status_of(name, running) for name, running in self._running.items()}

    def _status_of(self, name: str, running: _Running) -> DestinationStatus:
        health, certificates = running.pump.health, running.built.destination.outlook.certificates
        state, outage, met = health.gate.state, self._outages[name], running.met
        return DestinationStatus(
            state=state,
            attempts=health.failures,
            next_attempt_in_seconds=health.gate.next_attempt_in,
            last_success=met.last_success,
            last_error=met.last_error,
            since=self._since.look(name, state, outage.attempts, outage.seconds(time.monotonic())),
            set_aside=len(health.suspects),
            sent_again=met.sent_again,
            obstacle=health.obstacle,
            certificate_ends=min((found.ends for found in certificates), default=None),
            waiting_for=health.gate.waiting_for,
        )

    def failing(self) -> Iterator[str]:
        """Yield a few words about each destination that takes nothing just now."""
        for name, running in self._running.items():
            if self._outages[name]:
                error = running.pump.health.last_error
                said = "" if error is None else f" ({brief(error.status, error.detail)})"
                yield f"{name} takes nothing{said}"

    def watched(self) -> Iterator[Watched]:
        """Yield what each destination has learned of trouble to come."""
        for name, running in self._running.items():
            destination, health = running.built.destination, running.pump.health
            key, has_taken = destination.description.get("key", ""), health.last_success is not None
            yield Watched(name, destination.outlook, key, health.key_refused, has_taken)

    def _tell_outages(self, stats: QueueStats | None) -> None:
        """Tell of outages that go on, every ten minutes; where nothing waits any more there is none."""
        now = time.monotonic()
        for name, running in self._running.items():
            account = None if stats is None else stats.destinations.get(name)
            queued = None if account is None else account.queued
            if queued == 0:
                self._outages[name].end()
            elif running.pump.health.gate.state is not State.PAUSED and self._outages[name].is_due(now):
                self._observer.saw(Notice("destination.still_failing", self._still_failing(name, now, queued)))

    def _still_failing(self, name: str, now: float, queued: int | None) -> dict[str, Any]:
        outage, error = self._outages[name], self._running[name].pump.health.last_error
        lasts = {"seconds": round(outage.seconds(now), 3), "attempts": outage.attempts, "events": queued}
        said = {} if error is None else {"status": error.status, "detail": brief(error.status, error.detail)}
        return {"destination": name, **lasts, **said}

    def ready(self) -> str | None:
        """Return None while events can be accepted, otherwise the reason why not."""
        if self._is_stopping.is_set():
            return "the forwarder is shutting down"
        return self._queue.trouble() or self._fullness.trouble(self._running)

    async def flush(self, name: str) -> None:
        """Attempt a delivery now, over a new connection, without waiting for a fuller batch or for the back-off."""
        self._running[name].built.destination.renew()
        self._running[name].pump.flush()

    async def pause(self, name: str) -> None:
        """Stop delivering, even across restarts."""
        await self._queue.set_paused(name, True)
        self._running[name].pump.pause()

    async def resume(self, name: str) -> None:
        """Deliver again after a pause; a destination that is held is tried again at once."""
        await self._queue.set_paused(name, False)
        self._running[name].built.destination.renew()
        self._running[name].pump.resume()

    async def purge(self, name: str, wanted: EventFilter = EVERY_EVENT) -> int:
        """Drop the queued events that match, except those being sent at this moment; return how many."""
        async with self._running[name].pump.recalled():
            return await self._queue.purge(name, wanted)
