"""Medians and comparisons of a run, worked out from rows that are made up."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from tests.benchmarks.results import Row, as_json, comparisons, medians, table


def rounds(name: str, *figures: float, **more: object) -> list[Row]:
    return [Row(name, figure, "events/s", **more) for figure in figures]  # type: ignore[arg-type]


def test_each_quantity_has_its_own_median() -> None:
    """The median of the CPU is not the CPU of the round with the median speed."""
    rows = [
        Row("a", 10, "events/s", floor=20, cpu=3, memory=70),
        Row("a", 30, "events/s", floor=40, cpu=1, memory=90),
        Row("a", 20, "events/s", floor=90, cpu=2.5, memory=80),
    ]
    [row] = medians(rows)
    assert (row.figure, row.floor, row.cpu, row.memory) == (20, 40, 2.5, 80)
    assert row.ratio == 0.5


def test_the_spread_is_how_far_rounds_are_apart() -> None:
    """Highest to lowest, as a share of the median; one round says nothing of it."""
    [row] = medians(rounds("a", 90, 100, 130))
    assert row.spread == pytest.approx(0.4)
    assert medians(rounds("a", 90))[0].spread is None


def test_the_spread_of_what_has_a_floor_is_that_of_its_ratios() -> None:
    """Rounds that differ as their floors do, because the machine was slow for a while, are not apart."""
    [row] = medians([Row("a", 100, "events/s", floor=200), Row("a", 50, "events/s", floor=100)])
    assert row.spread == 0


def test_the_order_is_that_of_the_first_round() -> None:
    """A benchmark stands where it was first run."""
    rows = [*rounds("b", 1), *rounds("a", 2), *rounds("b", 3), *rounds("a", 4)]
    assert [row.name for row in medians(rows)] == ["b", "a"]


def test_what_was_not_measured_stays_unknown() -> None:
    """A row without floor, CPU and memory gets none from being a median."""
    [row] = medians(rounds("a", 1, 2, 3))
    assert (row.floor, row.cpu, row.memory, row.ratio) == (None, None, None, None)


def test_a_row_is_compared_with_those_beside_it() -> None:
    """Speed and CPU are given as multiples of each row beside it that the run has, by its short name."""
    peer, bare = Row("peer", 50, "events/s", cpu=4, short="Peer 1.0"), Row("bare", 200, "events/s")
    row = Row("own", 100, "events/s", cpu=3, beside=("peer", "bare", "not run"))
    assert comparisons(row, [peer, bare, row]) == ["2.00 times Peer 1.0, 0.75 of its CPU", "0.50 times bare"]
    assert comparisons(peer, [peer, row]) == []


def test_the_table_shows_all_of_a_row() -> None:
    """Figure, floor, ratio, CPU, memory, comparison and note are in the table."""
    rows = [
        Row("peer", 50, "events/s", cpu=4, short="Peer"),
        Row("own", 1000, "events/s", 2000, "bare", cpu=3.04, memory=89.6, note="noted", beside=("peer",)),
    ]
    console = Console(width=180, file=io.StringIO(), record=True)
    console.print(table(rows))
    line = next(line for line in console.export_text().splitlines() if " own " in line)
    cells = [cell.strip() for cell in line.strip("│").split("│")]
    seen = "20.00 times Peer, 0.76 of its CPU; noted"
    assert cells == ["own", "1,000.0 events/s", "2,000.0 bare", "0.50", "3.0 µs", "90 MiB", seen]


def test_json_has_what_was_worked_out() -> None:
    """Machines need not divide."""
    rows = [Row("a", 10, "events/s", floor=20), Row("b", 5, "events/s", beside=("a",))]
    first, second = as_json(rows)
    assert (first["ratio"], first["comparisons"]) == (0.5, [])
    assert (second["ratio"], second["comparisons"]) == (None, ["0.50 times a"])
