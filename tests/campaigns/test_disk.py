"""The campaign of failing calls, short: the forwarder passes, and one that accepts too early does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.campaigns.command import campaign
from tests.faults.injection import skip_without_tracer
from tests.faults.sweep import KINDS

pytestmark = pytest.mark.system


@pytest.fixture(autouse=True)
def tracer() -> None:
    skip_without_tracer()


def test_nothing_is_lost(tmp_path: Path) -> None:
    """Whichever call fails, at a start or later, nothing is lost, and each kind has its row."""
    code, report = campaign("disk", tmp_path, "--calls", "1", "--first", "12", "--seed", "1")
    assert (code, report["problems"]) == (0, [])
    assert [row["kind"] for row in report["rows"]] == [f"{calls}:{error}" for calls, error in KINDS]
    total = report["total"]
    assert total["rounds"] == len(KINDS)
    assert total["reached"] > 0
    assert total["accepted"] > 0
    assert (total["broken"], total["lost"]) == (0, 0)
    assert list(tmp_path.iterdir()) == []


def test_a_kind_ends_where_no_call_is_reached(tmp_path: Path) -> None:
    """Calls that are not made any more are not waited for; a campaign in which none failed is no proof."""
    words = ("--kind", "ftruncate:EIO", "--first", "10", "--calls", "300", "--jobs", "4")
    code, report = campaign("disk", tmp_path, *words)
    assert code == 1
    assert report["problems"] == ["no call was reached: nothing was put to the test"]
    assert report["total"]["rounds"] < 30


def test_an_early_accept_is_found(tmp_path: Path) -> None:
    """A forwarder that accepts before its commit is caught, the folder kept, and the round can be repeated."""
    words = ("--kind", "pwrite64:ENOSPC", "--first", "40", "--calls", "3", "--seed", "1")
    code, report = campaign("disk", tmp_path, *words, "--sabotage", "early-accept")
    assert code == 1
    assert report["total"]["broken"] == len(report["problems"]) == len(list(tmp_path.iterdir())) > 0
    assert "--seed 1 --kind pwrite64:ENOSPC --first 4" in report["problems"][0]
