"""The crash campaign, short: the forwarder passes, and one that accepts too early does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
# A process that is killed tells no coverage, and asyncio's debug mode makes every moment another one.
LEFT_OUT = ("PYTHONASYNCIODEBUG", "COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START")


def campaign(folder: Path, *words: str) -> tuple[int, dict[str, Any]]:
    """Run it; return the exit code and the report."""
    command = [sys.executable, "-m", "tests.campaigns", "crash", "--json", "--folder", str(folder), *words]
    env = {name: value for name, value in os.environ.items() if name not in LEFT_OUT}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_nothing_is_lost(tmp_path: Path) -> None:
    """Killed at a dozen moments, the forwarder loses, makes up and changes nothing, and its accounts add up."""
    code, report = campaign(tmp_path, "--rounds", "12", "--seed", "1")
    assert (code, report["problems"]) == (0, [])
    total = report["total"]
    assert total["killed"] >= 8
    assert total["tally"]["accepted"] == total["tally"]["delivered"] + total["tally"]["dead"] > 0
    assert list(tmp_path.iterdir()) == []


def test_an_early_accept_is_found(tmp_path: Path) -> None:
    """A forwarder that accepts before its commit is caught: events are missing, and the folder is kept."""
    code, report = campaign(tmp_path, "--rounds", "6", "--seed", "16", "--sabotage", "early-accept")
    assert code == 1
    assert report["total"]["tally"]["lost"] > 0
    assert "accepted is durable" in {promise for promise, _ in report["problems"]}
    assert (Path(report["folder"]) / "journals").is_dir()
