"""The pumps of all destinations: started, replaced, steered, drained."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from forwarder.admin.steering import DestinationStatus
from forwarder.daemon.assembly import BuiltDestination
from forwarder.delivery.clock import Clock
from forwarder.delivery.pump import Pump
from forwarder.model import EVERY_EVENT, EventFilter, State
from forwarder.observe.base import Observer
from forwarder.observe.facts import Notice
from forwarder.queue.base import Queue

if TYPE_CHECKING:
    from collections.abc import Mapping

# Seconds before a pump that failed is started again.
_RESTART_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class _Running:
    """A pump that runs, and for what."""

    built: BuiltDestination
    pump: Pump


class Destinations:
    """One pump for each configured destination; `forwarder.admin.steering.Steering` over them."""

    def __init__(self, queue: Queue, observer: Observer) -> None:
        self._queue = queue
        self._observer = observer
        self._clock = Clock()
        self._running: dict[str, _Running] = {}
        # Those of pumps that were replaced or removed and finish what they are sending, too.
        self._tasks: set[asyncio.Task[None]] = set()
        self._latest: dict[str, asyncio.Task[None]] = {}
        """The task that was started last for a destination, until it has ended."""
        self._is_stopping = asyncio.Event()

    # --- life ----------------------------------------------------------------------------------

    async def apply(self, wanted: dict[str, BuiltDestination]) -> None:
        """Run a pump for each of these destinations; one about which nothing has changed goes on.

        A pump that is replaced, or removed and wanted again, finishes what it is sending; only then does
        the new one start, so no batch is sent by both and order holds.
        """
        paused = {name: found.paused for name, found in (await self._queue.stats()).destinations.items()}
        for name in self._running.keys() - wanted.keys():
            self._running.pop(name).pump.retire()
            self._observer.saw(Notice("destination.removed", {"destination": name}))
        for name, built in wanted.items():
            before = self._running.get(name)
            if before is not None and before.built.is_same(built):
                # A reload is also how somebody says that an address has changed.
                before.built.destination.renew()
                if before.pump.health.gate.state is State.HOLDING:
                    before.pump.flush()
                continue
            if before is not None:
                before.pump.retire()
            parts = (name, built.config, self._queue, built.destination, self._observer)
            pump = Pump(*parts, clock=self._clock, paused=paused.get(name, False))
            task = asyncio.create_task(self._run(name, pump, built, self._latest.get(name)), name=f"pump-{name}")
            self._running[name] = _Running(built, pump)
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
        """Run a pump once the one before it has ended, and again should it ever fail."""
        if previous is not None:
            await asyncio.wait([previous])
        async with aclosing(built.destination):
            while True:
                try:
                    await pump.run()
                except Exception as error:
                    self._observer.saw(Notice("pump.failed", {"destination": name}, error))
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_RESTART_SECONDS):
                            await self._is_stopping.wait()
                    if self._is_stopping.is_set():
                        return
                else:
                    return

    def begin_stop(self) -> None:
        """Tell from now on that the forwarder is stopping."""
        self._is_stopping.set()

    async def drain(self, timeout: float) -> None:
        """Deliver what waits for up to `timeout` seconds, then let go; what is left stays queued."""
        self.begin_stop()
        for running in self._running.values():
            running.pump.stop()
        if not self._tasks:
            return
        _done, late = await asyncio.wait(self._tasks, timeout=timeout)
        for task in late:
            task.cancel()
        if late:
            self._observer.saw(Notice("shutdown.timeout", {"destinations": len(late)}))
            await asyncio.wait(late)

    # --- steering ------------------------------------------------------------------------------

    async def status(self) -> Mapping[str, DestinationStatus]:
        """Return what each configured destination is doing."""
        return {name: _status_of(running.pump) for name, running in self._running.items()}

    def ready(self) -> str | None:
        """Return None while events can be accepted, else the reason why not."""
        return "the forwarder is shutting down" if self._is_stopping.is_set() else self._queue.trouble()

    async def flush(self, name: str) -> None:
        """Attempt a delivery now, over a new connection: wait neither for a fuller batch nor for the back-off."""
        self._running[name].built.destination.renew()
        self._running[name].pump.flush()

    async def pause(self, name: str) -> None:
        """Stop delivering; holds across restarts."""
        await self._queue.set_paused(name, True)
        self._running[name].pump.pause()

    async def resume(self, name: str) -> None:
        """Deliver again after a pause, and at once where the destination is held."""
        await self._queue.set_paused(name, False)
        self._running[name].built.destination.renew()
        self._running[name].pump.resume()

    async def purge(self, name: str, wanted: EventFilter = EVERY_EVENT) -> int:
        """Drop all that is queued, or some of it, but for what is being sent at this moment; return how many events."""
        async with self._running[name].pump.recalled():
            return await self._queue.purge(name, wanted)


def _status_of(pump: Pump) -> DestinationStatus:
    health = pump.health
    return DestinationStatus(
        state=health.gate.state,
        attempts=health.failures,
        next_attempt_in_seconds=health.gate.next_attempt_in,
        last_success=health.last_success,
        last_error=health.last_error,
        set_aside=len(health.suspects),
        reason=health.reason,
    )
