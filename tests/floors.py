"""How much of each module the fast lane must reach: `python -m tests.floors REPORT`.

The report is what `pytest --cov=forwarder --cov-report=json:REPORT` leaves. The floors are in floors.toml: one for all
modules, and a lower one where what a module does needs a whole process, which only the slow tests start.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

FLOORS = Path(__file__).with_name("floors.toml")


@dataclass(frozen=True)
class Floors:
    """The least percentage of lines and branches that tests must reach in each module."""

    usual: float
    lower: Mapping[str, float]

    @classmethod
    def load(cls, file: Path = FLOORS) -> Floors:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
        return cls(found["usual"], found["lower"])

    def broken(self, reached: Mapping[str, float]) -> list[str]:
        """Return what is wrong with a run that reached these percentages, a line for each module."""
        found = [
            f"{module}: {percent:.1f} % is reached, and its floor is {floor:g} %"
            for module, percent in sorted(reached.items())
            if percent < (floor := self.lower.get(module, self.usual))
        ]
        found += [f"{module}: it has a floor, and was not measured" for module in sorted(self.lower.keys() - reached)]
        return found


def read(report: Path) -> dict[str, float]:
    """Return the percentage that was reached in each module."""
    files = json.loads(report.read_bytes())["files"]
    return {module: file["summary"]["percent_covered"] for module, file in files.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print which modules are under their floor; return 1 if there are any."""
    parser = argparse.ArgumentParser(prog="python -m tests.floors", description=__doc__)
    parser.add_argument("report", type=Path, help="coverage's report as JSON")
    reached = read(parser.parse_args(arguments).report)
    if broken := Floors.load().broken(reached):
        sys.stdout.write("\n".join([*broken, "Add tests, or say in tests/floors.toml why this module needs fewer.\n"]))
        return 1
    sys.stdout.write(f"{len(reached)} modules are above their floors.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
