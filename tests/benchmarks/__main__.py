"""Run every benchmark and print one table; each figure stands beside its floor of the same run.

    python -m tests.benchmarks                 # everything, some minutes
    python -m tests.benchmarks --only stream   # one kind; beside syslog-ng, where that is installed
    python -m tests.benchmarks --rounds 5      # the medians of five
    python -m tests.benchmarks --json          # for machines

Absolute figures say more about the machine than about the forwarder; the ratios are the result.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.benchmarks import floors, load, peers, sink
from tests.integration.process import Forwarder, request


@dataclass
class Row:
    """One result: a figure with its unit, its floor where there is one, and what else was seen."""

    name: str
    figure: float
    unit: str
    floor: float | None = None
    floor_name: str = ""
    note: str = ""

    @property
    def ratio(self) -> float | None:
        return self.figure / self.floor if self.floor else None


class Bench:
    """The benchmarks; `scale` multiplies the numbers of events."""

    def __init__(self, folder: Path, scale: float) -> None:
        self.folder = folder
        self.scale = scale
        self.rows: list[Row] = []

    def count(self, events: int) -> int:
        return max(1000, int(events * self.scale) // 1000 * 1000)

    @contextlib.asynccontextmanager
    async def running(self, *, faults: str = "", receive: bool = True, **settings: Any) -> AsyncIterator[Forwarder]:
        """Run a forwarder and a receiver that counts, each in a process of its own."""
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            folder = Path(name)
            forwarder = Forwarder(folder / "f", sink.URL, destinations={"main": settings})
            forwarder.config["destinations"]["main"]["retry"] = {"initial": "50ms", "max": "500ms"}
            (folder / "key.pub").write_text(forwarder.signer.public("pem"), encoding="utf-8")
            async with forwarder:
                with self.receiver(folder, faults) if receive else contextlib.nullcontext():
                    yield forwarder

    @contextlib.contextmanager
    def receiver(self, folder: Path, faults: str) -> Any:
        command = [sys.executable, "-m", "forwarder", "receiver", "--quiet", "--keep", "counts"]
        command += ["--listen", f"tcp:127.0.0.1:{sink.PORT}", "--faults", faults]
        command += ["--public-key", str(folder / "key.pub")]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                sink.wait_until_open()
                yield process
            finally:
                process.terminate()

    async def throughput(
        self, name: str, act: Callable[..., load.Sent], events: int, floor: float, floor_name: str, **how: Any
    ) -> None:
        """Send events and wait until the last has been delivered, to a destination that does nothing else."""
        with sink.running():
            async with self.running(receive=False) as forwarder:
                await _warm(forwarder)
                assert forwarder.process is not None
                path = forwarder.folder / _socket(act)
                row = await asyncio.to_thread(_measured, name, forwarder.process.pid, act, path, events, **how)
                await _delivered(forwarder, events)
        self.rows.append(replace(row, floor=floor, floor_name=floor_name))

    async def peer(self, events: int) -> None:
        """Send the same lines through syslog-ng."""
        with (
            tempfile.TemporaryDirectory(dir=self.folder) as name,
            sink.running(),
            peers.syslog_ng(Path(name)) as (pid, path),
        ):
            row = await asyncio.to_thread(_measured, "stream, by syslog-ng", pid, load.lines, path, events)
        self.rows.append(row)

    async def latency(self, commit: float) -> None:
        """Accept latency of single posts at 500 a second, from the moment each was meant to be sent.

        The same rate of commits alone shows what of it is the disk's and the machine's. `commit` is the median
        of commits in a row, which finds both awake.
        """
        async with self.running() as forwarder:
            await _warm(forwarder)
            path = forwarder.folder / "http.sock"
            _process, results = load.in_process(load.paced, path, int(self.count(5000)), rate=500.0)
            sent = await asyncio.to_thread(results.get, True, 300)
        alone = await floors.committing(self.folder, int(self.count(5000)), rate=500.0)
        for name, share in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)):
            figure, floor = _quantile(sent.latencies, share) * 1e3, _quantile(alone, share) * 1e3
            self.rows.append(Row(f"accept latency {name}, 500 singles/s", figure, "ms", floor, "SQLite alone"))
        self.rows.append(Row("floor: one commit, in a row", commit * 1e3, "ms"))

    async def distance(self, milliseconds: int, in_flight: int, signing: float) -> None:
        """Drain a backlog to a destination that is so far away; what is near cannot get more than is signed."""
        batches = 20 if milliseconds else 100
        faults = f"slow:{milliseconds / 1000},loop" if milliseconds else ""
        async with self.running(faults=faults, in_flight=in_flight, receive=False) as forwarder:
            await _send(forwarder, batches * 1000)
            with self.receiver(forwarder.folder.parent, faults):
                began = time.time()
                await forwarder.admin("POST", "/v1/destinations/main/flush")
                await _delivered(forwarder, batches * 1000)
                rate = batches / (time.time() - began)
            name = f"destination {milliseconds} ms away, in_flight {in_flight}"
            if milliseconds:
                best, floor_name = in_flight * 1000 / milliseconds, "in_flight / distance"
            else:
                best, floor_name = signing / 1000, "signing alone"
            self.rows.append(Row(name, rate, "batches/s", best, floor_name))

    async def depth(self, events: int, signing: float) -> None:
        """Queue up against a destination that is down, then drain: memory at each end, and the speed of draining."""
        async with self.running(receive=False) as forwarder:
            begin = forwarder.rss()
            await _send(forwarder, events)
            queued = forwarder.rss()
            with self.receiver(forwarder.folder.parent, ""):
                began = time.time()
                await forwarder.admin("POST", "/v1/destinations/main/flush")
                await _delivered(forwarder, events)
                rate = events / (time.time() - began)
            assert forwarder.process is not None
            peak = load.peak_memory(forwarder.process.pid)
            note = f"resident: {begin >> 20} MiB at the start, {queued >> 20} with {events:,} queued, peak {peak >> 20}"
            name = f"draining a backlog of {events:,}"
            self.rows.append(Row(name, rate, "events/s", signing, "signing alone", note))


def _socket(act: Callable[..., load.Sent]) -> str:
    return "stream.sock" if act is load.stream else "http.sock"


def _measured(name: str, pid: int, act: Callable[..., load.Sent], path: Path, events: int, **how: Any) -> Row:
    """Send events to a process and wait until the sink has all of them."""
    before = load.cpu_seconds(pid)
    _process, results = load.in_process(act, path, events, **how)
    sent = results.get(True, 300)
    seconds = sink.wait_for(events).last - sent.began
    cpu = (load.cpu_seconds(pid) - before) / events * 1e6
    accepted = events / (sent.accepted - sent.began)
    note = f"accepted {accepted:,.0f}/s, {cpu:.1f} µs CPU an event, peak {load.peak_memory(pid) >> 20} MiB"
    return Row(name, events / seconds, "events/s", note=note)


async def _warm(forwarder: Forwarder) -> None:
    await request(forwarder.folder / "http.sock", "GET", "/healthz")


async def _send(forwarder: Forwarder, events: int) -> None:
    _process, results = load.in_process(load.stream, forwarder.folder / "stream.sock", events)
    await asyncio.to_thread(results.get, True, 600)


async def _delivered(forwarder: Forwarder, events: int) -> None:
    async def all_delivered() -> bool:
        return bool((await forwarder.account())["delivered"] >= events)

    await forwarder.until(all_delivered, 600)


async def _run(bench: Bench, only: str) -> None:
    wanted = {"stream", "arrays", "single", "latency", "distance", "depth"} if only == "all" else {only}
    with tempfile.TemporaryDirectory(dir=bench.folder) as name:
        folder = Path(name)
        sqlite_1000, _commit = await floors.storing(folder, events=1000)
        signing = floors.signing(Forwarder(folder / "key", "http://127.0.0.1:1/put").signer)
        if wanted & {"stream", "arrays"}:
            bench.rows.append(Row("floor: checking alone", floors.decoding(), "events/s"))
            bench.rows.append(Row("floor: signing alone", signing, "events/s"))
            bench.rows.append(Row("floor: SQLite alone, 1,000 a commit", sqlite_1000, "events/s"))
        if "stream" in wanted:
            await bench.throughput("stream", load.stream, bench.count(600_000), sqlite_1000, "SQLite alone")
            if peers.has_syslog_ng():
                await bench.peer(bench.count(300_000))
        if "arrays" in wanted:
            for size, connections in ((1000, 4), (100, 16)):
                floor, _ = await floors.storing(folder, events=size * connections)
                await bench.throughput(
                    f"HTTP arrays of {size:,}",
                    load.arrays,
                    bench.count(size * 600),
                    floor,
                    "SQLite alone",
                    size=size,
                    connections=connections,
                )
        if "single" in wanted:
            count = bench.count(40_000)
            bare = floors.bare_handler(folder, count)
            await bench.throughput(
                "HTTP, one event a request", load.singles, count, bare, "bare handler", connections=64
            )
        if "latency" in wanted:
            _rate, commit = await floors.storing(folder, events=1)
            await bench.latency(commit)
        if "distance" in wanted:
            for milliseconds in (0, 20, 200):
                for in_flight in (1, 4):
                    await bench.distance(milliseconds, in_flight, signing)
        if "depth" in wanted:
            for events in (100_000, 500_000):
                await bench.depth(bench.count(events), signing)


def _quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def _medians(rows: list[Row]) -> list[Row]:
    """Return of each benchmark the round in the middle."""
    rounds: dict[str, list[Row]] = {}
    for row in rows:
        rounds.setdefault(row.name, []).append(row)
    return [sorted(found, key=lambda row: row.figure)[len(found) // 2] for found in rounds.values()]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="Benchmarks of the forwarder.")
    parser.add_argument(
        "--only", default="all", choices=["all", "stream", "arrays", "single", "latency", "distance", "depth"]
    )
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the numbers of events")
    parser.add_argument("--rounds", type=int, default=1, help="runs all so many times and prints medians")
    parser.add_argument("--folder", type=Path, default=Path.cwd(), help="where queues are put: the disk to measure")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    words = parser.parse_args()
    bench = Bench(words.folder, words.scale)
    # uvloop and plain asyncio give the same result here: nothing of the load runs in this process.
    for _ in range(words.rounds):
        asyncio.run(_run(bench, words.only))
    rows = _medians(bench.rows)
    if words.json:
        print(json.dumps([{**asdict(row), "ratio": row.ratio} for row in rows], indent=1))  # noqa: T201
        return
    table = Table()
    for column in ("benchmark", "figure", "floor", "ratio", "seen"):
        table.add_column(column, justify="left" if column in {"benchmark", "seen"} else "right")
    for row in rows:
        floor = f"{row.floor:,.1f} {row.floor_name}" if row.floor else ""
        ratio = f"{row.ratio:.2f}" if row.ratio else ""
        table.add_row(row.name, f"{row.figure:,.1f} {row.unit}", floor, ratio, row.note)
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
