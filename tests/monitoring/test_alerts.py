"""Each alert fires when what it is about happens to a real daemon, and no other one does."""

from __future__ import annotations

import asyncio
import re
import signal
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from forwarder.observe.catalogue import LINES
from forwarder.observe.measures import MEASURES
from forwarder.signing import generate_key
from tests.certificates import Authority
from tests.delivery.conftest import raw_server
from tests.destination.http_put.servers import OK, answering
from tests.faults.clock import HOUR, Clocks
from tests.faults.trial import Trial
from tests.integration.process import events
from tests.monitoring.rules import ALERTS, FILE, RULES, UP, Scrape, check_alerts, promtool, scrape

pytestmark = pytest.mark.system


class Watched:
    """A daemon and its destination, scraped before something happens to it and after."""

    def __init__(self, folder: Path, trial: Trial) -> None:
        self.folder = folder
        self.trial = trial
        self.forwarder = trial.forwarder
        self.before: Scrape = {}

    async def restart(self) -> None:
        """Start anew with another configuration, and scrape that while all is well."""
        await self.forwarder.kill()
        await self.forwarder.start()
        self.before = await scrape(self.forwarder)

    async def fire(self, *expected: str) -> None:
        """Check which alerts fire from now on."""
        check_alerts(self.folder, self.before, await scrape(self.forwarder), set(expected))

    async def warned(self, key: str) -> None:
        """Wait until the status has this warning."""

        async def is_warned() -> bool:
            return key in [warning["key"] for warning in (await self.forwarder.status())["warnings"]]

        await self.forwarder.until(is_warned)

    async def in_state(self, state: str) -> None:
        """Wait until the destination is in this state."""

        async def is_there() -> bool:
            return bool((await self.forwarder.account())["state"] == state)

        await self.forwarder.until(is_there)


@pytest.fixture
async def watched(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Watched]:
    """Run a daemon, and scrape it while all is well; a parameter says how its receiver behaves."""
    promtool()
    trial = Trial(tmp_path / "f", faults=getattr(request, "param", ""))
    async with trial, trial.forwarder:
        watched = Watched(tmp_path, trial)
        watched.before = await scrape(trial.forwarder)
        yield watched


def test_the_file_is_valid() -> None:
    """Prometheus takes the file as it is."""
    done = subprocess.run([promtool(), "check", "rules", str(FILE)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_an_alert_says_what_is_so_and_what_to_do(rule: dict[str, Any]) -> None:
    """It has a severity, a summary, what it means, and the next step; its metrics, states and conditions exist."""
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert {"summary", "description", "runbook"} == rule["annotations"].keys()
    assert set(re.findall(r"forwarder_[a-z_]+", rule["expr"])) <= MEASURES.keys()
    keys = "|".join(re.findall(r'key=~?"([^"]+)"', rule["expr"]))
    assert {key for key in keys.split("|") if key} <= LINES.keys()


async def test_nothing_fires_while_all_is_well(watched: Watched) -> None:
    """Events that come and go raise no alert."""
    assert (await watched.forwarder.post(events(0, 100)))[0] == 202
    await watched.forwarder.settled()
    await watched.fire()


async def test_a_process_that_is_gone(watched: Watched) -> None:
    """Nothing answers any more, or one of several does not."""
    check_alerts(watched.folder, watched.before, {}, {"ForwarderGone"})
    other = {name.replace("host:7711", "other:7711"): value for name, value in watched.before.items()}
    check_alerts(watched.folder, {**watched.before, **other}, {UP: 0.0, **other}, {"ForwarderGone"})
    # One that is no longer scraped is not missed.
    check_alerts(watched.folder, {**watched.before, **other}, other, set())


@pytest.mark.parametrize("watched", ["403*1000000"], indirect=True)
async def test_a_destination_that_is_held(watched: Watched) -> None:
    """It does not know the key."""
    await watched.trial.post()
    await watched.in_state("holding")
    await watched.fire("ForwarderDestinationHeld")


@pytest.mark.parametrize("watched", ["503*1000000"], indirect=True)
async def test_a_destination_that_is_down(watched: Watched) -> None:
    """It answers 503 for long."""
    await watched.trial.post()
    await watched.in_state("backing_off")
    await watched.fire("ForwarderNotDelivering")


@pytest.mark.parametrize("watched", ["503*1000000"], indirect=True)
async def test_a_queue_that_is_full(watched: Watched) -> None:
    """Producers are refused for want of room, and nothing else can accept their events."""
    config = watched.forwarder.config
    config["queue"]["max_bytes"] = 4 << 20
    await watched.restart()
    filler = {"x": "x" * 100_000}
    while (await watched.forwarder.post(events(0, 1, data=filler)))[0] == 202:
        pass
    await watched.warned("queue.full")
    expected = ("ForwarderQueueFull", "ForwarderNotReady", "ForwarderRefusesEvents", "ForwarderNotDelivering")
    await watched.fire(*expected)


@pytest.mark.parametrize("watched", ["503*1000000"], indirect=True)
async def test_a_queue_that_fills(watched: Watched) -> None:
    """At the rate at which events come, there is no room within the hour."""
    watched.forwarder.config["queue"]["max_bytes"] = 64 << 20
    await watched.restart()

    async def fills() -> bool:
        await watched.forwarder.post(events(0, 1, data={"x": "x" * 20_000}))
        return "queue.fills_soon" in [warning["key"] for warning in (await watched.forwarder.status())["warnings"]]

    await watched.forwarder.until(fills)
    await watched.fire("ForwarderFullSoon", "ForwarderNotDelivering")


async def test_a_key_that_is_refused(watched: Watched) -> None:
    """The key is changed for one that the destination does not know."""
    await watched.trial.post()
    await watched.forwarder.settled()
    fresh = watched.forwarder.folder / "fresh.pem"
    fresh.touch(mode=0o600)
    fresh.write_bytes(generate_key(2048))
    fresh.replace(watched.forwarder.key_file)
    assert (await watched.forwarder.admin("POST", "/v1/reload"))[0] == 200
    await watched.trial.post()
    await watched.warned("key.refused")
    await watched.fire("ForwarderKeyRefused", "ForwarderDestinationHeld")


async def test_a_certificate_that_ends(tmp_path: Path) -> None:
    """The certificate of the server ends tomorrow."""
    promtool()
    authority = Authority(tmp_path, "some")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.issue("localhost"))
    async with raw_server(answering(OK, forever=True), ssl=context) as port:
        trial = Trial(tmp_path / "f")
        async with trial:
            main = trial.forwarder.config["destinations"]["main"]
            main |= {"url": f"https://localhost:{port}/put", "tls": {"ca_file": str(authority.file)}}
            async with trial.forwarder:
                watched = Watched(tmp_path, trial)
                await trial.post()
                await trial.forwarder.settled()
                await watched.warned("certificate.expires")
                watched.before = await scrape(trial.forwarder)
                await watched.fire("ForwarderCertificateEnds")


async def test_a_clock_that_is_off(tmp_path: Path) -> None:
    """The clock of the machine is an hour ahead of that of the destination."""
    promtool()
    trial = Trial(tmp_path / "f")
    clocks = Clocks(trial.forwarder)
    clocks.shift(HOUR)
    async with trial, trial.forwarder:
        watched = Watched(tmp_path, trial)
        watched.before = await scrape(trial.forwarder)
        await trial.post()
        await trial.forwarder.settled()
        await watched.warned("clock.off")
        await watched.fire("ForwarderClockOff")


async def test_events_that_wait_for_long(tmp_path: Path) -> None:
    """A destination is paused, and nobody remembers it."""
    promtool()
    trial = Trial(tmp_path / "f")
    clocks = Clocks(trial.forwarder)
    async with trial, trial.forwarder:
        watched = Watched(tmp_path, trial)
        watched.before = await scrape(trial.forwarder)
        assert (await trial.forwarder.admin("POST", "/v1/destinations/main/pause"))[0] == 204
        await trial.post()
        clocks.shift(HOUR)
        await watched.fire("ForwarderEventsTooOld")


async def test_events_that_are_refused(watched: Watched) -> None:
    """A producer sends what is no event."""
    assert (await watched.forwarder.post([{"no": "event"}]))[0] == 422
    await watched.fire("ForwarderRefusesEvents")


async def test_events_that_die(watched: Watched) -> None:
    """An event breaks the rules, and is kept as a dead letter."""
    assert (await watched.forwarder.post([{"no": "event"}], path="/v1/events?invalid=dead_letter"))[0] == 202
    await watched.fire("ForwarderDeadLetters")


async def test_a_loop_that_lags(watched: Watched) -> None:
    """The process gets no processor time for a while."""
    assert watched.forwarder.process is not None
    watched.forwarder.process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(2.0)
    watched.forwarder.process.send_signal(signal.SIGCONT)

    async def met() -> bool:
        found = await scrape(watched.forwarder)
        return any(value > 1 for name, value in found.items() if name.startswith("forwarder_loop_lag_seconds"))

    await watched.forwarder.until(met)
    await watched.fire("ForwarderLoopLags")


async def test_a_reload_that_is_refused(watched: Watched) -> None:
    """The file has a mistake, and the old configuration goes on."""
    with watched.forwarder.config_file.open("a", encoding="utf-8") as file:
        file.write("nonsense: true\n")
    assert (await watched.forwarder.admin("POST", "/v1/reload"))[0] == 409
    await watched.fire("ForwarderConfigurationNotInUse")


def test_every_alert_has_a_test() -> None:
    """Each alert is made to fire above."""
    text = Path(__file__).read_text(encoding="utf-8")
    assert {alert for alert in ALERTS if f'"{alert}"' not in text} == set()
