"""What a run found: a row for each benchmark in each round, the medians of them, and how they compare."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from rich.table import Table


@dataclass(frozen=True)
class Row:
    """One result: a figure with its unit, its floor where there is one, and what else was seen."""

    name: str
    figure: float
    unit: str
    floor: float | None = None
    floor_name: str = ""
    cpu: float | None = None
    """Microseconds of CPU an event."""
    memory: float | None = None
    """Peak of resident memory, in MiB."""
    note: str = ""
    short: str = ""
    """What this row is called where others are compared with it."""
    beside: tuple[str, ...] = ()
    """The rows of the same run that this one is compared with."""
    spread: float | None = None
    """How far the rounds were apart, highest to lowest, as a share of the median: their ratios, or figures without a
    floor. None with one round."""

    @property
    def ratio(self) -> float | None:
        return self.figure / self.floor if self.floor else None


def medians(rows: Iterable[Row]) -> list[Row]:
    """Return each benchmark once: the medians of its rounds, in the order of the first one.

    Each quantity has its own median: CPU and memory are not those of the round whose speed is in the middle.
    """
    rounds: dict[str, list[Row]] = {}
    for row in rows:
        rounds.setdefault(row.name, []).append(row)
    return [_median(found) for found in rounds.values()]


def _median(found: Sequence[Row]) -> Row:
    said = [row.figure if row.ratio is None else row.ratio for row in found]
    return replace(
        found[-1],
        figure=statistics.median(row.figure for row in found),
        floor=_middle([row.floor for row in found]),
        cpu=_middle([row.cpu for row in found]),
        memory=_middle([row.memory for row in found]),
        spread=(max(said) - min(said)) / statistics.median(said) if len(found) > 1 else None,
    )


def _middle(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def comparisons(row: Row, rows: Sequence[Row]) -> list[str]:
    """Say how often a row is as fast as each of those beside it, and with how much of their CPU."""
    others = {other.name: other for other in rows}
    return [_comparison(row, others[name]) for name in row.beside if name in others]


def _comparison(row: Row, other: Row) -> str:
    said = f"{row.figure / other.figure:.2f} times {other.short or other.name}"
    return f"{said}, {row.cpu / other.cpu:.2f} of its CPU" if row.cpu and other.cpu else said


def table(rows: Sequence[Row]) -> Table:
    """Return the table of a run."""
    made = Table()
    for column in ("benchmark", "figure", "floor", "ratio", "CPU an event", "peak", "seen"):
        made.add_column(column, justify="left" if column in {"benchmark", "seen"} else "right")
    for row in rows:
        made.add_row(
            row.name,
            f"{row.figure:,.1f} {row.unit}",
            f"{row.floor:,.1f} {row.floor_name}" if row.floor else "",
            f"{row.ratio:.2f}" if row.ratio else "",
            f"{row.cpu:.1f} µs" if row.cpu is not None else "",
            f"{row.memory:.0f} MiB" if row.memory is not None else "",
            "; ".join([*comparisons(row, rows), *filter(None, [row.note])]),
        )
    return made


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the rows for machines, ratios and comparisons worked out."""
    return [{**asdict(row), "ratio": row.ratio, "comparisons": comparisons(row, rows)} for row in rows]
