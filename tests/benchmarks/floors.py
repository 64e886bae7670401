"""What the machine can do at most in this run: each part of the work done alone, with nothing around it."""

from __future__ import annotations

import multiprocessing
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import uvloop
from aiohttp import web

from forwarder.destination.http_put.put import payload
from forwarder.envelope import Envelope
from forwarder.model import Limits, Segment
from forwarder.observe.logs import Logs
from forwarder.queue.base import Share
from forwarder.queue.sqlite import admission
from forwarder.queue.sqlite.database import open_database
from forwarder.queue.sqlite.sizes import wal_bytes
from forwarder.queue.sqlite.store import Store
from forwarder.queue.sqlite.take import take
from forwarder.signing import Signer
from tests.benchmarks import load

_ARRAY = 1000

T = TypeVar("T")


def _lines() -> bytes:
    return b"".join(load.event(number) + b"\n" for number in range(_ARRAY))


def _rate(act: Callable[[], object], events: int, seconds: float = 1.0) -> float:
    """Return events a second of `act`, which handles `events` at a time."""
    act()
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        act()
        count += events
    return count / (time.perf_counter() - began)


def decoding() -> float:
    """Return events a second that are checked and routed, on one core."""
    return _rate(partial(Envelope(routes={"main": {}}).sift, _lines()), _ARRAY)


def signing(signer: Signer) -> float:
    """Return events a second that are joined and signed in batches of 1,000, on one core."""
    data = _lines()
    return _rate(lambda: signer.sign(payload(data)), _ARRAY)


async def storing(folder: Path, *, events: int) -> tuple[float, float]:
    """Return events a second through SQLite alone, and the median seconds of a commit.

    The queue's own file, pragmas and statements, without an event loop: each `events` are appended
    and committed, taken, and settled and committed.
    """
    segment = _segment(events)

    def work(store: Store) -> tuple[float, float]:
        commits: list[float] = []

        def cycle() -> None:
            began = time.perf_counter()
            store.transact([lambda s: admission.append(s, [segment])])
            commits.append(time.perf_counter() - began)
            [batch] = take(store, "main", Limits(events, 1 << 30))
            store.transact([lambda s: s.settle(batch)])

        return _rate(cycle, events), statistics.median(commits)

    return await _alone(folder, work)


async def committing(folder: Path, count: int, *, rate: float) -> list[float]:
    """Return the seconds of commits of one event each, at a fixed rate, each from the moment it was meant to begin."""
    segment = _segment(1)

    def work(store: Store) -> list[float]:
        began, latencies = time.monotonic(), list[float]()
        for number in range(count):
            due = began + number / rate
            time.sleep(max(0.0, due - time.monotonic()))
            store.transact([lambda s: admission.append(s, [segment])])
            latencies.append(time.monotonic() - due)
        return latencies

    return await _alone(folder, work)


def _segment(events: int) -> Segment:
    return Segment("main", events, b"".join(load.event(number) + b"\n" for number in range(events)))


async def _alone(folder: Path, work: Callable[[Store], T]) -> T:
    """Do something with a new queue's store, on its connection's thread."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        reserve = wal_bytes(4 << 30)
        connection = await open_database(Path(name) / "queue.db", Logs(), wal_bytes=reserve)

        def job(db: sqlite3.Connection) -> T:
            store = Store(db, Logs(), max_bytes=4 << 30, wal_bytes=reserve)
            store.transact([lambda s: s.configure({"main": Share()})])
            return work(store)

        try:
            return await connection.run(job)
        finally:
            await connection.close()


def bare_handler(folder: Path, count: int) -> float:
    """Return requests a second of an aiohttp handler that does nothing but read the body, same load."""
    path = folder / "bare.sock"
    process = multiprocessing.Process(target=_serve, args=(str(path),), daemon=True)
    process.start()
    try:
        while not path.exists():
            time.sleep(0.01)
        load.singles(path, count // 4, connections=64)
        sent = load.singles(path, count, connections=64)
        return count / (sent.accepted - sent.began)
    finally:
        process.terminate()
        process.join()


def _serve(path: str) -> None:
    async def handle(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(status=202)

    app = web.Application()
    app.router.add_post("/v1/events", handle)
    web.run_app(app, path=path, print=None, access_log=None, loop=uvloop.new_event_loop())
