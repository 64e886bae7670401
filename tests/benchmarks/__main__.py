"""Run every benchmark and print one table; each figure stands beside its floor of the same run.

    python -m tests.benchmarks                              # everything, some minutes
    python -m tests.benchmarks --rounds 5                   # the medians of five
    python -m tests.benchmarks --only stream --shape text   # one kind, one shape
    python -m tests.benchmarks --peers --rounds 5           # beside the other forwarders of this machine, alternating
    python -m tests.benchmarks --rounds 5 --record          # and keep a line of it
    python -m tests.benchmarks --json                       # for machines

Absolute figures say more about the machine than about the forwarder; the ratios are the result.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from tests.benchmarks import floors, peers, record, results
from tests.benchmarks.bench import Bench, Work, arrays, peer_name, singles, stream
from tests.benchmarks.peers import HTTP, STREAM, Peer
from tests.benchmarks.results import Row
from tests.benchmarks.shapes import OWN, SHAPES, SPACES
from tests.integration.process import Forwarder

KINDS = ("stream", "arrays", "single", "shapes", "latency", "distance", "depth")
# What --shape is for; the others have events of their own.
SHAPED = {"stream", "arrays", "single", "shapes"}
# What is compared with other forwarders, and the way in that they need for it.
COMPARED = {"stream": STREAM, "arrays": HTTP}


class Run:
    """One round of what was asked for."""

    def __init__(self, bench: Bench, folder: Path, shapes: Sequence[str]) -> None:
        self._bench = bench
        self._folder = folder
        self._shapes = shapes

    async def kinds(self, wanted: Sequence[str]) -> None:
        """Run the benchmarks of these kinds, and the floors that belong to them."""
        sqlite_1000, _commit = await floors.storing(self._folder, events=1000)
        signing = floors.signing(Forwarder(self._folder / "key", "http://127.0.0.1:1/put").signer)
        if {"stream", "arrays"} & set(wanted):
            self._bench.rows.append(Row("floor: checking alone", floors.checking(), "events/s"))
            self._bench.rows.append(Row("floor: signing alone", signing, "events/s"))
            self._bench.rows.append(Row("floor: SQLite alone, 1,000 a commit", sqlite_1000, "events/s"))
        for work in self.works([kind for kind in wanted if kind in COMPARED]):
            for tcp in (False, True):
                await self._throughput(work, tcp=tcp)
        if "single" in wanted:
            await self._single()
        if "shapes" in wanted:
            await self._each_shape()
        if "latency" in wanted:
            _rate, commit = await floors.storing(self._folder, events=1)
            await self._bench.latency(commit)
        if "distance" in wanted:
            for milliseconds in (0, 20, 200):
                for in_flight in (1, 4):
                    await self._bench.distance(milliseconds, in_flight, signing)
        if "depth" in wanted:
            for events in (100_000, 500_000):
                await self._bench.depth(self._bench.count(events), signing)

    async def peers(self, wanted: Sequence[str], found: Sequence[Peer]) -> None:
        """Run the forwarder and its peers in turn, all over TCP: what disturbs the machine disturbs them alike."""
        for work in self.works([kind for kind in wanted if kind in COMPARED]):
            others = peers.able(found, [work.way])
            for peer in others:
                await self._bench.peer(peer, work)
            if others:
                await self._throughput(work, tcp=True, beside=tuple(peer_name(peer, work) for peer in others))

    def works(self, wanted: Sequence[str]) -> list[Work]:
        """Return what is sent for each kind, in the shapes that were asked for or the one that belongs to the way."""
        count, made = self._bench.count, list[Work]()
        if "stream" in wanted:
            made += [stream(shape, count(600_000, shape)) for shape in self._shapes or [OWN]]
        if "arrays" in wanted:
            for size, connections in ((1000, 4), (100, 16)):
                events = 600 * size if size == 1000 else 200_000
                made += [arrays(shape, count(events, shape), size, connections) for shape in self._shapes or [SPACES]]
        return made

    async def _throughput(self, work: Work, *, tcp: bool, beside: tuple[str, ...] = ()) -> None:
        floor, _ = await floors.storing(self._folder, events=work.at_once, shape=work.shape)
        await self._bench.throughput(work, tcp=tcp, floor=floor, floor_name="SQLite alone", beside=beside)

    async def _single(self) -> None:
        for shape in self._shapes or [SPACES]:
            work = singles(shape, self._bench.count(40_000, shape))
            for tcp in (False, True):
                bare = floors.bare_handler(self._folder, shape, work.events, tcp=tcp)
                await self._bench.throughput(work, tcp=tcp, floor=bare, floor_name="bare handler")

    async def _each_shape(self) -> None:
        """Send each shape the same way, over HTTP, which takes them all; compare each with the plain one."""
        plain = ""
        for shape in [OWN, *(name for name in self._shapes or SHAPES if name != OWN)]:
            work = arrays(shape, self._bench.count(200_000, shape), 100, 16)
            await self._throughput(work, tcp=False, beside=(plain,) if plain else ())
            plain = plain or work.name("unix")


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="Benchmarks of the forwarder.")
    made.add_argument("--only", default="all", choices=["all", *KINDS])
    made.add_argument(
        "--shape",
        action="append",
        choices=list(SHAPES),
        help=f"what the events of stream, arrays, single and shapes are, may be given several times; default: {OWN} "
        f"over the stream, {SPACES} over HTTP, and all of them for shapes",
    )
    made.add_argument("--peers", action="store_true", help="compare with syslog-ng and Fluent Bit, where installed")
    made.add_argument("--fluent-bit", type=Path, metavar="PATH", help="the Fluent Bit of --peers; default: from PATH")
    made.add_argument("--scale", type=float, default=1.0, help="multiplies the numbers of events")
    made.add_argument("--rounds", type=int, default=1, help="runs all so many times and prints medians")
    made.add_argument("--folder", type=Path, default=Path.cwd(), help="where queues are put: the disk to measure")
    made.add_argument(
        "--record",
        type=Path,
        nargs="?",
        const=record.FILE,
        metavar="FILE",
        help=f"keep the result as a line of FILE; default: tests/benchmarks/{record.FILE.name}",
    )
    made.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return made


def wanted(words: argparse.Namespace) -> list[str]:
    """Return the kinds that were asked for; raise `ValueError` for what cannot be done."""
    kinds = list(KINDS) if words.only == "all" else [words.only]
    if words.peers:
        kinds = [kind for kind in kinds if kind in COMPARED]
        if not kinds:
            raise ValueError(f"--peers compares {' and '.join(COMPARED)} only")
    elif words.fluent_bit:
        raise ValueError("--fluent-bit belongs to --peers")
    if words.shape and not SHAPED & set(kinds):
        raise ValueError(f"--shape changes nothing in {words.only}")
    lines = [name for name in words.shape or [] if not SHAPES[name].one_line]
    if lines and STREAM in kinds:
        raise ValueError(f"the stream takes one line an event, which {lines[0]} is not: add --only arrays")
    return kinds


async def _round(bench: Bench, words: argparse.Namespace, kinds: Sequence[str], others: Sequence[Peer]) -> None:
    with tempfile.TemporaryDirectory(dir=bench.folder) as name:
        run = Run(bench, Path(name), words.shape or [])
        if words.peers:
            await run.peers(kinds, others)
        else:
            await run.kinds(kinds)


def main(arguments: Sequence[str] | None = None) -> None:
    line = parser()
    words = line.parse_args(arguments)
    try:
        kinds = wanted(words)
        others = peers.able(peers.found(words.fluent_bit), [COMPARED[kind] for kind in kinds]) if words.peers else []
    except (ValueError, OSError) as error:
        line.error(str(error))
    if words.peers and not others:
        line.error("no peer is found: give --fluent-bit PATH; for lines, syslog-ng-core and syslog-ng-mod-http will do")
    busy = record.load_now()
    bench = Bench(words.folder, words.scale)
    # uvloop and plain asyncio give the same result here: nothing of the load runs in this process.
    for _ in range(words.rounds):
        asyncio.run(_round(bench, words, kinds, others))
    rows = results.medians(bench.rows)
    run = record.run_of(rows, load=busy, scale=words.scale, rounds=words.rounds)
    changed = record.changes(run, record.read(words.record or record.FILE))
    if words.record:
        record.add(run, words.record)
    _print(rows, run, changed, as_json=words.json)


def _print(rows: Sequence[Row], run: record.Run, changed: Sequence[str], *, as_json: bool) -> None:
    if as_json:
        about = {"commit": run.commit, "date": run.date, "machine": run.machine, "load": run.load}
        found = {**about, "scale": run.scale, "rounds": run.rounds, "rows": results.as_json(rows), "changes": changed}
        sys.stdout.write(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
        return
    console = Console(width=180)
    console.print(results.table(rows))
    console.print(f"{run.commit}, {run.machine}, load average before: {run.load}", highlight=False)
    for line in changed:
        console.print(f"changed: {line}", highlight=False)


if __name__ == "__main__":
    main()
