"""The life of a daemon: one for each queue, a stop that delivers and ends in time."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path

import pytest

from tests.integration.process import events
from tests.integration.receiving import point, receiver_for
from tests.queue.building import numbers

# Each starts the real process.
pytestmark = pytest.mark.slow


async def test_stop_delivers_what_waits(tmp_path: Path) -> None:
    """SIGTERM delivers what waits, though no batch is full and none is old enough."""
    forwarder, receiver = receiver_for(tmp_path / "f")
    forwarder.config["destinations"]["main"]["batch"]["max_age"] = "1h"
    async with receiver, point(forwarder, receiver):
        await forwarder.post(events(0, 10))
        assert (await forwarder.account())["queued"] == 10
        assert await forwarder.stop() == 0
        assert numbers(receiver.events) == list(range(10))
    assert not (tmp_path / "f/http.sock").exists()


async def test_stop_with_a_dead_destination(tmp_path: Path) -> None:
    """With a destination that is down, a stop does not wait for it; the events are still there afterwards."""
    forwarder, receiver = receiver_for(tmp_path / "f")
    forwarder.config["destinations"]["main"]["retry"] = {"initial": "1h", "max": "1h"}
    async with forwarder:
        await forwarder.post(events(0, 10))

        async def failed() -> bool:
            return bool((await forwarder.account())["last_error"])

        await forwarder.until(failed)
        assert await forwarder.stop() == 0
        assert forwarder.logged("forwarder.stopped")[0]["queued"] == 10
    async with receiver, point(forwarder, receiver):
        await forwarder.settled()
    assert numbers(receiver.events) == list(range(10))


async def test_a_second_signal_leaves_at_once(tmp_path: Path) -> None:
    """While a stop waits for a slow destination, a second signal ends the process; nothing is lost."""
    forwarder, receiver = receiver_for(tmp_path / "f", faults="timeout:30")
    async with receiver, point(forwarder, receiver):
        await forwarder.post(events(0, 10))
        await forwarder.until(lambda: receiver.requests)
        assert forwarder.process is not None
        forwarder.process.terminate()
        await forwarder.until(lambda: forwarder.logged("forwarder.stopping"))
        assert await forwarder.stop() == 128 + 15
        async with forwarder:
            await forwarder.settled()
    assert set(numbers(receiver.events)) == set(range(10))


async def test_a_second_instance_is_refused(tmp_path: Path) -> None:
    """Two daemons never share a queue: the second one leaves with exit code 75 and says who holds it."""
    forwarder, receiver = receiver_for(tmp_path / "f")
    async with receiver, point(forwarder, receiver):
        second = forwarder.command("run")
        assert second.returncode == 75
        assert f"process {forwarder.process.pid}" in second.stderr.decode()  # type: ignore[union-attr]
        assert (await forwarder.post(events(0, 1)))[0] == 202
        await forwarder.settled()


async def test_a_stop_waits_for_nobody_who_does_not_read(tmp_path: Path) -> None:
    """Clients that stand still take no more than the seconds that README allows beside `shutdown_timeout`."""
    forwarder, receiver = receiver_for(tmp_path / "f", faults="timeout:90")
    forwarder.config["shutdown_timeout"] = "1s"
    async with receiver, point(forwarder, receiver):
        for first in range(0, 2000, 200):
            await forwarder.post(events(first, 200, version="x" * 4000))
        with socket.socket(socket.AF_UNIX) as reader, socket.socket(socket.AF_UNIX) as writer:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.connect(str(forwarder.folder / "admin.sock"))
            reader.sendall(b"GET /v1/destinations/main/queue HTTP/1.1\r\nHost: x\r\n\r\n")
            writer.connect(str(forwarder.folder / "http.sock"))
            writer.sendall(b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
            assert await asyncio.to_thread(reader.recv, 12) == b"HTTP/1.1 200"
            began = time.monotonic()
            assert await forwarder.stop() == 0
            took = time.monotonic() - began
        assert took < 1 + 5 + 3
        assert len(forwarder.logged("forwarder.stopped")) == 1
