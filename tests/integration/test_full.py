"""A full queue, and a full share, as an operator meets them: all tell the same, and the next step mends it."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.process import Forwarder, events
from tests.integration.receiving import point, receiver_for

# Each starts the real process.
pytestmark = pytest.mark.slow

MIB = 1 << 20
DOWN = "503*1000000"
FILLER = {"x": "x" * 20_000}
# What is found out in a round is told within five seconds; a busy machine may take longer to do what is asked of it.
SECONDS = 5.0


async def refused(forwarder: Forwarder, **fields: Any) -> int:
    """Post events until one request is refused; return how many were taken."""
    for number in range(10_000):
        status, answer = await forwarder.post(events(number, 1, data=FILLER, **fields))
        if status != 202:
            assert (status, answer["type"]) == (503, "urn:forwarder:problem:queue-full")
            return number
    raise AssertionError("the queue has no end")


async def told(forwarder: Forwarder, *, full: bool, destination: str | None = None) -> dict[str, Any]:
    """Wait until the status says that the queue, or a share, is full or is not, and the log and warnings with it."""

    async def is_so() -> bool:
        status = await forwarder.status()
        place = status["queue"] if destination is None else status["destinations"][destination]
        warned = [
            found for found in status["warnings"] if (found["key"], found["destination"]) == ("queue.full", destination)
        ]
        lines = [line for line in forwarder.logged("queue.full") if line.get("destination") == destination]
        ended = [line for line in forwarder.logged("condition.ended") if line.get("destination") == destination]
        return bool(place["full"] is bool(warned) is full and len(lines) == 1 and len(ended) == (not full))

    await forwarder.until(is_so, 2 * SECONDS)
    return await forwarder.status()


async def ready(forwarder: Forwarder) -> tuple[int, str]:
    status, answer = await forwarder.admin("GET", "/readyz")
    return status, answer["detail"] if status != 200 else ""


async def test_over_http(tmp_path: Path) -> None:
    """From the first 503 on it is full, and not ready, for all who look, until the destination takes events again."""
    forwarder, receiver = receiver_for(tmp_path / "f", faults=DOWN)
    forwarder.config["queue"]["max_bytes"] = 4 * MIB
    async with receiver, point(forwarder, receiver):
        taken = await refused(forwarder)
        assert taken > 100
        status = await told(forwarder, full=True)
        words = "the queue is full: 4,194,304 bytes (queue.max_bytes)"
        queue = status["queue"]
        assert (queue["bytes"], queue["refused_while_full"], queue["full_in_seconds"]) == (4 * MIB, 1, 0.0)
        assert (status["ready"], status["not_ready"]) == (False, words)
        assert await ready(forwarder) == (503, words)
        [line] = forwarder.logged("queue.full")
        assert (line["level"], line["detail"]) == ("error", f"{words}; 1 request refused")
        shown = forwarder.command("status").stdout.decode()
        assert "FULL" in shown
        receiver.faults = ""
        await forwarder.settled()
        status = await told(forwarder, full=False)
        assert (status["queue"]["full_since"], status["not_ready"]) == (None, None)
        assert await ready(forwarder) == (200, "")
        assert (await forwarder.post(events(0, 1)))[0] == 202


async def test_over_the_stream(tmp_path: Path) -> None:
    """A stream that is not read from any more makes the queue full, without a single refusal; nothing of it is lost."""
    forwarder, receiver = receiver_for(tmp_path / "f", faults=DOWN)
    forwarder.config["queue"]["max_bytes"] = 4 * MIB
    count = 400
    lines = b"".join(json.dumps(event).encode() + b"\n" for event in events(0, count, data=FILLER))
    async with receiver, point(forwarder, receiver):
        with forwarder.stream() as peer:
            sending = asyncio.create_task(asyncio.to_thread(peer.sendall, lines))
            status = await told(forwarder, full=True)
            assert status["queue"]["refused_while_full"] == 1
            assert not sending.done()
            assert (await ready(forwarder))[0] == 503
            receiver.faults = ""
            await sending
            peer.shutdown(socket.SHUT_WR)
            last = await asyncio.to_thread(lambda: peer.makefile("rb").readlines()[-1])
        assert json.loads(last) == {"ack": count}
        await told(forwarder, full=False)
        assert (await forwarder.settled())["delivered"] == count


async def test_the_share_of_one_destination(tmp_path: Path) -> None:
    """A full share shows at its destination; the others accept, so the daemon is ready; more room mends it."""
    forwarder, receiver = receiver_for(tmp_path / "f", faults=DOWN)
    async with receiver:
        main = {**forwarder.config["destinations"]["main"], "url": receiver.url}
        forwarder.config["destinations"] = {
            "main": {**main, "match": {"eventType": ["login"]}, "queue": {"max_bytes": MIB}},
            "audit": {**main, "match": {"eventType": ["audit"]}},
        }
        async with forwarder:
            await refused(forwarder)
            status = await told(forwarder, full=True, destination="main")
            assert not status["queue"]["full"]
            assert not status["destinations"]["audit"]["full"]
            assert (await ready(forwarder))[0] == 200
            assert (await forwarder.post(events(0, 1, eventType="audit")))[0] == 202
            [line] = forwarder.logged("queue.full")
            assert "destinations.main.queue.max_bytes" in line["detail"]
            assert "reload" in line["hint"]
            forwarder.config["destinations"]["main"]["queue"]["max_bytes"] = 2 * MIB
            forwarder.write_config()
            assert forwarder.command("reload").returncode == 0
            await told(forwarder, full=False, destination="main")


async def test_every_share(tmp_path: Path) -> None:
    """Where no destination can accept, nobody is sent here; room makes it ready again, though nobody asks."""
    forwarder, receiver = receiver_for(tmp_path / "f", faults=DOWN)
    forwarder.config["destinations"]["main"]["queue"] = {"max_bytes": MIB}
    async with receiver, point(forwarder, receiver):
        await refused(forwarder)
        status, words = await ready(forwarder)
        assert (status, words.partition(":")[0]) == (503, "the queue of destination main is full")
        receiver.faults = ""
        await forwarder.settled()
        began = time.monotonic()

        async def is_ready() -> bool:
            return (await ready(forwarder))[0] == 200

        await forwarder.until(is_ready, 3 * SECONDS)
        assert time.monotonic() - began < 3 * SECONDS
