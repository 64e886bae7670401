"""The alerts of config/prometheus-alerts.yaml, evaluated by promtool over what a real daemon answered."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Set
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.documents import ROOT
from tests.integration.process import Forwarder

FILE = ROOT / "config/prometheus-alerts.yaml"
RULES = yaml.safe_load(FILE.read_text(encoding="utf-8"))["groups"][0]["rules"]
ALERTS = frozenset(rule["alert"] for rule in RULES)

Scrape = dict[str, float]
"""Every sample of an answer: its name with its labels, as PromQL writes them, and its value."""

_TARGET = {"job": "forwarder", "instance": "host:7711"}
UP = 'up{job="forwarder",instance="host:7711"}'

# What a scrape said is taken to have been so for as many minutes before, and to stay so for as many after.
_BEFORE, _AFTER = 5, 40


async def scrape(forwarder: Forwarder) -> Scrape:
    """Ask a daemon for its metrics, as Prometheus does."""
    status, text = await forwarder.admin("GET", "/metrics")
    assert status == 200
    # What Prometheus itself notes of each scrape.
    found: Scrape = {UP: 1.0}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            # Prometheus adds them when it scrapes.
            labels = {**sample.labels, **_TARGET}
            found[f"{sample.name}{{{','.join(f'{name}={_quoted(value)}' for name, value in labels.items())}}}"] = (
                sample.value
            )
    return found


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def promtool() -> str:
    """Return where promtool is. Skips a test where it is not installed."""
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed (Debian's package prometheus has it)")
    return found


def check_alerts(folder: Path, before: Scrape, after: Scrape, expected: Set[str]) -> None:
    """Check that exactly these alerts fire where the first was so for a while, and then the other is so for long."""
    words = [promtool(), "test", "rules", str(folder / "test.yaml")]
    series = [{"series": name, "values": _values(before.get(name), after.get(name))} for name in {**before, **after}]
    (folder / "test.yaml").write_text(
        yaml.safe_dump(
            {
                "rule_files": [str(FILE)],
                "evaluation_interval": "1m",
                "tests": [
                    {
                        "interval": "1m",
                        "input_series": series,
                        "promql_expr_test": [_fires(alert, alert in expected) for alert in sorted(ALERTS)],
                    }
                ],
            }
        ),
        encoding="utf-8",
    )
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def _values(before: float | None, after: float | None) -> str:
    """Return the values of a series in promtool's notation; None where it is not there."""
    parts = [(before, _BEFORE), (after, _AFTER)]
    return " ".join(f"_x{count}" if value is None else f"{value:f}+0x{count - 1}" for value, count in parts)


def _fires(alert: str, fires: bool) -> dict[str, object]:
    """Return a test that an alert fires at some time, or at none."""
    firing = f'count_over_time(ALERTS{{alertname="{alert}", alertstate="firing"}}[{_BEFORE + _AFTER}m])'
    return {
        "expr": f"count(count by (alertname) ({firing}))",
        "eval_time": f"{_BEFORE + _AFTER}m",
        "exp_samples": [{"labels": "{}", "value": 1}] if fires else [],
    }
