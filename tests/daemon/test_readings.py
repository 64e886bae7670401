"""All metrics of the daemon stand in one answer, also while the queue does not answer."""

from __future__ import annotations

from typing import cast

from forwarder.admin.status import Status, build_status
from forwarder.admin.steering import DestinationStatus
from forwarder.daemon.lag import LoopLag
from forwarder.daemon.listeners import Listeners
from forwarder.daemon.readings import Readings
from forwarder.errors import StorageError
from forwarder.model import Counters, QueueStats, State
from forwarder.observe.facts import Committed
from forwarder.observe.metrics import Metrics


class Clients:
    """Listeners with so many clients."""

    def __init__(self) -> None:
        self.connections = {"http": 3, "stream": 2, "admin": 1}
        self.refused_connections = {"http": 0, "stream": 7, "admin": 0}


async def no_status() -> Status:
    raise StorageError("I/O error")


def readings() -> Readings:
    """Return the readings of a daemon that has committed once and been late once."""
    metrics, lag = Metrics(), LoopLag()
    metrics.saw(Committed(1, 1, 0.001))
    lag.note(0.0, 1.5)
    return Readings(metrics, lag, lambda: cast("Listeners", Clients()), no_status)


async def test_everything_in_one_answer() -> None:
    """What the status says, what was counted, and what the process reads off itself."""
    stats = QueueStats("sqlite", 4096, 8192, destinations={"main": Counters(accepted=2, queued=2)})
    pumps = {"main": DestinationStatus(State.IDLE)}
    status = build_status(stats, pumps, version="1.2.3", uptime=1.0, not_ready=None, now=1000.0)
    body, media_type = await readings().metrics(status, "")
    lines = body.decode().splitlines()
    assert media_type.startswith("text/plain")
    for line in (
        'forwarder_events_accepted_total{destination="main"} 2.0',
        "forwarder_commit_duration_seconds_count 1.0",
        "forwarder_loop_lag_seconds 1.5",
        "forwarder_log_lines_dropped_total 0.0",
        'forwarder_connections{way="http"} 3.0',
        'forwarder_connections_refused_total{way="stream"} 7.0',
        "forwarder_ready 1.0",
    ):
        assert line in lines


async def test_a_queue_that_does_not_answer() -> None:
    """What was counted is still told, and that nothing can be accepted."""
    body, _media_type = await readings().metrics(None, "")
    lines = body.decode().splitlines()
    assert "forwarder_ready 0.0" in lines
    assert "forwarder_commit_duration_seconds_count 1.0" in lines
    assert not [line for line in lines if line.startswith("forwarder_events_accepted_total{")]
