"""Fill a queue far beyond memory, drain it, and overflow a small one: every event is counted, and what it took.

    python -m tests.campaigns load --gigabytes 5 --events 1000000

First a queue of so many gigabytes is filled through the stream socket while its destination is
away. The daemon is killed, the system made to forget the file, and the daemon started again: it
must be ready within 2 s (`--start`), the start of Python included. Then the destination comes back:
every event must arrive exactly once, in order and byte for byte, and the file must give its space
back without a restart. At each step the peak of memory must stay below 110 MiB; a nearly empty
queue goes through the same steps for comparison.

Then a small queue that drops the oldest gets many times what fits: each event is accepted, each
drop counted, the disk stays within `max_bytes`, and the newest events arrive in order.

Five gigabytes take two minutes on two cores, and six gigabytes of disk.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.load.backlog import Backlog
from tests.load.finding import Finding
from tests.load.overflow import overflow
from tests.load.peers import MIB

# What a nearly empty queue holds: enough that each buffer on the way of an event was once full.
_FEW_BYTES = 8 * MIB
# Pages that are not quite full, the log and the reserve.
_OVERHEAD, _BESIDE = 1.15, 128 * MIB
_UNAVAILABLE = 69


@dataclass(slots=True)
class Report:
    """Everything that is told in the end: what was found, by part of the campaign."""

    parts: dict[str, list[Finding]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, part: str, findings: list[Finding]) -> None:
        """Add what a part has found, and what of it is not as promised."""
        self.parts[part] = findings
        broken = [finding for finding in findings if not finding.is_held]
        self.problems += [f"{part}: {one.what}: {one.figure:,} {one.unit}, at most {one.bound:,}" for one in broken]

    def print(self) -> None:
        """Print the report for people."""
        table = Table("", "found", "at most", "")
        for part, findings in self.parts.items():
            table.add_section()
            table.add_row(part, style="bold")
            for one in findings:
                bound = "" if one.bound is None else f"{one.bound:,g}"
                table.add_row(one.what, f"{one.figure:,}", bound, one.unit if one.is_held else f"{one.unit}: BROKEN")
        console = Console(width=120)
        console.print(table)
        for problem in self.problems:
            console.print(f"BROKEN: {problem}", markup=False)
        console.print(f"{self.seconds:.0f} s; promises broken: {len(self.problems)}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the campaign can be asked."""
    parser.add_argument("--gigabytes", type=float, default=5, metavar="G", help="size of the deep queue")
    parser.add_argument("--start", type=float, default=2, metavar="S", help="seconds that its start may take (2)")
    parser.add_argument("--events", type=int, default=1_000_000, metavar="N", help="events into the small queue")
    parser.add_argument("--mebibytes", type=int, default=40, metavar="M", help="max_bytes of the small queue")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--folder", type=Path, default=None, help="where the queues are put: the disk to try")


def run(options: argparse.Namespace) -> int:
    """Run the campaign; return 0 where every promise held, else 1, or 69 where the disk has too little room."""
    size = int(options.gigabytes * 1e9)
    room = int(size * _OVERHEAD) + _BESIDE
    # Whoever ends the campaign ends the forwarder with it: `finally` is on the way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    report = Report()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="load-", dir=options.folder) as name:
        folder = Path(name)
        if shutil.disk_usage(folder).free < room:
            _say(f"{folder} has less than {room / 1e9:.1f} GB of room; name another disk with --folder")
            return _UNAVAILABLE
        small = options.mebibytes * MIB
        asyncio.run(_part(report, "deep queue", lambda: _deep(folder, size, room, options.start)))
        asyncio.run(_part(report, "small queue", lambda: overflow(folder / "small", options.events, small)))
    report.seconds = round(time.monotonic() - began, 1)
    if options.json:
        print(json.dumps(asdict(report), indent=1))  # noqa: T201
    else:
        report.print()
    return 1 if report.problems else 0


async def _part(report: Report, name: str, act: Callable[[], Awaitable[list[Finding]]]) -> None:
    """Run a part, and note what it found, or that it could not come to its end."""
    _say(f"{name} …")
    try:
        report.add(name, await act())
    except Exception as error:
        # Whatever it is, the part did not go as promised.
        report.problems.append(f"{name}: {type(error).__name__}: {error}")


async def _deep(folder: Path, size: int, max_bytes: int, start: float) -> list[Finding]:
    few, many = Backlog.of(_FEW_BYTES), Backlog.of(size)
    await few.run(folder / "few", max_bytes)
    await many.run(folder / "many", max_bytes)
    return many.findings(few, start)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201
