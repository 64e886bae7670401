"""A module that the fast lane reaches less of than it must is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.floors import Floors, main, read

ROOT = Path(__file__).parent.parent
FLOORS = Floors(usual=90, lower={"forwarder/cli/run.py": 40})


def test_a_module_under_its_floor_is_told() -> None:
    """The usual floor holds for every module that has none of its own, a new one too."""
    assert FLOORS.broken({"forwarder/a.py": 90.0, "forwarder/cli/run.py": 40.0}) == []
    assert FLOORS.broken({"forwarder/a.py": 89.9, "forwarder/cli/run.py": 39.9}) == [
        "forwarder/a.py: 89.9 % is reached, and its floor is 90 %",
        "forwarder/cli/run.py: 39.9 % is reached, and its floor is 40 %",
    ]


def test_a_floor_without_a_module_is_told() -> None:
    """The floor of a module that was moved must not stay behind."""
    assert FLOORS.broken({"forwarder/a.py": 100.0}) == ["forwarder/cli/run.py: it has a floor, and was not measured"]


def test_each_lower_floor_is_of_a_module_and_lower() -> None:
    """What is in the file can be kept: it names modules that exist, with less than the usual floor."""
    floors = Floors.load()
    assert {module for module in floors.lower if not (ROOT / module).is_file()} == set()
    assert {module for module, floor in floors.lower.items() if not 0 <= floor < floors.usual} == set()


@pytest.mark.parametrize(("percent", "code"), [(99.0, 0), (1.0, 1)])
def test_the_exit_code_says_whether_all_are_above(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], percent: float, code: int
) -> None:
    """A report is read as coverage writes it; a module under its floor makes the run fail."""
    modules = [*Floors.load().lower, "forwarder/new.py"]
    files = {module: {"summary": {"percent_covered": percent}} for module in modules}
    report = tmp_path / "coverage.json"
    report.write_text(json.dumps({"files": files}))
    assert read(report)["forwarder/new.py"] == percent
    assert main([str(report)]) == code
    assert ("forwarder/new.py: 1.0 % is reached" in capsys.readouterr().out) == (code == 1)
