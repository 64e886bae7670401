"""What the service manager is told, with a real socket in its place."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from forwarder.daemon.report import Report
from forwarder.errors import StorageError
from forwarder.model import QueueStats
from forwarder.observe.logs import Logs
from forwarder.queue.base import Share
from forwarder.queue.sqlite.queue import SqliteQueue
from forwarder.systemd import Notifier

# Two looks within a tenth of a second.
_WATCHDOG_USEC = "100000"


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
        peer.bind(str(tmp_path / "notify"))
        peer.settimeout(30)
        yield peer


@asynccontextmanager
async def reporting(folder: Path, kind: type[SqliteQueue] = SqliteQueue) -> AsyncIterator[Report]:
    """Report about a queue of this kind to the manager in the folder."""
    environ = {"NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": _WATCHDOG_USEC}
    async with await kind.open(folder / "queue.db", Logs(), max_bytes=1 << 30) as queue:
        await queue.configure({"main": Share(None, drop_oldest=False)})
        yield Report(Notifier(environ), queue, queue.trouble, lambda: "unix:/somewhere")


async def told(manager: socket.socket) -> list[str]:
    """Return the lines of the next message."""
    return (await asyncio.to_thread(manager.recv, 65536)).decode().splitlines()


async def test_readiness_and_stop(tmp_path: Path, manager: socket.socket) -> None:
    """Readiness comes with the addresses, and a stop says what is still being done."""
    async with reporting(tmp_path) as report:
        report.ready()
        assert await told(manager) == ["READY=1", "STATUS=Listening at unix:/somewhere"]
        report.stopping()
        assert await told(manager) == ["STOPPING=1", "STATUS=Delivering what waits"]


async def test_a_refused_reload_is_told_until_another_is_not(tmp_path: Path, manager: socket.socket) -> None:
    """The reason stays in the line while the old configuration goes on, and goes with the next good reload."""
    async with reporting(tmp_path) as report:
        report.reloading()
        begin, moment = await told(manager)
        assert begin == "RELOADING=1"
        assert moment.removeprefix("MONOTONIC_USEC=").isdigit()
        report.reloaded("a.yaml:3: `url` is\nno address")
        words = "STATUS=Listening at unix:/somewhere (the last reload was refused: a.yaml:3: `url` is no address)"
        assert await told(manager) == ["READY=1", words]
        watching = asyncio.create_task(report.run())
        feed, line = await told(manager)
        watching.cancel()
        assert feed == "WATCHDOG=1"
        assert "(the last reload was refused: a.yaml:3: `url` is no address)" in line
        report.reloaded(None)
        assert await told(manager) == ["READY=1", "STATUS=Listening at unix:/somewhere"]


async def test_a_reason_of_any_length_fits(tmp_path: Path, manager: socket.socket) -> None:
    """Thousands of mistakes do not keep systemd from being told that the reload is over."""
    async with reporting(tmp_path) as report:
        report.reloaded("mistake " * 1_000_000)
        ready, line = await told(manager)
    assert ready == "READY=1"
    assert len(line) < 1100


async def test_the_watchdog_is_fed_with_answers_of_the_queue(tmp_path: Path, manager: socket.socket) -> None:
    """Again and again, with the number of queued events."""
    async with reporting(tmp_path) as report:
        watching = asyncio.create_task(report.run())
        for _ in range(3):
            assert await told(manager) == ["WATCHDOG=1", "STATUS=0 events queued; listening at unix:/somewhere"]
        watching.cancel()


class _Failing(SqliteQueue):
    """A queue whose disk cannot be read any more."""

    async def stats(self) -> QueueStats:
        raise StorageError("the queue's storage fails: disk I/O error")


async def test_a_failing_disk_is_no_reason_for_a_restart(tmp_path: Path, manager: socket.socket) -> None:
    """A queue that answers that its storage fails is alive: the watchdog is fed, and the line says what is wrong."""
    async with reporting(tmp_path, _Failing) as report:
        watching = asyncio.create_task(report.run())
        assert await told(manager) == ["WATCHDOG=1", "STATUS=the queue's storage fails: disk I/O error"]
        watching.cancel()


class _Stuck(SqliteQueue):
    """A queue that never answers."""

    async def stats(self) -> QueueStats:
        await asyncio.Event().wait()
        raise AssertionError


async def test_a_stuck_queue_starves_the_watchdog(tmp_path: Path, manager: socket.socket) -> None:
    """While the queue does not answer, the watchdog is not fed."""
    manager.settimeout(0.5)
    async with reporting(tmp_path, _Stuck) as report:
        watching = asyncio.create_task(report.run())
        with pytest.raises(TimeoutError):
            await told(manager)
        watching.cancel()
