"""Kill the forwarder at all moments, and look for events that are lost, made up, changed or repeated.

    python -m tests.campaigns crash --rounds 1000 --seed 1
    python -m tests.campaigns crash --rounds 20 --seed 1 --sabotage early-accept    # must fail

The real daemon is killed with SIGKILL while it starts, opens its queue, commits, sends, settles,
checkpoints or stops, and is started again, round after round, while producers on every way in keep
synced journals of what was accepted, and destinations fail by chance. After each chain of rounds
the queue is drained, and all that was written down must agree.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from tests.campaigns.conducting import conduct
from tests.campaigns.killing.chain import Chain
from tests.campaigns.killing.report import Report
from tests.campaigns.killing.sabotage import KINDS

# Rounds that a queue is reused for.
_ROUNDS = (6, 14)
# Seconds between two chances for other threads: those that shoot must not wait for the event loop.
_SWITCH = 0.0005


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the campaign can be asked."""
    parser.add_argument("--rounds", type=int, default=100, metavar="N", help="how often the forwarder is killed")
    parser.add_argument("--seed", type=int, default=None, metavar="S", help="repeats a run, as far as timing allows")
    parser.add_argument("--chain", type=int, default=1, metavar="K", help="begin with this chain of the seed")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--folder", type=Path, default=None, help="where the queues are put: the disk to try")
    parser.add_argument(
        "--sabotage",
        choices=[*KINDS, "no-sync"],
        help="break a promise on purpose: the campaign must find it (no-sync shows at a power cut only)",
    )


def run(options: argparse.Namespace) -> int:
    """Run the campaign; return 0 where every promise held, else 1."""
    if options.sabotage == "no-sync":
        print(  # noqa: T201
            "A killed process leaves what it wrote with the system, synced or not: no-sync shows at a power cut only.",
            file=sys.stderr,
        )
        return 2
    sys.setswitchinterval(_SWITCH)
    return conduct(options, Report, lambda report: _run(report, options))


async def _run(report: Report, options: argparse.Namespace) -> None:
    left, number = options.rounds, options.chain
    while left > 0 and not report.problems:
        seed = f"{report.seed}:{number}"
        rounds = min(left, random.Random(seed).randint(*_ROUNDS))
        folder = Path(tempfile.mkdtemp(prefix="crash-", dir=options.folder))
        began = time.monotonic()
        # Kept where something was broken, here or there.
        report.folder, report.broken_chain = str(folder), number
        await _run_chain(report, folder, seed, rounds, options.sabotage)
        if not report.problems:
            report.folder = report.broken_chain = None
            shutil.rmtree(folder)
        verdict = "BROKEN" if report.problems else "held"
        lost = report.total.tally.lost
        print(  # noqa: T201
            f"chain {number}: {rounds} rounds, {time.monotonic() - began:.1f} s, {verdict};"
            f" {report.total.tally.accepted:,} accepted in all, {lost} lost",
            file=sys.stderr,
            flush=True,
        )
        left, number = left - rounds, number + 1


async def _run_chain(report: Report, folder: Path, seed: str, rounds: int, sabotage: str | None) -> None:
    with closing(Chain(folder, seed, sabotage)) as chain:
        await chain.run(rounds)
    report.add(chain.lives)
    report.problems += chain.problems
    report.chains += 1
