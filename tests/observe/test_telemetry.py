"""Metrics and traces arrive at a collector; one that is gone delays nothing."""

from __future__ import annotations

import asyncio
import base64
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from forwarder.config import OtelConfig
from forwarder.model import Outcome
from forwarder.observe.facts import Accepted, Attempted
from forwarder.observe.measures import MEASURES, Family
from forwarder.observe.telemetry import Telemetry
from tests.faults.trial import Trial
from tests.integration.process import PATIENCE, events, request
from tests.observe.collector import Collector

TRACE = "0af7651916cd43dd8448eb211c80319c"
HEADERS = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with Collector() as collector:
        yield collector


async def test_what_is_sent_at_the_end(collector: Collector) -> None:
    """The last metrics and spans leave with the end of the process, with the headers and the name that are wanted."""
    config = OtelConfig(endpoint=collector.url, headers={"x-key": "k"}, service_name="mine")
    telemetry = Telemetry(config)
    telemetry.saw(Accepted("http", 3, 0, 300, 0.004))
    telemetry.saw(Attempted("main", 0, Outcome.HELD, 3, 300, 0.5, 403))
    telemetry.update(
        [Family("forwarder_events_accepted_total", [(("main",), 3)]), Family("forwarder_ready", [((), 1)])]
    )
    await asyncio.to_thread(telemetry.close)
    assert collector.resource["service.name"] == {"stringValue": "mine"}
    assert collector.headers[0]["x-key"] == "k"
    assert [span["name"] for span in collector.spans] == ["attempt"]
    accepted = collector.metrics["forwarder_events_accepted"]
    assert accepted["sum"]["isMonotonic"]
    [point] = accepted["sum"]["dataPoints"]
    assert (point["asInt"], point["attributes"]) == ("3", [{"key": "destination", "value": {"stringValue": "main"}}])
    assert collector.metrics["forwarder_accept_duration_seconds"]["unit"] == "s"
    assert collector.metrics["forwarder_ready"]["gauge"]["dataPoints"]
    assert {f"{name}_total" if f"{name}_total" in MEASURES else name for name in collector.metrics} <= MEASURES.keys()


async def test_a_collector_that_is_gone() -> None:
    """The end of the process waits for a few seconds at most, and nothing raises."""
    telemetry = Telemetry(OtelConfig(endpoint="http://127.0.0.1:1"))
    telemetry.saw(Attempted("main", 0, Outcome.DELIVERED, 3, 300, 0.5, 200))
    began = time.monotonic()
    await asyncio.to_thread(telemetry.close)
    assert time.monotonic() - began < PATIENCE
    # What would be tried again is given up.
    async with asyncio.timeout(PATIENCE):
        while any(thread.name == "otel-end" for thread in threading.enumerate()):
            await asyncio.sleep(0.05)


async def test_a_request_is_followed_to_its_delivery(tmp_path: Path, collector: Collector) -> None:
    """A real daemon continues the trace of a request; metrics say what the status says."""
    trial = Trial(tmp_path / "f", faults="503")
    trial.forwarder.config["otel"] = {"endpoint": collector.url, "interval": "1s"}
    async with trial, trial.forwarder:
        sock = trial.forwarder.folder / "http.sock"
        # The second one goes over a connection whose first request had no trace.
        for headers in (HEADERS, {}):
            status, _answer = await request(sock, "POST", "/v1/events", json=events(0, 2), headers=headers)
            assert status == 202
            await trial.forwarder.settled()

        async def is_told() -> bool:
            found = collector.metrics.get("forwarder_events_delivered", {}).get("sum", {}).get("dataPoints", [])
            return [point["asInt"] for point in found] == ["4"]

        await trial.forwarder.until(is_told)
        assert await trial.forwarder.stop() == 0
    wanted = base64.b64encode(bytes.fromhex(TRACE)).decode()
    continued = [span["name"] for span in collector.spans if span["traceId"] == wanted]
    assert sorted(continued) == ["attempt", "attempt", "deliver main", "lease", "settle", "sign"]
    assert [span["name"] for span in collector.spans if span["traceId"] != wanted].count("deliver main") == 1
    assert not trial.forwarder.logged("observer.failed")


async def test_what_it_is_changes_only_at_a_start(tmp_path: Path, collector: Collector) -> None:
    """A reload with another collector is refused, and says so."""
    trial = Trial(tmp_path / "f")
    async with trial, trial.forwarder:
        trial.forwarder.config["otel"] = {"endpoint": collector.url}
        trial.forwarder.write_config()
        status, problem = await trial.forwarder.admin("POST", "/v1/reload")
        assert status == 409
        assert problem["problems"] == ["OpenTelemetry: otel: changes only at a start. Restart."]


def test_it_is_imported_only_where_it_is_wanted() -> None:
    """Without a collector, a daemon starts without OpenTelemetry, which need not even be installed."""
    code = "import sys, forwarder.daemon.process; print(sorted(m for m in sys.modules if 'opentelemetry' in m))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "[]"
