"""A record of runs, a line of JSON each, and what has changed since the last ones.

Only runs of the same machine and the same amount of work are compared. Where a row has a floor, its ratio to the floor
is, since both were measured within a minute of each other; where it has none, the figure itself. A change
counts if it is larger than the noise: as far as the rounds of this run were apart, or the earlier runs from one
another, whichever is more. One round says nothing of its noise, so much is allowed for.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.benchmarks.results import Row

FILE = Path(__file__).with_name("record.ndjson")
# So many earlier runs are compared with. More would hold today against a machine or a code of long ago.
_RUNS = 5
# What is smaller is never called a change: on a shared machine, two runs of the same code differ by as much.
_LEAST_NOISE = 0.1
# What two rounds of the same code may differ by when the machine has something else to do, as with most single rounds.
_NOISE_OF_ONE = 0.3


@dataclass(frozen=True)
class Measure:
    """What is kept of a row."""

    figure: float
    unit: str
    ratio: float | None
    cpu: float | None
    memory: float | None
    spread: float | None

    @classmethod
    def of(cls, row: Row) -> Measure:
        return cls(
            _rounded(row.figure) or 0.0,
            row.unit,
            _rounded(row.ratio),
            _rounded(row.cpu),
            _rounded(row.memory),
            _rounded(row.spread),
        )

    @property
    def speed(self) -> float:
        """The quantity that is compared, so that more is better."""
        found = self.figure if self.ratio is None else self.ratio
        return 1 / found if self.unit == "ms" else found


@dataclass(frozen=True)
class Run:
    """One run: of which code, when, where, how much, and what it measured."""

    commit: str
    date: str
    machine: str
    load: float
    """The load average of the minute before: a run beside other work says little."""
    scale: float
    rounds: int
    measures: Mapping[str, Measure]

    def line(self) -> str:
        """Return the run as a line of the record."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def parse(cls, line: str) -> Run:
        """Read a line of the record."""
        found: dict[str, Any] = json.loads(line)
        measures = {name: Measure(**measure) for name, measure in found.pop("measures").items()}
        return cls(**found, measures=measures)


def changes(run: Run, earlier: Sequence[Run]) -> list[str]:
    """Say what differs from the last runs on this machine by more than the noise, in the order of the table."""
    same = [past for past in earlier if (past.machine, past.scale) == (run.machine, run.scale)]
    said: list[str] = []
    for name, now in run.measures.items():
        past = [found.measures[name] for found in same if name in found.measures][-_RUNS:]
        if past:
            spread = _NOISE_OF_ONE if now.spread is None else now.spread
            said += _changed(name, "speed", now.speed, [measure.speed for measure in past], spread)
            said += _changed(name, "CPU an event", now.cpu, [measure.cpu for measure in past], spread)
            said += _changed(name, "peak memory", now.memory, [measure.memory for measure in past], 0.0)
    return said


def _changed(name: str, what: str, now: float | None, past: Sequence[float | None], spread: float) -> Iterator[str]:
    before = [value for value in past if value]
    if not now or not before:
        return
    usual = statistics.median(before)
    noise = max(_LEAST_NOISE, spread, (max(before) - min(before)) / usual)
    change = now / usual - 1
    if abs(change) > noise:
        runs = "the last run" if len(before) == 1 else f"the median of the last {len(before)} runs"
        yield f"{name}: {what} {change:+.0%} against {runs}; noise is {noise:.0%}"


def read(file: Path) -> list[Run]:
    """Return the recorded runs, the oldest first."""
    if not file.exists():
        return []
    return [Run.parse(line) for line in file.read_text(encoding="utf-8").splitlines()]


def add(run: Run, file: Path) -> None:
    """Add a run at the end of the record."""
    with file.open("a", encoding="utf-8") as out:
        out.write(run.line() + "\n")


def load_now() -> float:
    """Return the load average of the last minute; asked before a run, which is a load itself."""
    return round(os.getloadavg()[0], 2)


def run_of(rows: Sequence[Row], *, load: float, scale: float, rounds: int) -> Run:
    """Return what a run measured, with the code and the machine it measured."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Run(_commit(), now, _machine(), load, scale, rounds, {row.name: Measure.of(row) for row in rows})


def _commit() -> str:
    """Return the commit that was measured, with a plus sign if the forwarder's files differ from it."""
    commit = _git("rev-parse", "--short=12", "HEAD")
    return f"{commit}+" if _git("status", "--porcelain", "--", "../../forwarder") else commit or "unknown"


def _git(*words: str) -> str:
    """Return what git says; nothing where there is none, or these files are in no repository."""
    git = shutil.which("git")
    if git is None:
        return ""
    command = [git, "-C", str(FILE.parent), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _machine() -> str:
    """Return what figures depend on: processor, its cores, and Python."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    models = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    model = models[0] if models else platform.machine()
    return f"{model}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}"


def _rounded(value: float | None) -> float | None:
    """Return four digits: more are noise, and make lines that nobody can read."""
    return None if value is None else float(f"{value:.4g}")
