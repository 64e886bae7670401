"""The benchmarks: each runs a real forwarder, or a peer, between a load and a destination, and adds its rows."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from forwarder.model import Address
from tests.benchmarks import floors, load, sink
from tests.benchmarks.peers import HTTP, STREAM, Peer
from tests.benchmarks.results import Row
from tests.benchmarks.shapes import OWN, SHAPES, SPACES
from tests.integration.process import Forwarder, request

# What one large array may be, so that it is neither refused nor a test of that limit: the default is 16 MiB.
_MAX_ARRAY = 8 << 20
# Events of a shape that is larger than usual are so many fewer that a run takes about as long.
_USUAL = 800


@dataclass(frozen=True)
class Work:
    """Events of a shape on one way in: what is sent, and how."""

    way: str
    title: str
    shape: str
    events: int
    act: Callable[..., load.Sent]
    how: dict[str, Any] = field(default_factory=dict)

    @property
    def at_once(self) -> int:
        """Events that can be committed together, as far as the load allows."""
        return int(self.how.get("size", 1) * self.how.get("connections", 1)) if self.how else 1000

    def name(self, where: str) -> str:
        return f"{self.title} over {where}: {self.shape}"


def stream(shape: str, events: int) -> Work:
    """Return a stream of events, acks read."""
    return Work(STREAM, "stream", shape, events, load.stream)


def arrays(shape: str, events: int, size: int, connections: int) -> Work:
    """Return arrays, smaller ones where the events are so large that they would be refused."""
    size = min(size, _MAX_ARRAY // len(SHAPES[shape].event(0)) // 100 * 100)
    how = {"size": size, "connections": connections}
    return Work(HTTP, f"HTTP arrays of {size:,}", shape, events, load.arrays, how)


def singles(shape: str, events: int) -> Work:
    """Return one event a request."""
    return Work(HTTP, "HTTP, one event a request", shape, events, load.singles, {"connections": 64})


@dataclass
class Bench:
    """The benchmarks; `scale` multiplies the numbers of events."""

    folder: Path
    scale: float = 1.0
    rows: list[Row] = field(default_factory=list)

    def count(self, events: int, shape: str = OWN) -> int:
        """Return how many events are sent, in whole thousands."""
        size = len(SHAPES[shape].event(0))
        return max(1000, int(events * self.scale * min(1.0, _USUAL / size)) // 1000 * 1000)

    @contextlib.asynccontextmanager
    async def running(self, url: str, **settings: Any) -> AsyncIterator[Forwarder]:
        """Run a forwarder that delivers to a URL and takes events over unix sockets and TCP."""
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            folder = Path(name)
            forwarder = Forwarder(folder / "f", url, destinations={"main": settings})
            forwarder.config["destinations"]["main"]["retry"] = {"initial": "50ms", "max": "500ms"}
            for way in (HTTP, STREAM):
                forwarder.config["ingest"][way]["listen"].append(f"tcp:127.0.0.1:{load.free_port()}")
            async with forwarder:
                # What is loaded with the first request belongs to no benchmark.
                await request(forwarder.folder / "http.sock", "GET", "/healthz")
                yield forwarder

    @contextlib.contextmanager
    def receiver(self, forwarder: Forwarder, faults: str = "") -> Iterator[None]:
        """Run the project's own receiver, which counts, at the forwarder's destination."""
        public = forwarder.folder / "key.pub"
        public.write_text(forwarder.signer.public("pem"), encoding="utf-8")
        port = int(forwarder.config["destinations"]["main"]["url"].rpartition(":")[2].partition("/")[0])
        command = [sys.executable, "-m", "forwarder", "receiver", "--quiet", "--keep", "counts"]
        command += ["--listen", f"tcp:127.0.0.1:{port}", "--faults", faults, "--public-key", str(public)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                load.wait_until_open(Address(host="127.0.0.1", port=port), process)
                yield
            finally:
                process.terminate()

    async def throughput(
        self, work: Work, *, tcp: bool, floor: float, floor_name: str, beside: tuple[str, ...] = ()
    ) -> None:
        """Send events and wait until the last has been delivered, to a destination that does nothing else."""
        with sink.running() as found:
            async with self.running(found.url) as forwarder:
                assert forwarder.process is not None
                where = way_in(forwarder, work.way, tcp=tcp)
                row = await asyncio.to_thread(_measured, work, forwarder.process.pid, where, found)
                await _delivered(forwarder, work.events)
        name = work.name("TCP" if tcp else "unix")
        self.rows.append(replace(row, name=name, short=work.shape, floor=floor, floor_name=floor_name, beside=beside))

    async def peer(self, peer: Peer, work: Work) -> None:
        """Send the same events through another forwarder, over TCP, to the same sink."""
        if work.way == STREAM:
            # There are no acks to wait for.
            work = replace(work, act=load.lines)
        with (
            tempfile.TemporaryDirectory(dir=self.folder) as name,
            sink.running() as found,
            peer.running(Path(name), work.way, found.port) as (pid, where),
        ):
            row = await asyncio.to_thread(_measured, work, pid, where, found)
        self.rows.append(replace(row, name=peer_name(peer, work), short=peer.title))

    async def latency(self, commit: float) -> None:
        """Accept latency of single posts at 500 a second, from the moment each was meant to be sent.

        The same rate of commits alone shows what of it is the disk's and the machine's. `commit` is the median
        of commits in a row, which finds both awake.
        """
        count = self.count(5000)
        async with self._draining() as forwarder:
            with self.receiver(forwarder):
                where = way_in(forwarder, HTTP, tcp=False)
                _process, results = load.in_process(load.paced, where, SPACES, count, rate=500.0)
                sent = await asyncio.to_thread(results.get, True, 300)
        alone = await floors.committing(self.folder, count, rate=500.0)
        for name, share in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)):
            figure, floor = _quantile(sent.latencies, share) * 1e3, _quantile(alone, share) * 1e3
            self.rows.append(Row(f"accept latency {name}, 500 singles/s", figure, "ms", floor, "SQLite alone"))
        self.rows.append(Row("floor: one commit, in a row", commit * 1e3, "ms"))

    async def distance(self, milliseconds: int, in_flight: int, signing: float) -> None:
        """Drain a backlog to a destination that is so far away; what is near cannot get more than is signed."""
        batches = 20 if milliseconds else 100
        faults = f"slow:{milliseconds / 1000},loop" if milliseconds else ""
        async with self._draining(in_flight=in_flight) as forwarder:
            await _send(forwarder, batches * 1000)
            rate = await self._drained(forwarder, batches * 1000, faults) / 1000
            name = f"destination {milliseconds} ms away, in_flight {in_flight}"
            if milliseconds:
                best, floor_name = in_flight * 1000 / milliseconds, "in_flight / distance"
            else:
                best, floor_name = signing / 1000, "signing alone"
            self.rows.append(Row(name, rate, "batches/s", best, floor_name))

    async def depth(self, events: int, signing: float) -> None:
        """Queue up against a destination that is down, then drain: memory at each end, and the speed of draining."""
        async with self._draining() as forwarder:
            begin = forwarder.rss()
            await _send(forwarder, events)
            queued = forwarder.rss()
            rate = await self._drained(forwarder, events)
            assert forwarder.process is not None
            peak = load.peak_memory(forwarder.process.pid) / (1 << 20)
        note = f"resident: {begin >> 20} MiB at the start, {queued >> 20} with {events:,} queued"
        name = f"draining a backlog of {events:,}"
        self.rows.append(Row(name, rate, "events/s", signing, "signing alone", memory=peak, note=note))

    def _draining(self, **settings: Any) -> contextlib.AbstractAsyncContextManager[Forwarder]:
        """Run a forwarder whose destination is not there yet."""
        return self.running(f"http://127.0.0.1:{load.free_port()}/put", **settings)

    async def _drained(self, forwarder: Forwarder, events: int, faults: str = "") -> float:
        """Start the destination; return events a second until all have been delivered."""
        with self.receiver(forwarder, faults):
            began = time.time()
            await forwarder.admin("POST", "/v1/destinations/main/flush")
            await _delivered(forwarder, events)
            return events / (time.time() - began)


def way_in(forwarder: Forwarder, way: str, *, tcp: bool) -> Address:
    """Return where a forwarder takes events."""
    if tcp:
        listened = str(forwarder.config["ingest"][way]["listen"][-1])
        return Address(host="127.0.0.1", port=int(listened.rpartition(":")[2]))
    return Address(path=str(forwarder.folder / f"{way}.sock"))


def peer_name(peer: Peer, work: Work) -> str:
    """Return the name of a peer's row."""
    return f"{work.name('TCP')}, by {peer.title}"


def _measured(work: Work, pid: int, where: Address, found: sink.Sink) -> Row:
    """Send events to a process and wait until the sink has all of them."""
    before = load.cpu_seconds(pid)
    _process, results = load.in_process(work.act, where, work.shape, work.events, **work.how)
    sent = results.get(True, 300)
    seconds = found.wait_for(work.events).last - sent.began
    cpu = (load.cpu_seconds(pid) - before) / work.events * 1e6
    note = f"accepted {work.events / (sent.accepted - sent.began):,.0f}/s"
    memory = load.peak_memory(pid) / (1 << 20)
    return Row(work.title, work.events / seconds, "events/s", cpu=cpu, memory=memory, note=note)


async def _send(forwarder: Forwarder, events: int) -> None:
    where = way_in(forwarder, STREAM, tcp=False)
    _process, results = load.in_process(load.stream, where, OWN, events)
    await asyncio.to_thread(results.get, True, 600)


async def _delivered(forwarder: Forwarder, events: int) -> None:
    async def all_delivered() -> bool:
        return bool((await forwarder.account())["delivered"] >= events)

    await forwarder.until(all_delivered, 600)


def _quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]
