"""The crash campaign, short: the forwarder passes, and one that accepts too early does not."""

from __future__ import annotations

from pathlib import Path

from tests.campaigns.command import campaign


def test_nothing_is_lost(tmp_path: Path) -> None:
    """Killed at a dozen moments, the forwarder loses, makes up and changes nothing, and its accounts add up."""
    code, report = campaign("crash", tmp_path, "--rounds", "12", "--seed", "1")
    assert (code, report["problems"]) == (0, [])
    total = report["total"]
    assert total["killed"] >= 8
    assert total["tally"]["accepted"] == total["tally"]["delivered"] + total["tally"]["dead"] > 0
    assert list(tmp_path.iterdir()) == []


def test_an_early_accept_is_found(tmp_path: Path) -> None:
    """A forwarder that accepts before its commit is caught: events are missing, and the folder is kept."""
    code, report = campaign("crash", tmp_path, "--rounds", "6", "--seed", "16", "--sabotage", "early-accept")
    assert (code, {promise for promise, _ in report["problems"]}) == (1, {"accepted is durable"}), report["problems"]
    assert report["total"]["tally"]["lost"] > 0
    assert (Path(report["folder"]) / "journals").is_dir()
