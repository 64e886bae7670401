"""The power campaign on a system that lacks what it needs, and what its report says."""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import pytest

from tests.campaigns.power import campaign
from tests.campaigns.power.campaign import Cut, Report, draw_plan


def words(*given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    campaign.add_arguments(parser)
    return parser.parse_args(given)


def test_names_the_package_that_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without qemu the campaign says what to install, and exits with a code of its own."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert campaign.run(words("--cuts", "1")) == 69
    assert "qemu-system-x86_64 is missing: apt-get install qemu-system-x86" in capsys.readouterr().err


def test_plans_are_repeatable() -> None:
    """The same seed gives the same plans, and cuts come in each kind of moment."""
    first, second = ([draw_plan(random.Random(seed)) for seed in range(50)] for _ in range(2))
    assert first == second
    assert {plan.moment for plan in first} == {"start", "write", "time"}


def test_a_report_is_good_without_losses_and_troubles_only() -> None:
    """One lost event, or anything else that broke a promise, makes the report a bad one."""
    good = Report(1, None, [Cut(1, "time", accepted=5), Cut(2, "write", accepted=3, duplicates=1)])
    assert good.is_good
    assert good.total() == {
        "cuts": 2,
        "found": 8,
        "accepted": 8,
        "lost": 0,
        "duplicates": 1,
        "cached": 0,
        "dropped": 0,
    }
    assert not Report(1, None, [Cut(1, "time", accepted=5, lost=1)]).is_good
    assert not Report(1, None, good.cuts, ["something"]).is_good
