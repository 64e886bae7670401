"""What a run says has changed since the last ones, and the lines that it is kept in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.benchmarks import record
from tests.benchmarks.record import Measure, Run, changes
from tests.benchmarks.results import Row


def run(
    figure: float, *, unit: str = "events/s", machine: str = "here", scale: float = 1.0, **more: float | None
) -> Run:
    known = {"ratio": None, "cpu": None, "memory": None, "spread": 0.01, **more}
    measures = {"a": Measure(figure, unit, **known)}
    return Run("0123456789ab", "2024-01-01T00:00:00+00:00", machine, 0.1, scale, 3, measures)


def test_a_change_within_the_noise_is_none() -> None:
    """Less than a tenth is not called a change, nor is what the rounds of this run differ by themselves."""
    assert changes(run(109), [run(100)]) == []
    assert changes(run(130, spread=0.4), [run(100)]) == []


def test_a_change_beyond_the_noise_is_told() -> None:
    """What it is against, and how large the noise is, are said with it."""
    assert changes(run(80), [run(100)]) == ["a: speed -20% against the last run; noise is 10%"]
    assert changes(run(130, spread=0.2), [run(100)]) == ["a: speed +30% against the last run; noise is 20%"]


def test_one_round_says_nothing_of_its_noise() -> None:
    """Three tenths may be chance where there is no other round to compare with; its memory is as certain as ever."""
    assert changes(run(125, spread=None), [run(100)]) == []
    assert changes(run(140, spread=None), [run(100)]) == ["a: speed +40% against the last run; noise is 30%"]
    found = changes(run(100, spread=None, memory=120), [run(100, memory=100)])
    assert found == ["a: peak memory +20% against the last run; noise is 10%"]


def test_earlier_runs_that_differ_are_noise() -> None:
    """As far as the earlier runs are apart, a new one may be, too; it is held against their median."""
    earlier = [run(80), run(100), run(110)]
    assert changes(run(75), earlier) == []
    assert changes(run(60), earlier) == ["a: speed -40% against the median of the last 3 runs; noise is 30%"]


def test_only_the_last_runs_count() -> None:
    """Runs of long ago are neither compared with nor noise."""
    earlier = [run(1000), *(run(100) for _ in range(5))]
    assert changes(run(105), earlier) == []
    assert changes(run(150), earlier) == ["a: speed +50% against the median of the last 5 runs; noise is 10%"]


@pytest.mark.parametrize("other", [{"machine": "there"}, {"scale": 0.5}])
def test_other_machines_and_amounts_are_not_compared(other: dict[str, float]) -> None:
    """A figure of another machine, or of less work, says nothing about this one."""
    assert changes(run(50), [run(100, **other)]) == []  # type: ignore[arg-type]


def test_the_ratio_to_the_floor_is_compared_where_there_is_one() -> None:
    """A slow hour of the machine slows the floor as well, and is no change."""
    assert changes(run(50, ratio=0.5), [run(100, ratio=0.5)]) == []
    assert changes(run(100, ratio=0.25), [run(100, ratio=0.5)]) == ["a: speed -50% against the last run; noise is 10%"]


def test_more_milliseconds_are_less_speed() -> None:
    """A latency that doubled is half the speed, with or without a floor."""
    assert changes(run(2, unit="ms"), [run(1, unit="ms")]) == ["a: speed -50% against the last run; noise is 10%"]
    found = changes(run(2, unit="ms", ratio=4), [run(1, unit="ms", ratio=2)])
    assert found == ["a: speed -50% against the last run; noise is 10%"]


def test_cpu_and_memory_are_compared_as_well() -> None:
    """A run may be as fast as ever and take more of the machine for it."""
    found = changes(run(100, cpu=6, memory=180), [run(100, cpu=4, memory=90)])
    assert found == [
        "a: CPU an event +50% against the last run; noise is 10%",
        "a: peak memory +100% against the last run; noise is 10%",
    ]


def test_a_new_benchmark_has_nothing_to_be_compared_with() -> None:
    """Neither a first run nor a new row says anything."""
    assert changes(run(1), []) == []
    assert changes(run(1), [replace(run(100), measures={})]) == []


def test_a_run_is_read_back_as_it_was_added(tmp_path: Path) -> None:
    """Each run is a line of its own, at the end."""
    file = tmp_path / "record.ndjson"
    assert record.read(file) == []
    runs = [run(100, cpu=4.5), run(2, unit="ms", ratio=3)]
    for added in runs:
        record.add(added, file)
    assert record.read(file) == runs
    assert file.read_bytes().count(b"\n") == 2


def test_a_run_knows_its_code_and_machine() -> None:
    """The line names the commit, the day, the processor and Python, and keeps four digits of each figure."""
    row = Row("a", 123_456.789, "events/s", floor=200_000, cpu=4.56789, memory=88.8888, spread=0.123456)
    made = record.run_of([row], load=0.25, scale=1.0, rounds=5)
    assert made.measures == {"a": Measure(123_500, "events/s", 0.6173, 4.568, 88.89, 0.1235)}
    assert "cores, Python 3." in made.machine
    assert made.date.endswith("+00:00")
    assert made.commit


def test_a_run_without_git_has_an_unknown_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The source distribution can be measured where there is neither a repository nor git."""
    monkeypatch.setenv("PATH", "")
    assert record.run_of([], load=0.25, scale=1.0, rounds=5).commit == "unknown"


def test_the_record_can_be_read() -> None:
    """Every line that is kept with the code is one that a run can be compared with."""
    assert all(run.measures for run in record.read(record.FILE))
