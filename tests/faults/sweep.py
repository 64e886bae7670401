"""One call of the disk that fails, in a forwarder that accepts and delivers; then a restart, and the books."""

from __future__ import annotations

import random
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults.injection import Injection, failures, inject
from tests.faults.trial import Trial
from tests.faults.wrapped import FORWARDER

# System calls that write, each with what a disk may answer.
KINDS = (
    ("pwrite64", "EIO"),
    ("pwrite64", "ENOSPC"),
    ("fsync,fdatasync", "EIO"),
    ("fsync,fdatasync", "ENOSPC"),
    ("ftruncate", "EIO"),
    ("pread64", "EIO"),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one failing call did: whether it was reached, and where; nothing may be lost, so that is not in it."""

    reached: bool
    at_start: bool
    accepted: int
    refused: int
    duplicates: int


async def fail_one_call(
    folder: Path, injection: Injection, chance: random.Random, module: Sequence[str] = FORWARDER
) -> Outcome:
    """Let one call fail, send until it has, restart, and check that every promise was kept.

    `module` is what is run until the restart. Raises LostError, or AssertionError for any other promise.
    """
    async with Trial(folder, queue=folder / "queue" / "queue.db") as trial:
        (folder / "queue").mkdir()
        trial.forwarder.module = module
        trace = inject(trial.forwarder, injection)
        code = await trial.forwarder.start_or_end()
        if code is not None:
            return await _start_again(trial, code)
        # A batch is a commit for its events, and one for its settlement.
        for _ in range(max(20, injection.call)):
            await trial.post(chance.randint(1, 20), chance.randint(0, 3000))
            if failures(trace) and chance.random() < 0.3:
                break
        if chance.random() < 0.5:
            await trial.forwarder.becomes_ready()
            await trial.check()
            await _post(trial)
        # Killed before its settlements were made, it sends at most two batches again.
        number, again = chance.choice([(signal.SIGKILL, 100), (signal.SIGTERM, 0)])
        await trial.forwarder.stop(number)
        # Some calls are made by a stop only.
        reached = failures(trace) > 0
        trial.forwarder.prefix, trial.forwarder.module = (), FORWARDER
        async with trial.forwarder:
            await _post(trial)
            await trial.check(duplicates=again)
        return Outcome(reached, False, len(trial.accepted), len(trial.refused), trial.duplicates)


async def _start_again(trial: Trial, code: int) -> Outcome:
    """Check what was said when it could not start, and that the next start works."""
    said = trial.forwarder.said()
    assert code == 74, said
    assert 1 <= len(said) <= 2, said
    assert said[0].startswith("forwarder: "), said
    trial.forwarder.prefix, trial.forwarder.module = (), FORWARDER
    async with trial.forwarder:
        await _post(trial)
        await trial.check()
    return Outcome(True, True, len(trial.accepted), 0, trial.duplicates)


async def _post(trial: Trial) -> None:
    await trial.forwarder.becomes_ready()
    assert await trial.post()
