"""One producer floods; the others hardly notice, and the deliveries go on."""

from __future__ import annotations

import asyncio
import socket
import statistics
import threading
import time
from pathlib import Path

from tests.load.peers import connected, event, http, lines, running, status_of

POSTS = 40
# The number of the first event that is posted.
POSTED = 500_000_000_000


class Flood(threading.Thread):
    """Sends as fast as the forwarder takes until `end`; then every line is acked. `sent` counts events."""

    def __init__(self, peer: socket.socket) -> None:
        super().__init__()
        self._peer = peer
        self._is_over = threading.Event()
        self.sent = 0
        self.answers: list[bytes] = []

    def run(self) -> None:
        while not self._is_over.is_set():
            self._peer.sendall(lines(self.sent, 200))
            self.sent += 200
        self._peer.shutdown(socket.SHUT_WR)
        with self._peer.makefile("rb") as file:
            self.answers = file.readlines()

    def end(self) -> None:
        self._is_over.set()
        self.join()


def median_latency(peer: socket.socket, first: int) -> float:
    """Post single events, one after the other; return the median of the seconds that each took."""
    latencies = []
    for number in range(first, first + POSTS):
        request = http(event(number))
        began = time.monotonic()
        peer.sendall(request)
        assert status_of(peer) == 202
        latencies.append(time.monotonic() - began)
    return statistics.median(latencies)


async def test_a_flood_does_not_shut_others_out(tmp_path: Path) -> None:
    """While one stream floods, single posts are answered about as soon as ever, and deliveries go on."""
    async with running(tmp_path) as (forwarder, receiver):
        with (
            connected(forwarder.folder / "stream.sock", 1) as [flooding],
            connected(forwarder.folder / "http.sock", 1) as [posting],
        ):
            idle = await asyncio.to_thread(median_latency, posting, POSTED)
            flood = Flood(flooding)
            flood.start()
            try:
                await forwarder.until(lambda: flood.sent > 10_000)
                before = (await forwarder.account())["delivered"]
                flooded = await asyncio.to_thread(median_latency, posting, POSTED + POSTS)
                after = (await forwarder.account())["delivered"]
            finally:
                await asyncio.to_thread(flood.end)
            assert flooded < 50 * idle
            assert flooded < 1.0
            assert after > before
            assert flood.answers[-1] == b'{"ack": %d}\n' % flood.sent
        account = await forwarder.settled()
        assert account["delivered"] == receiver.stats.distinct == 1 + 2 * POSTS + flood.sent


async def test_a_backlog_drains_while_events_keep_coming(tmp_path: Path) -> None:
    """A producer that never stops posting does not keep a backlog from being delivered."""
    backlog, number = 30_000, POSTED
    async with running(tmp_path) as (forwarder, receiver):
        assert (await forwarder.admin("POST", "/v1/destinations/main/pause"))[0] == 204
        for first in range(0, backlog, 1000):
            assert (await forwarder.post(lines(first, 1000), "application/x-ndjson"))[0] == 202
        assert (await forwarder.account())["queued"] == backlog
        assert (await forwarder.admin("POST", "/v1/destinations/main/resume"))[0] == 204
        with connected(forwarder.folder / "http.sock", 1) as [posting]:

            async def is_drained() -> bool:
                nonlocal number
                posting.sendall(http(event(number)))
                assert status_of(posting) == 202
                number += 1
                # Delivered in order: once as many are, the backlog is.
                return bool((await forwarder.account())["delivered"] > backlog)

            await forwarder.until(is_drained)
        account = await forwarder.settled()
        assert account["delivered"] == receiver.stats.distinct == 1 + backlog + number - POSTED
