"""The metrics of the whole daemon: what its status says, what was counted, and what it reads off itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from forwarder.admin.measures import families
from forwarder.admin.status import Status
from forwarder.daemon.lag import LoopLag
from forwarder.daemon.listeners import Listeners
from forwarder.lossy import dropped_lines
from forwarder.observe.measures import Family
from forwarder.observe.metrics import Metrics


class Readings:
    """Reads all metrics of one daemon."""

    def __init__(self, metrics: Metrics, lag: LoopLag, listeners: Callable[[], Listeners]) -> None:
        self._metrics = metrics
        self._lag = lag
        # They serve the API that asks for the metrics, so they are made after it.
        self._listeners = listeners

    async def metrics(self, status: Status | None, accept: str) -> tuple[bytes, str]:
        """Return the metrics that belong to a status, in the format of an `Accept` header, and their media type.

        Without a status, the queue does not answer: nothing can be accepted.
        """
        of_status = [Family("forwarder_ready", [((), 0.0)])] if status is None else families(status)
        # With very many destinations this takes as long as several batches, so it leaves the loop.
        return await asyncio.to_thread(self._metrics.render, [*of_status, *self._own()], accept)

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
