"""Let each call of the disk fail, one a round, and look for events that are lost, made up, overtaken or repeated.

    python -m tests.campaigns disk --calls 300 --seed 1
    python -m tests.campaigns disk --seed 1 --kind pwrite64:EIO --first 17 --calls 1    # this round again
    python -m tests.campaigns disk --calls 5 --first 40 --sabotage early-accept         # must fail

In the first round of a kind the first such call on the queue's files fails, in the second one the
second, and so on: strace answers it instead of the kernel. The real daemon meets it while it
starts, commits, settles, checkpoints or stops; events are posted until it has. Then the daemon is
ended, with or without warning, and started on a disk that works, and the books are checked. A
round takes one or two seconds, more where many calls must come before the one that fails.

Needs strace.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.campaigns.conducting import Report, conduct
from tests.campaigns.killing.sabotage import KINDS as SABOTAGE
from tests.faults.injection import Injection, why_no_tracer
from tests.faults.sweep import KINDS, Outcome, fail_one_call
from tests.faults.trial import LostError
from tests.faults.wrapped import FORWARDER

_NAMES = {f"{calls}:{error}": (calls, error) for calls, error in KINDS}
# After so many rounds in a row without a failure there are no more such calls: a few are made by some stops only.
_MISSES = 10
# Rounds of a kind after which it says how far it is.
_SHOWN = 25
_UNAVAILABLE = 69


@dataclass(slots=True)
class Row:
    """What happened with one kind of call; of a round in which a promise was broken, only what was lost."""

    kind: str
    rounds: int = 0
    broken: int = 0
    reached: int = 0
    at_start: int = 0
    accepted: int = 0
    refused: int = 0
    lost: int = 0
    duplicates: int = 0

    def add(self, outcome: Outcome) -> None:
        """Count a round that was good."""
        self.reached += outcome.reached
        self.at_start += outcome.at_start
        self.accepted += outcome.accepted
        self.refused += outcome.refused
        self.duplicates += outcome.duplicates


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the campaign can be asked."""
    parser.add_argument("--calls", type=int, default=300, metavar="N", help="how many calls of each kind fail, in turn")
    parser.add_argument("--first", type=int, default=1, metavar="K", help="begin with the K-th call")
    parser.add_argument("--seed", type=int, default=None, metavar="S", help="repeats a run, as far as timing allows")
    parser.add_argument("--kind", action="append", choices=_NAMES, help="only this one; may be repeated")
    parser.add_argument("--jobs", type=int, default=2, metavar="J", help="rounds at the same time")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--folder", type=Path, default=None, help="where the queues are put: the disk to try")
    parser.add_argument("--sabotage", choices=SABOTAGE, help="break a promise on purpose: the campaign must find it")


def run(options: argparse.Namespace) -> int:
    """Run the campaign; return 0 where every promise held, else 1, or 69 where calls cannot be made to fail."""
    if reason := why_no_tracer():
        _say(reason)
        return _UNAVAILABLE
    return conduct(
        options,
        lambda seed: Report(seed, "One call failed in each round", Row),
        lambda report: _run(report, options),
    )


async def _run(report: Report[Row], options: argparse.Namespace) -> None:
    rounds = _rounds(report, options)

    async def work() -> None:
        for sweep, call in rounds:
            await sweep.fail(call)

    async with asyncio.TaskGroup() as group:
        for _ in range(options.jobs):
            group.create_task(work())
    if not report.total.reached and not report.problems:
        report.problems.append("no call was reached: nothing was put to the test")


def _rounds(report: Report[Row], options: argparse.Namespace) -> Iterator[tuple[Sweep, int]]:
    """Yield what is to fail, as long as there are such calls."""
    for name in options.kind or _NAMES:
        sweep = Sweep(report, name, options)
        for call in range(options.first, options.first + options.calls):
            if sweep.is_over:
                break
            yield sweep, call


class Sweep:
    """The rounds of one kind."""

    def __init__(self, report: Report[Row], name: str, options: argparse.Namespace) -> None:
        self._report = report
        self._row = Row(name)
        self._calls, self._error = _NAMES[name]
        self._folder: Path | None = options.folder
        self._sabotage: str | None = options.sabotage
        self._misses = 0
        report.rows.append(self._row)

    @property
    def is_over(self) -> bool:
        """Whether such calls are not reached any more."""
        return self._misses >= _MISSES

    async def fail(self, call: int) -> None:
        """Run the round in which this call fails."""
        row, seed = self._row, self._report.seed
        folder = Path(tempfile.mkdtemp(prefix="disk-", dir=self._folder))
        module = FORWARDER if self._sabotage is None else ("tests.campaigns.killing.sabotage", self._sabotage)
        chance = random.Random(f"{seed}:{row.kind}:{call}")
        try:
            outcome = await fail_one_call(folder / "f", Injection(self._calls, self._error, call), chance, module)
        except Exception as error:
            # Whatever it is, the round did not go as promised.
            row.broken += 1
            row.lost += len(error.events) if isinstance(error, LostError) else 0
            again = f"--seed {seed} --kind {row.kind} --first {call} --calls 1"
            again += f" --sabotage {self._sabotage}" if self._sabotage else ""
            self._report.problems.append(f"{_what(error)}\n  kept: {folder}; again: {again}")
            _say(f"{row.kind}, call {call}: BROKEN: {_what(error)}")
        else:
            row.add(outcome)
            self._misses = 0 if outcome.reached else self._misses + 1
            shutil.rmtree(folder)
        row.rounds += 1
        if row.rounds % _SHOWN == 0:
            _say(f"{row.kind}: {row.rounds} rounds, {row.broken} broken; {row.accepted:,} accepted, {row.lost} lost")


def _what(error: Exception) -> str:
    """Return what was broken, and the line of the check that found it: many say no more than that."""
    check = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(check.filename).name}:{check.lineno}: {check.line})"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201
