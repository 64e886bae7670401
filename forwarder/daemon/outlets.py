"""The pumps of all destinations: started, replaced, steered, drained."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from forwarder.admin.steering import DestinationStatus, LastError, State
from forwarder.daemon.parts import Outlet
from forwarder.delivery.pump import Pump
from forwarder.queue.base import Queue

if TYPE_CHECKING:
    from collections.abc import Mapping

# Seconds before a pump that failed is started again.
_RESTART_SECONDS = 1.0

log = structlog.get_logger(__name__)


class Outlets:
    """One pump for each configured destination; `forwarder.admin.steering.Steering` over them."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._pumps: dict[str, Pump] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._is_stopping = asyncio.Event()

    # --- life ----------------------------------------------------------------------------------

    async def apply(self, outlets: dict[str, Outlet]) -> None:
        """Start a pump for each of these destinations, in place of the pumps that run now.

        A pump that is replaced finishes what it is sending; only then does the new one start, so
        no batch is sent by both and order holds.
        """
        paused = {name: found.paused for name, found in (await self._queue.stats()).destinations.items()}
        before, self._tasks, self._pumps = (self._pumps, self._tasks), {}, {}
        for name, pump in before[0].items():
            pump.retire()
            if name not in outlets:
                log.warning("destination.removed", destination=name, hint="what is queued for it is kept")
        for name, outlet in outlets.items():
            pump = Pump(
                name, outlet.config, self._queue, outlet.client, outlet.signer.sign, paused=paused.get(name, False)
            )
            self._pumps[name] = pump
            self._tasks[name] = asyncio.create_task(
                self._run(name, pump, outlet, before[1].get(name)), name=f"pump-{name}"
            )

    async def _run(self, name: str, pump: Pump, outlet: Outlet, previous: asyncio.Task[None] | None) -> None:
        """Run a pump once the one before it has ended, and again should it ever fail."""
        if previous is not None:
            await asyncio.wait([previous])
        async with outlet.client:
            while True:
                try:
                    await pump.run()
                except Exception:
                    log.exception("pump.failed", destination=name, hint="it is started again; nothing is lost")
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._is_stopping.wait(), _RESTART_SECONDS)
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
        for pump in self._pumps.values():
            pump.stop()
        if not self._tasks:
            return
        _done, late = await asyncio.wait(self._tasks.values(), timeout=timeout)
        for task in late:
            task.cancel()
        if late:
            log.warning("shutdown.timeout", destinations=len(late), hint="what is not delivered stays queued")
            await asyncio.wait(late)

    # --- steering ------------------------------------------------------------------------------

    async def status(self) -> Mapping[str, DestinationStatus]:
        """Return what each configured destination is doing."""
        return {name: _status_of(pump) for name, pump in self._pumps.items()}

    def ready(self) -> str | None:
        """Return None while events can be accepted, else the reason why not."""
        return "the forwarder is shutting down" if self._is_stopping.is_set() else self._queue.trouble()

    async def flush(self, name: str) -> None:
        """Attempt a delivery now: wait neither for a fuller batch nor for the back-off."""
        self._pumps[name].flush()

    async def pause(self, name: str) -> None:
        """Stop delivering; holds across restarts."""
        await self._queue.set_paused(name, True)
        self._pumps[name].pause()

    async def resume(self, name: str) -> None:
        """Deliver again after a pause, and at once where the destination is held."""
        await self._queue.set_paused(name, False)
        self._pumps[name].resume()

    async def purge(self, name: str) -> int:
        """Drop everything that waits, counted as dropped; return how many."""
        return await self._pumps[name].purge()


def _status_of(pump: Pump) -> DestinationStatus:
    link = pump.link
    error = link.last_error
    return DestinationStatus(
        state=State(link.gate.state.value),
        attempts=link.failures,
        next_attempt_in_seconds=link.gate.next_attempt_in,
        last_success=link.last_success,
        last_error=LastError(error.at, error.status, error.detail) if error else None,
    )
