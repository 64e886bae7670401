"""Damage queue files, and look for events that are altered, overtaken, or missing without a word.

    python -m tests.campaigns damage --rounds 1000 --seed 1
    python -m tests.campaigns damage --seed 1 --kind bits --first 17 --rounds 1    # this round again

In each round a queue is left behind, by a stop or by a crash, with events that were delivered, that
are dead and that wait. Then bits of its file or of its log are flipped, pages overwritten, the end
is cut off, or the log is removed. What opens it must deliver what is whole, in order; count what is
not; let its accounts add up; and take new events. What was delivered may come again where the
accounts, or the end of the log, are gone.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from forwarder.errors import NewerQueueError
from forwarder.model import Burial, DeadFilter, Limits
from forwarder.observe.logs import Logs
from forwarder.queue.base import Share
from forwarder.queue.sqlite.queue import SqliteQueue
from forwarder.queue.sqlite.sizes import PAGE_BYTES
from tests.campaigns.conducting import Report, conduct
from tests.queue.building import account, next_batch, segment

_MAX_BYTES = 64 << 20
# Events of which the first are dead, the next delivered before the damage, and the rest wait.
_EVENTS, _DEAD, _DELIVERED = 600, 10, 40
# How many events were handed in together.
_TOGETHER = (1, 10, 100)
# Seconds that a queue may take to give back what it has.
_PATIENCE = 60.0

Damage = Callable[[Path, random.Random], None]


def _bits(path: Path, chance: random.Random) -> None:
    """Flip up to twenty bits anywhere, or where it hurts most: in the header, or in the first pages."""
    size = path.stat().st_size
    if not size:
        return
    most = chance.choice([size, size, 100, 8 * PAGE_BYTES])
    with path.open("r+b") as file:
        for _ in range(chance.choice([1, 1, 1, 3, 20])):
            at = chance.randrange(min(size, most))
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1 << chance.randrange(8)]))


def _pages(path: Path, chance: random.Random) -> None:
    """Overwrite up to three pages with nothing, or with nonsense; the first ones more often than others."""
    pages = path.stat().st_size // PAGE_BYTES
    for _ in range(chance.choice([1, 1, 3])):
        page = chance.choice([chance.randrange(pages), chance.randrange(min(pages, 10))])
        with path.open("r+b") as file:
            file.seek(page * PAGE_BYTES)
            file.write(chance.choice([bytes(PAGE_BYTES), b"\xff" * PAGE_BYTES, chance.randbytes(PAGE_BYTES)]))


def _cut(path: Path, chance: random.Random) -> None:
    """Cut off the end."""
    with path.open("r+b") as file:
        file.truncate(chance.randrange(path.stat().st_size + 1))


def _log(damage: Damage) -> Damage:
    """Do the same to the log of a crash, or to the file where there is none."""

    def act(path: Path, chance: random.Random) -> None:
        log = path.with_name(path.name + "-wal")
        damage(log if log.exists() and log.stat().st_size > PAGE_BYTES else path, chance)

    return act


def _remove(path: Path, _chance: random.Random) -> None:
    path.unlink()


KINDS: dict[str, Damage] = {
    "bits": _bits,
    "pages": _pages,
    "cut": _cut,
    "log-bits": _log(_bits),
    "log-cut": _log(_cut),
    "log-removed": _log(_remove),
}


@dataclass(slots=True)
class Row:
    """What happened with one kind of damage; `missing` were told of, or the round is broken."""

    kind: str
    rounds: int = 0
    broken: int = 0
    set_aside: int = 0
    refused: int = 0
    waiting: int = 0
    delivered: int = 0
    dead: int = 0
    missing: int = 0
    repeated: int = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the campaign can be asked."""
    parser.add_argument("--rounds", type=int, default=100, metavar="N", help="rounds of each kind")
    parser.add_argument("--first", type=int, default=1, metavar="K", help="begin with the K-th round")
    parser.add_argument("--seed", type=int, default=None, metavar="S", help="repeats a run")
    parser.add_argument("--kind", action="append", choices=KINDS, help="only this one; may be repeated")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--folder", type=Path, default=None, help="where the queues are put")


def run(options: argparse.Namespace) -> int:
    """Run the campaign; return 0 where every promise held, else 1."""
    return conduct(
        options,
        lambda seed: Report(seed, "One queue was damaged in each round", Row),
        lambda report: _run(report, options),
    )


async def _run(report: Report[Row], options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="damage-", dir=options.folder) as folder:
        left = [await _leave(Path(folder) / f"left-{together}", together) for together in _TOGETHER]
        for kind in options.kind or KINDS:
            row = Row(kind)
            report.rows.append(row)
            for number in range(options.first, options.first + options.rounds):
                chance = random.Random(f"{report.seed}:{kind}:{number}")
                work = Path(tempfile.mkdtemp(prefix="round-", dir=folder))
                path = _copy(chance.choice(left), work, crashed=kind.startswith("log") or chance.random() < 0.5)
                KINDS[kind](path, chance)
                row.rounds += 1
                try:
                    await _check(path, row)
                except Exception as error:
                    row.broken += 1
                    again = f"--seed {report.seed} --kind {kind} --first {number} --rounds 1"
                    report.problems.append(f"{type(error).__name__}: {error}\n  again: {again}")
                    print(f"{kind}, round {number}: BROKEN: {error}", file=sys.stderr, flush=True)  # noqa: T201
                shutil.rmtree(work)


async def _opened(path: Path) -> SqliteQueue:
    queue = await (await SqliteQueue.open(path, Logs(), max_bytes=_MAX_BYTES, names=["main"])).__aenter__()
    await queue.configure({"main": Share()})
    return queue


async def _leave(folder: Path, together: int) -> Path:
    """Write a queue; return the folder with its files as a stop leaves them, and as a crash does."""
    stopped, crashed = folder / "stopped", folder / "crashed"
    stopped.mkdir(parents=True)
    queue = await _opened(stopped / "queue.db")
    for first in range(0, _EVENTS, together):
        await queue.append([segment(first, together, filler=400)])
    for count, burial in ((_DEAD, Burial("rejected", 400, "no")), (_DELIVERED, None)):
        batch = await next_batch(queue, "main", Limits(count, 1 << 20))
        assert batch is not None
        assert batch.events == count
        await queue.settle(batch, burial)
    shutil.copytree(stopped, crashed)
    await queue.close()
    return folder


def _copy(left: Path, work: Path, *, crashed: bool) -> Path:
    shutil.copytree(left / ("crashed" if crashed else "stopped"), work, dirs_exist_ok=True)
    return work / "queue.db"


async def _check(path: Path, row: Row) -> None:
    """Open a damaged queue and check what comes of it. Raises AssertionError."""
    known = {line: number for number, line in enumerate(segment(0, _EVENTS, filler=400).data.splitlines())}
    found_there = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    with structlog.testing.capture_logs() as lines:
        try:
            queue = await _opened(path)
        except NewerQueueError:
            # The damage has made it a queue of a version that is not known here: it is left as it is.
            assert all((path.parent / name).read_bytes() == data for name, data in found_there.items())
            row.refused += 1
            return
        try:
            async with asyncio.timeout(_PATIENCE):
                found = await _drain(queue)
            letters = [letter async for letter in queue.dead_letters(DeadFilter())]
            books = [await account(queue, name) for name in (await queue.stats()).destinations]
            await queue.append([segment(_EVENTS, 5)])
            assert len(await _drain(queue)) == 5, "new events are not delivered"
        finally:
            await queue.close()
    for book in books:
        assert book.accepted == book.queued + book.delivered + book.dead + book.dropped, f"{book} does not add up"
    altered = [line for line in found if line not in known]
    assert not altered, f"{len(altered)} events are altered, the first is {altered[0]!r}"
    numbers = [known[line] for line in found]
    assert numbers == sorted(set(numbers)), "events were overtaken, or came twice"
    waiting = set(range(_DEAD + _DELIVERED, _EVENTS))
    missing = len(waiting.difference(numbers))
    told = _told(lines, "lost_events") + _told(lines, "events", "segment_damaged", "events_lost", "events_missing")
    repeated = len(numbers) - len(waiting.intersection(numbers))
    # Where the accounts are lost, what comes again is taken for something new.
    assert told + repeated >= missing, f"{missing} events are missing, and {told} are told of"
    # Those whose death was forgotten with the end of the log wait again.
    gone = (
        _DEAD
        - len([letter for letter in letters if letter.reason != "damaged"])
        - len(set(numbers) & set(range(_DEAD)))
    )
    told = _told(lines, "lost_dead_letters") + _told(lines, "events", "events_missing")
    assert told >= gone, f"{gone} dead letters are missing, and {told} are told of"
    row.set_aside += any(line["event"] == "queue.set_aside" for line in lines)
    row.waiting += len(waiting)
    row.delivered += len(waiting.intersection(numbers))
    row.dead += len([letter for letter in letters if letter.reason == "damaged"])
    row.missing += missing
    row.repeated += repeated


async def _drain(queue: SqliteQueue) -> list[bytes]:
    """Deliver all that waits; return the events."""
    found: list[bytes] = []
    while sum(book.queued for book in (await queue.stats()).destinations.values()):
        for name in (await queue.stats()).destinations:
            if (batch := await next_batch(queue, name, Limits(1000, 1 << 20))) is not None:
                found += batch.data.splitlines()
                await queue.settle(batch)
    return found


def _told(lines: list[Any], figure: str, *events: str) -> int:
    """Return the sum of a figure in the log, of all lines or of those of some events."""
    names = [f"queue.{event}" for event in events]
    return sum(line.get(figure, 0) for line in lines if not events or line["event"] in names)
