"""What a campaign has found: a table of moments, and what was broken."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.campaigns.killing.chain import Life
from tests.campaigns.killing.shot import CREATING, MOMENTS
from tests.campaigns.killing.verdict import Problem, Tally

# Details that are shown of each promise that was broken.
_SHOWN = 5


@dataclass(slots=True)
class Row:
    """What happened at one kind of moment."""

    rounds: int = 0
    killed: int = 0
    tally: Tally = field(default_factory=Tally)


@dataclass(slots=True)
class Report:
    """Everything that is told in the end. `folder` is kept where something was broken."""

    seed: int
    rows: dict[str, Row] = field(default_factory=dict)
    chains: int = 0
    seconds: float = 0.0
    problems: list[Problem] = field(default_factory=list)
    broken_chain: int | None = None
    folder: str | None = None

    @property
    def total(self) -> Row:
        total = Row()
        for row in self.rows.values():
            total.rounds += row.rounds
            total.killed += row.killed
            total.tally += row.tally
        return total

    def add(self, lives: dict[int, Life]) -> None:
        """Count the lives of a chain."""
        for life in lives.values():
            row = self.rows.setdefault(life.moment, Row())
            row.rounds += 1
            row.killed += life.was_killed
            row.tally += life.tally

    def as_json(self) -> str:
        """Return the report for machines."""
        found: dict[str, Any] = asdict(self)
        found["total"] = asdict(self.total)
        return json.dumps(found, indent=1)

    def print(self) -> None:
        """Print the report for people."""
        table = Table(title="Killed with SIGKILL; an event counts once for each destination", title_justify="left")
        titles = ("accepted", "delivered", "dead", "lost", "unacked, arrived", "again: kill", "again: lost answer")
        table.add_column("moment")
        for title in ("rounds", "killed", *titles):
            table.add_column(title, justify="right")
        order = [CREATING.name, *(moment.name for moment in MOMENTS)]
        names = [name for name in order if name in self.rows] + [name for name in self.rows if name not in order]
        for name in names:
            table.add_row(name, *_cells(self.rows[name]))
        table.add_section()
        table.add_row("total", *_cells(self.total))
        console = Console(width=140, soft_wrap=True)
        console.print(table)
        for promise, count in Counter(promise for promise, _ in self.problems).items():
            console.print(f"BROKEN: {promise}: {count} times", markup=False)
            for detail in [text for name, text in self.problems if name == promise][:_SHOWN]:
                console.print(f"  {detail}", markup=False)
        lost = self.total.tally.lost
        console.print(
            f"seed {self.seed}: {self.total.rounds} rounds in {self.chains} chains, {self.seconds:.0f} s;"
            f" lost: {lost}; promises broken: {len({promise for promise, _ in self.problems})}"
        )
        if self.folder is not None:
            console.print(f"kept: {self.folder}")


def _cells(row: Row) -> list[str]:
    tally = row.tally
    counts = (tally.accepted, tally.delivered, tally.dead, tally.lost, tally.unknown)
    return [f"{count:,}" for count in (row.rounds, row.killed, *counts, tally.again, tally.again_lost_answer)]
