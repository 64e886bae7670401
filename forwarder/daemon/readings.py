"""The metrics of the whole daemon: what its status says, what was counted, and what it reads off itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from forwarder.admin.measures import families
from forwarder.admin.status import Status
from forwarder.daemon.lag import LoopLag
from forwarder.daemon.listeners import Listeners
from forwarder.errors import UnavailableError
from forwarder.lossy import dropped_lines
from forwarder.observe.measures import Family
from forwarder.observe.metrics import Metrics

if TYPE_CHECKING:
    from forwarder.observe.telemetry import Telemetry

# Seconds between two readings for OpenTelemetry, which sends the last one in times of its own.
_TELL_SECONDS = 2.0


class Readings:
    """Reads all metrics of one daemon."""

    def __init__(
        self,
        metrics: Metrics,
        lag: LoopLag,
        listeners: Callable[[], Listeners],
        status: Callable[[], Awaitable[Status]],
    ) -> None:
        self._metrics = metrics
        self._lag = lag
        # They serve the API that asks for the metrics, so they are made after it.
        self._listeners = listeners
        self._status = status

    async def metrics(self, status: Status | None, accept: str) -> tuple[bytes, str]:
        """Return the metrics that belong to a status, in the format of an `Accept` header, and their media type.

        Without a status, the queue does not answer: nothing can be accepted.
        """
        # With very many destinations this takes as long as several batches, so it leaves the loop.
        return await asyncio.to_thread(self._metrics.render, self._families(status), accept)

    async def tell(self, telemetry: Telemetry) -> None:
        """Bring OpenTelemetry what the status says, until cancelled."""
        while True:
            try:
                status = await self._status()
            except UnavailableError:
                status = None
            telemetry.update(self._families(status))
            await asyncio.sleep(_TELL_SECONDS)

    def _families(self, status: Status | None) -> list[Family]:
        of_status = [Family("forwarder_ready", [((), 0.0)])] if status is None else families(status)
        return [*of_status, *self._own()]

    def _own(self) -> list[Family]:
        listeners = self._listeners()
        return [
            Family("forwarder_loop_lag_seconds", [((), self._lag.seconds)]),
            Family("forwarder_log_lines_dropped_total", [((), dropped_lines())]),
            _by_way("forwarder_connections", listeners.connections),
            _by_way("forwarder_connections_refused_total", listeners.refused_connections),
        ]


def _by_way(name: str, numbers: dict[str, int]) -> Family:
    return Family(name, [((way,), number) for way, number in numbers.items()])
