"""An admin API that listens, over a queue in memory and a daemon that can be told what to do."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import structlog.testing
from aiohttp import web

from forwarder.admin.activity import Acts
from forwarder.admin.api import AdminApi
from forwarder.admin.entrance import Entrance, Terms
from forwarder.admin.status import Status, WayState
from forwarder.admin.steering import DestinationStatus, Refusal
from forwarder.envelope import Envelope
from forwarder.ingest.intake import Intake
from forwarder.ingest.readmission import Readmission
from forwarder.model import EVERY_EVENT, Address, DeadFilter, EventFilter, State
from forwarder.observe.base import Observers
from forwarder.observe.conditions import Conditions
from forwarder.observe.history import History
from forwarder.observe.logs import Logs
from forwarder.observe.refusals import Refusals
from forwarder.queue.fullness import Full
from forwarder.web.access import Access
from forwarder.web.reach import Reach
from forwarder.web.server import Runner
from tests.fixtures import PATIENCE
from tests.queue.watched import NOW, WatchedQueue


class FakeDaemon:
    """The steering of a daemon that remembers what it was told."""

    def __init__(self, queue: WatchedQueue, *names: str) -> None:
        self.queue = queue
        self.states: dict[str, DestinationStatus] = {name: DestinationStatus(State.IDLE) for name in names}
        self.reason: str | None = None
        self.told: list[tuple[str, str]] = []

    async def status(self) -> Mapping[str, DestinationStatus]:
        return self.states

    def ready(self) -> str | None:
        return self.reason

    async def flush(self, name: str) -> None:
        self.told.append(("flush", name))

    async def pause(self, name: str) -> None:
        self.told.append(("pause", name))

    async def resume(self, name: str) -> None:
        self.told.append(("resume", name))

    async def purge(self, name: str, wanted: EventFilter = EVERY_EVENT) -> int:
        self.told.append(("purge", name))
        return await self.queue.purge(name, wanted)


@dataclass(frozen=True)
class FakeFile:
    """The configuration file of a daemon that reads none."""

    name: str = "/etc/forwarder/forwarder.yaml"
    loaded_at: float = 1_700_000_000.0
    is_changed: bool = False


class FakeReloads:
    """The reloads of a daemon, which all end in the same way."""

    def __init__(self, refused: Refusal | None = None) -> None:
        self.refused = refused
        self.file = FakeFile()
        self.error: Exception | None = None
        self.asked = 0

    async def reload(self) -> Refusal | None:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return self.refused


class FakeRoom:
    """The room of a queue that is told how full it is."""

    def __init__(self) -> None:
        self.full: dict[str | None, Full] = {}
        self.full_in_seconds: float | None = None


async def metrics(status: Status | None, accept: str) -> tuple[bytes, str]:
    """Return what no scraper understands: whether there is a status, and what was asked for."""
    return f"{'nothing' if status is None else status.version} as {accept}".encode(), "text/plain; charset=utf-8"


def intake() -> dict[str, WayState]:
    """Return what came in by each way."""
    return {"http": WayState(3, 1, 300, 2), "stream": WayState(0, 0, 0, 0)}


class FakeReadmission(Readmission):
    """The intake of a daemon with the destinations `main` and `audit`; what was invalid it takes as it is."""

    def __init__(self, queue: WatchedQueue) -> None:
        super().__init__(queue, Intake(queue, Envelope(routes={"main": {}, "audit": {}}), Logs()))
        self._watched = queue

    async def again(self, wanted: DeadFilter) -> int:
        return await self._watched.readmitted(wanted)


@dataclass
class Served:
    """An admin API that listens."""

    queue: WatchedQueue
    daemon: FakeDaemon
    address: Address
    reloads: FakeReloads
    conditions: Conditions
    history: History
    entrance: Entrance
    room: FakeRoom
    refusals: Refusals


def api_of(queue: WatchedQueue) -> AdminApi:
    """Return the API of a daemon of which nothing is asked but what its queue knows."""
    observer = Logs()
    return AdminApi(
        queue,
        FakeDaemon(queue),
        FakeReloads(),
        FakeReadmission(queue),
        observer=observer,
        conditions=Conditions(observer, lambda: NOW),
        metrics=metrics,
        history=History(lambda: 0.0),
        room=FakeRoom(),
        acts=Acts(lambda: NOW),
        refusals=Refusals(lambda: NOW),
        configuration=lambda: "queue: {}\n",
        intake=intake,
    )


def entrance(address: Address, reach: Reach, terms: Terms) -> Entrance:
    """Return the rights at an address of the admin API."""
    door = Access(address, reach, token=None, allow_uids=frozenset(), section="admin", has_pages=True)
    return Entrance(door, terms)


@contextlib.asynccontextmanager
async def serving(
    queue: WatchedQueue,
    daemon: FakeDaemon,
    address: Address,
    token: str | None,
    reloads: FakeReloads | None = None,
    terms: Terms | None = None,
) -> AsyncIterator[Served]:
    """Serve the admin API at an address; a TCP port of 0 is replaced by the real one."""
    reloads = reloads or FakeReloads()
    conditions = Conditions(Logs(), lambda: NOW)
    room = FakeRoom()
    history, acts, refusals = History(time.monotonic), Acts(lambda: NOW), Refusals(lambda: NOW)
    api = AdminApi(
        queue,
        daemon,
        reloads,
        FakeReadmission(queue),
        observer=Observers(Logs(), acts, refusals),
        conditions=conditions,
        metrics=metrics,
        history=history,
        room=room,
        acts=acts,
        refusals=refusals,
        configuration=lambda: "queue: {}\n",
        intake=intake,
        now=lambda: NOW,
    )
    reach = Reach.FILE if address.is_unix else Reach.MACHINE
    place = entrance(address, reach, terms or Terms(token))
    # A client that does not go on with a body that was refused is waited for only briefly.
    runner = Runner(api.application(place), lingering_time=0.1)
    await runner.setup()
    if address.path is not None:
        await web.UnixSite(runner, address.path).start()
    else:
        await web.TCPSite(runner, address.host, address.port).start()
        address = replace(address, port=runner.addresses[0][1])
    try:
        yield Served(queue, daemon, address, reloads, conditions, history, place, room, refusals)
    finally:
        await runner.cleanup()


@contextlib.contextmanager
def served_in_thread(tmp_path: Path, *names: str, token: str | None = None, tcp: bool = False) -> Iterator[Served]:
    """Serve the admin API beside a synchronous test."""
    queue = WatchedQueue()
    daemon = FakeDaemon(queue, *names)
    address = Address(host="127.0.0.1", port=0) if tcp else Address(path=str(tmp_path / "admin.sock"))
    started: list[Served] = []
    ready = threading.Event()
    stop = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        async with serving(queue, daemon, address, token) as served:
            started.append(served)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    # The log of the daemon must not come between the lines of a command in the same process.
    with structlog.testing.capture_logs():
        thread.start()
        try:
            assert ready.wait(PATIENCE)
            yield started[0]
        finally:
            loops[0].call_soon_threadsafe(stop.set)
            thread.join(PATIENCE)
