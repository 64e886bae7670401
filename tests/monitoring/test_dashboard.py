"""The Grafana dashboard asks for what a real daemon answers."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from forwarder.observe.measures import MEASURES
from tests.documents import ROOT
from tests.faults.trial import Trial
from tests.integration.process import PATIENCE

pytestmark = pytest.mark.system
DASHBOARD = json.loads((ROOT / "config/grafana-dashboard.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
TARGETS = [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]
# What is met in no healthy daemon, or only at some moments: these panels may be empty.
OF_TROUBLE = ("forwarder_condition", "died", "dropped", "refused", "set_aside", "forwarder_destination_state")


def test_each_panel_says_what_it_shows() -> None:
    """Panels have a title, a description and a place of their own; their ids differ."""
    assert all(panel["title"] and panel["description"].endswith(".") for panel in PANELS)
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _y in cells) < 24, panel["title"]
        taken |= cells


@pytest.mark.parametrize(("title", "expression"), TARGETS)
def test_each_metric_exists(title: str, expression: str) -> None:
    """No panel asks for a metric, or by a label, that there is not."""
    for name in re.findall(r"forwarder_[a-z_]+", expression):
        metric = re.sub("_(bucket|sum|count)$", "", name)
        assert metric in MEASURES, title
        [labels] = set(re.findall(rf"{name}{{([^}}]*)}}", expression)) or {""}
        asked = set(re.findall(r"(\w+)=", labels)) - {"instance"}
        assert asked <= set(MEASURES[metric].labels), title


def test_most_metrics_are_shown() -> None:
    """What is measured can be seen, but for what only alerts and scripts ask for."""
    shown = {re.sub("_(bucket|sum|count)$", "", name) for name in re.findall(r"forwarder_[a-z_]+", json.dumps(PANELS))}
    assert len(shown & MEASURES.keys()) >= len(MEASURES) * 2 // 3


@asynccontextmanager
async def prometheus(folder: Path, target: str) -> AsyncIterator[str]:
    """Run Prometheus, which scrapes an address twice a second; yield where it answers."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed (Debian's package of that name has it)")
    scraped = {"job_name": "forwarder", "scrape_interval": "500ms", "static_configs": [{"targets": [target]}]}
    (folder / "prometheus.yaml").write_text(yaml.safe_dump({"scrape_configs": [scraped]}), encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    words = [f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/data"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([program, *words, f"--web.listen-address={address}"], stdout=log, stderr=log)
    try:
        yield f"http://{address}"
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, PATIENCE)


async def query(session: aiohttp.ClientSession, expression: str) -> list[Any]:
    """Return what an expression gives now, with all that a user can choose chosen."""
    text = re.sub(r"\$(instance|destination)", ".*", expression).replace("$__rate_interval", "5s")
    async with session.get("/api/v1/query", params={"query": text}) as answer:
        found = await answer.json()
    assert found["status"] == "success", (text, found)
    return found["data"]["result"]  # type: ignore[no-any-return]


async def until_scraped(session: aiohttp.ClientSession) -> None:
    """Wait until Prometheus has several scrapes, so that there are rates."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                if await query(session, "count_over_time(forwarder_build_info[1m]) > 8"):
                    return
            except (aiohttp.ClientError, AssertionError):
                # It has not begun to answer, or not to scrape.
                pass
            await asyncio.sleep(0.2)


async def test_each_panel_shows_something(tmp_path: Path) -> None:
    """Prometheus scrapes a real daemon at work, and each expression gives a value; those about trouble give none."""
    trial = Trial(tmp_path / "f")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    trial.forwarder.config["admin"]["listen"].append(f"tcp:127.0.0.1:{port}")
    async with trial, trial.forwarder, prometheus(tmp_path, f"127.0.0.1:{port}") as url:
        sending = asyncio.create_task(keep_sending(trial))
        try:
            async with aiohttp.ClientSession(url) as session:
                await until_scraped(session)
                for title, expression in TARGETS:
                    found = await query(session, expression)
                    if not any(word in expression for word in OF_TROUBLE):
                        assert found, f"{title}: {expression}"
                        assert not [each for each in found if each["value"][1] == "NaN"], (title, found)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)


async def keep_sending(trial: Trial) -> None:
    """Send events as long as the test runs, over both ways."""
    with trial.forwarder.stream() as stream:
        while True:
            await trial.post()
            stream.sendall(b'{"eventSourceId":"app","eventType":"login","data":{}}\n')
            await asyncio.sleep(0.05)
