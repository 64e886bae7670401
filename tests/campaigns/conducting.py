"""What campaigns have in common: a seed, a report that is printed in the end, a table of figures by kind."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Generic, Protocol, TypeVar

from rich.console import Console
from rich.table import Table


class Told(Protocol):
    """What a campaign tells in the end."""

    seconds: float

    @property
    def problems(self) -> Sequence[object]:
        """The promises that were broken."""

    def as_json(self) -> str:
        """Return the report for machines."""

    def print(self) -> None:
        """Print the report for people."""


R = TypeVar("R", bound=Told)
Row = TypeVar("Row")


def conduct(options: argparse.Namespace, begin: Callable[[int], R], act: Callable[[R], Awaitable[None]]) -> int:
    """Run a campaign with its seed and print its report; return 0 where every promise held, else 1."""
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    # Whoever ends the campaign ends what it has started with it: `finally` is on the way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    report = begin(seed)
    began = time.monotonic()

    async def run() -> None:
        await act(report)

    asyncio.run(run())
    report.seconds = round(time.monotonic() - began, 1)
    if options.json:
        print(report.as_json())  # noqa: T201
    else:
        report.print()
    return 1 if report.problems else 0


@dataclass(slots=True)
class Report(Generic[Row]):
    """Figures by kind: a row of `row_type`, a dataclass, has its kind first, then numbers only."""

    seed: int
    title: str
    row_type: Callable[..., Row]
    rows: list[Row] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def figures(self) -> list[str]:
        """The names of the numbers."""
        return [item.name for item in fields(self.row_type)][1:]  # type: ignore[arg-type]

    @property
    def total(self) -> Row:
        """The figures of all kinds together."""
        return self.row_type("total", *(sum(getattr(row, name) for row in self.rows) for name in self.figures))

    def as_json(self) -> str:
        """Return the report for machines."""
        rows: Sequence[Any] = [*self.rows, self.total]
        *found, total = [asdict(row) for row in rows]
        told = {"seed": self.seed, "rows": found, "total": total, "problems": self.problems, "seconds": self.seconds}
        return json.dumps(told, indent=1)

    def print(self) -> None:
        """Print the report for people."""
        table = Table(title=self.title, title_justify="left")
        table.add_column("kind")
        for name in self.figures:
            table.add_column(name.replace("_", " "), justify="right")
        for row in self.rows:
            table.add_row(*self._cells(row))
        table.add_section()
        table.add_row(*self._cells(self.total))
        console = Console(width=120, soft_wrap=True)
        console.print(table)
        for problem in self.problems:
            console.print(f"BROKEN: {problem}", markup=False)
        broken = len(self.problems)
        console.print(f"seed {self.seed}: {self.seconds:.0f} s; promises broken: {broken}")

    def _cells(self, row: Any) -> list[str]:
        return [row.kind, *(f"{getattr(row, name):,}" for name in self.figures)]
