"""A queue in memory and a daemon that can be told what to do: what the admin API looks at in tests."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import structlog.testing
from aiohttp import web

from forwarder.admin.api import AdminApi
from forwarder.admin.steering import DestinationStatus, Refusal
from forwarder.envelope import is_about, is_json_line
from forwarder.errors import ForwarderError
from forwarder.model import (
    EVERY_EVENT,
    Address,
    Batch,
    Burial,
    Counters,
    DeadFilter,
    DeadLetter,
    DeadSegment,
    EventFilter,
    Limits,
    QueueStats,
    Segment,
    State,
)
from forwarder.observe.logs import Logs
from forwarder.queue.base import Pending, Share
from forwarder.web.access import Access
from forwarder.web.reach import Reach
from forwarder.web.server import Runner

NOW = 1_700_000_000.0


@dataclass
class Kept:
    """What the queue keeps of one destination."""

    events: list[bytes] = field(default_factory=list)
    delivered: int = 0
    dropped: int = 0


class MemoryQueue:
    """The queue's contract on lists. Nothing is held: batches are not the business of the admin API."""

    def __init__(self) -> None:
        self.kept: dict[str, Kept] = {}
        self.dead: list[DeadLetter] = []
        self.stats_calls = 0
        self.fails_after: int | None = None
        """After how many events a stream of them fails, or None."""
        self.error: ForwarderError | Exception | None = None

    async def append(self, segments: Sequence[Segment], dead: Sequence[DeadSegment] = ()) -> None:
        for segment in segments:
            lines = segment.data.split(b"\n")[:-1]
            self.kept.setdefault(segment.destination, Kept()).events.extend(lines)

    async def take(self, destination: str, limits: Limits, at_most: int = 1) -> list[Batch]:
        return []

    async def take_at(self, destination: str, position: int) -> Batch | None:
        return None

    async def take_again(self, destination: str, positions: Sequence[int], max_bytes: int) -> list[Batch]:
        return []

    async def renew(self, destination: str) -> None:
        return

    async def settle(self, batch: Batch, burial: Burial | None = None) -> bool:
        raise AssertionError("no batch was handed out")

    def release(self, batch: Batch) -> None:
        raise AssertionError("no batch was handed out")

    def pending(self, destination: str) -> Pending:
        events = self.kept[destination].events
        return Pending(len(events), sum(map(len, events)), float("-inf"))

    async def wait(self, destination: str, timeout: float | None, enough: Limits | None = None) -> None:
        return

    def wake(self, destination: str) -> None:
        return

    def trouble(self) -> str | None:
        return None

    async def wait_space(self, timeout: float) -> None:
        return

    async def expire(self, destination: str, accepted_before: float, burial: Burial) -> int:
        return 0

    async def purge(self, destination: str, wanted: EventFilter = EVERY_EVENT) -> int:
        kept = self.kept.setdefault(destination, Kept())
        left = [event for event in kept.events if wanted != EVERY_EVENT and not is_about(event, wanted)]
        dropped = len(kept.events) - len(left)
        kept.events[:] = left
        kept.dropped += dropped
        return dropped

    async def set_paused(self, destination: str, paused: bool) -> None:
        return

    async def peek(self, destination: str, limit: int | None) -> AsyncIterator[bytes]:
        for index, event in enumerate(self.kept.get(destination, Kept()).events[:limit]):
            if index == self.fails_after and self.error is not None:
                raise self.error
            yield event

    async def dead_letters(self, wanted: DeadFilter, limit: int | None = None) -> AsyncIterator[DeadLetter]:
        for letter in self._matching(wanted)[:limit]:
            yield letter

    def _matching(self, wanted: DeadFilter) -> list[DeadLetter]:
        return [
            letter
            for letter in self.dead
            if wanted.destination in {None, letter.destination}
            and (not wanted.ids or {str(letter.id), letter.event_id} & set(wanted.ids))
            and wanted.reason in {None, letter.reason}
            and (wanted.died_before is None or letter.died_at < wanted.died_before)
            and is_about(letter.event, EventFilter(wanted.source, wanted.object))
        ]

    async def replay(self, wanted: DeadFilter) -> int:
        letters = [letter for letter in self._matching(wanted) if is_json_line(letter.event)]
        for letter in letters:
            self.dead.remove(letter)
            self.kept.setdefault(letter.destination, Kept()).events.append(letter.event)
        return len(letters)

    async def readmitted(self, wanted: DeadFilter) -> int:
        """Stand for the intake, which looks at what was invalid again."""
        letters = [letter for letter in self._matching(wanted) if letter.reason == "invalid"]
        for letter in letters:
            self.dead.remove(letter)
        return len(letters)

    async def readmit(
        self,
        passed: Sequence[DeadLetter],
        segments: Sequence[Segment],
        again: Sequence[tuple[DeadLetter, Burial]] = (),
    ) -> bool:
        raise AssertionError("the admin API does not do this itself")

    async def purge_dead(self, wanted: DeadFilter) -> int:
        letters = self._matching(wanted)
        for letter in letters:
            self.dead.remove(letter)
            self.kept.setdefault(letter.destination, Kept()).dropped += 1
        return len(letters)

    async def stats(self) -> QueueStats:
        self.stats_calls += 1
        if self.error is not None and self.fails_after is None:
            raise self.error
        names = {*self.kept, *(letter.destination for letter in self.dead)}
        return QueueStats("memory", 512, 2048, False, None, {name: self._counters(name) for name in names})

    def _counters(self, name: str) -> Counters:
        kept = self.kept.get(name, Kept())
        dead = sum(letter.destination == name for letter in self.dead)
        queued = len(kept.events)
        return Counters(
            accepted=queued + kept.delivered + dead + kept.dropped,
            queued=queued,
            delivered=kept.delivered,
            dead=dead,
            dropped=kept.dropped,
            oldest_accepted_at=NOW - 60 if queued else None,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return

    async def configure(self, shares: dict[str, Share]) -> Sequence[str]:
        return sorted(self.kept.keys() - shares.keys())

    async def close(self) -> None:
        return

    def bury(self, **fields: object) -> None:
        """Add a dead letter."""
        letter = DeadLetter(
            id=len(self.dead) + 1,
            destination="main",
            event_id=f"00000000-0000-4000-8000-{len(self.dead) + 1:012}",
            reason="rejected",
            status=400,
            detail="bad event",
            accepted_at=NOW - 7200,
            died_at=NOW - 3600,
            event=b'{"eventSourceId":"app","eventType":"x"}',
        )
        self.dead.append(replace(letter, **fields))  # type: ignore[arg-type]


class FakeDaemon:
    """The steering of a daemon that remembers what it was told."""

    def __init__(self, queue: MemoryQueue, *names: str) -> None:
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


class FakeReloads:
    """The reloads of a daemon, which all end in the same way."""

    def __init__(self, refused: Refusal | None = None) -> None:
        self.refused = refused
        self.error: Exception | None = None
        self.asked = 0

    async def reload(self) -> Refusal | None:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return self.refused


@dataclass
class Served:
    """An admin API that listens."""

    queue: MemoryQueue
    daemon: FakeDaemon
    address: Address
    reloads: FakeReloads


@contextlib.asynccontextmanager
async def serving(
    queue: MemoryQueue, daemon: FakeDaemon, address: Address, token: str | None, reloads: FakeReloads | None = None
) -> AsyncIterator[Served]:
    """Serve the admin API at an address; a TCP port of 0 is replaced by the real one."""
    reloads = reloads or FakeReloads()
    api = AdminApi(queue, daemon, reloads, queue.readmitted, observer=Logs(), now=lambda: NOW)
    reach = Reach.FILE if address.is_unix else Reach.MACHINE
    runner = Runner(api.application(Access(address, reach, token=token, allow_uids=frozenset(), section="admin")))
    await runner.setup()
    if address.path is not None:
        await web.UnixSite(runner, address.path).start()
    else:
        await web.TCPSite(runner, address.host, address.port).start()
        address = replace(address, port=runner.addresses[0][1])
    try:
        yield Served(queue, daemon, address, reloads)
    finally:
        await runner.cleanup()


@contextlib.contextmanager
def served_in_thread(tmp_path: Path, *names: str, token: str | None = None, tcp: bool = False) -> Iterator[Served]:
    """Serve the admin API beside a synchronous test."""
    queue = MemoryQueue()
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
            assert ready.wait(10)
            yield started[0]
        finally:
            loops[0].call_soon_threadsafe(stop.set)
            thread.join(10)
