"""What the machine can do at most in this run: each part of the work done alone, with nothing around it."""

from __future__ import annotations

import multiprocessing
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import uvloop
from aiohttp import web

from forwarder.destination.http_put.put import payload
from forwarder.envelope import Envelope
from forwarder.model import Address, Limits, Segment
from forwarder.observe.logs import Logs
from forwarder.queue.base import Share
from forwarder.queue.sqlite import admission
from forwarder.queue.sqlite.database import open_database
from forwarder.queue.sqlite.sizes import wal_bytes
from forwarder.queue.sqlite.store import Store
from forwarder.queue.sqlite.take import take
from forwarder.signing import Signer
from tests.benchmarks import load
from tests.benchmarks.shapes import OWN, SHAPES

_ARRAY = 1000

T = TypeVar("T")


def _rate(act: Callable[[], object], events: int, seconds: float = 1.0) -> float:
    """Return events a second of `act`, which handles `events` at a time."""
    act()
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        act()
        count += events
    return count / (time.perf_counter() - began)


def checking() -> float:
    """Return events a second that are checked and routed, on one core."""
    envelope, lines = Envelope(routes={"main": {}}), SHAPES[OWN].lines(_ARRAY)

    def check() -> None:
        left = lines
        while left:
            _checked, _refused, left = envelope.sift(left)

    return _rate(check, _ARRAY)


def signing(signer: Signer) -> float:
    """Return events a second that are joined and signed in batches of 1,000, on one core."""
    data = SHAPES[OWN].lines(_ARRAY)
    return _rate(lambda: signer.sign(payload(data)), _ARRAY)


async def storing(folder: Path, *, events: int, shape: str = OWN) -> tuple[float, float]:
    """Return events a second through SQLite alone, and the median seconds of a commit.

    The queue's own file, pragmas and statements, without an event loop: each `events` are appended
    and committed, taken, and settled and committed.
    """
    segment = Segment("main", events, SHAPES[shape].lines(events))

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
    segment = Segment("main", 1, SHAPES[OWN].lines(1))

    def work(store: Store) -> list[float]:
        began, latencies = time.monotonic(), list[float]()
        for number in range(count):
            due = began + number / rate
            time.sleep(max(0.0, due - time.monotonic()))
            store.transact([lambda s: admission.append(s, [segment])])
            latencies.append(time.monotonic() - due)
        return latencies

    return await _alone(folder, work)


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


def bare_handler(folder: Path, shape: str, count: int, *, tcp: bool) -> float:
    """Return requests a second of an aiohttp handler that does nothing but read the body, same load."""
    where = Address(host="127.0.0.1", port=load.free_port()) if tcp else Address(path=str(folder / "bare.sock"))
    process = multiprocessing.Process(target=_serve, args=(where,), daemon=True)
    process.start()
    try:
        load.wait_until_open(where)
        load.singles(where, shape, count // 4, connections=64)
        sent = load.singles(where, shape, count, connections=64)
        return count / (sent.accepted - sent.began)
    finally:
        process.terminate()
        process.join()


def _serve(where: Address) -> None:
    async def handle(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(status=202)

    app = web.Application()
    app.router.add_post("/v1/events", handle)
    web.run_app(
        app,
        path=where.path,
        host=where.host,
        port=where.port,
        print=None,
        access_log=None,
        loop=uvloop.new_event_loop(),
    )
