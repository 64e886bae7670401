"""Thousands of connections at once: each is served, and costs little memory."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from forwarder.receiver import Receiver
from tests.integration.process import Forwarder
from tests.load.peers import connected, event, http, lines, read_ack, running, status_of

STREAMS, REQUESTERS = 2000, 1000
ROUNDS = 2
# Descriptors for the connections, and plenty for everything else.
FILES = STREAMS + 1000
# Bytes of resident memory that an open connection may cost, idle, after it was served.
EACH = 64 * 1024


@pytest.fixture
def _many_files() -> Iterator[None]:
    """Let this process, and those that it starts, open as many files as the connections need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < FILES:
        pytest.skip(f"the hard limit of open files is {hard}, the connections need {FILES}")
    if soft != resource.RLIM_INFINITY and soft < FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def all_delivered(forwarder: Forwarder, receiver: Receiver, count: int) -> None:
    """Wait until everything is delivered, and count it; one more event was there before."""
    account = await forwarder.settled()
    assert (account["accepted"], account["delivered"]) == (count + 1, count + 1)
    assert (receiver.stats.distinct, receiver.stats.refused) == (count + 1, 0)


@pytest.mark.usefixtures("_many_files")
async def test_thousands_of_streams(tmp_path: Path) -> None:
    """Two thousand streams that are open at once are all acked, round after round, at little memory each."""
    async with running(tmp_path) as (forwarder, receiver):
        before = forwarder.rss()
        with connected(forwarder.folder / "stream.sock", STREAMS) as peers:
            for turn in range(ROUNDS):
                for number, peer in enumerate(peers):
                    peer.sendall(lines((turn * STREAMS + number) * 2, 2))
                for peer in peers:
                    read_ack(peer, (turn + 1) * 2)
            await all_delivered(forwarder, receiver, STREAMS * ROUNDS * 2)
            assert (forwarder.rss() - before) / STREAMS < EACH


@pytest.mark.usefixtures("_many_files")
async def test_a_thousand_requesters(tmp_path: Path) -> None:
    """A thousand HTTP connections that post at once, and again, are all answered 202, at little memory each."""

    def post(peers: list[socket.socket], first: int) -> None:
        for number, peer in enumerate(peers, first):
            peer.sendall(http(event(number)))
        for peer in peers:
            assert status_of(peer) == 202

    async with running(tmp_path) as (forwarder, receiver):
        before = forwarder.rss()
        with connected(forwarder.folder / "http.sock", REQUESTERS) as peers:
            for turn in range(ROUNDS):
                post(peers, turn * REQUESTERS)
            await all_delivered(forwarder, receiver, REQUESTERS * ROUNDS)
            assert (forwarder.rss() - before) / REQUESTERS < EACH
