"""Clients that send a byte at a time, or never read: they wait, and nobody waits for them."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

import pytest

from tests.integration.process import PATIENCE, Forwarder
from tests.load.peers import MIB, connected, event, http, is_quiet, lines, read_ack, running, status_of

SLOW = 50
# Bytes that each slow client has sent, one a time, when the others are done.
BYTES = 100
# The number of the first event of those who are not slow.
OTHERS = 1_000_000


def request_of(way: str, number: int) -> bytes:
    """Return what a slow client of this way sends; only its first BYTES are sent slowly."""
    match way:
        case "line":
            return lines(number, 1)
        case "body" | "head":
            return http(event(number), X_Long="x" * BYTES)
        case _:
            return http(start="GET /v1/status", X_Long="x" * BYTES)


@pytest.mark.parametrize("way", ["head", "body", "line", "admin"])
async def test_a_byte_at_a_time(tmp_path: Path, way: str) -> None:
    """While fifty clients send a byte at a time, others are served; the slow ones are served once they are done."""
    name = {"line": "stream.sock", "admin": "admin.sock"}.get(way, "http.sock")
    sent = [request_of(way, number) for number in range(SLOW)]
    begin = sent[0].index(b"\r\n\r\n") + 4 if way == "body" else 0
    async with running(tmp_path) as (forwarder, receiver):
        with (
            connected(forwarder.folder / name, SLOW) as peers,
            connected(forwarder.folder / "stream.sock", 1) as [line],
        ):
            for peer, request in zip(peers, sent, strict=True):
                peer.sendall(request[:begin])
            for turn in range(BYTES):
                for peer, request in zip(peers, sent, strict=True):
                    peer.sendall(request[begin + turn : begin + turn + 1])
                if turn % 4 == 0:
                    await serves(forwarder, line, turn // 4)
            assert all(is_quiet(peer) for peer in peers)
            for peer, request in zip(peers, sent, strict=True):
                peer.sendall(request[begin + BYTES :])
            for peer in peers:
                if way == "line":
                    read_ack(peer, 1)
                else:
                    assert status_of(peer) == (200 if way == "admin" else 202)
        account = await forwarder.settled()
    expected = 1 + BYTES // 4 * 2 + (SLOW if way != "admin" else 0)
    assert account["delivered"] == receiver.stats.distinct == expected


async def serves(forwarder: Forwarder, line: socket.socket, turn: int, lines_before: int = 0) -> None:
    """See that each intake takes an event, and the admin address answers."""
    assert (await forwarder.post(event(OTHERS + 2 * turn)))[0] == 202
    line.sendall(lines(OTHERS + 2 * turn + 1, 1))
    read_ack(line, lines_before + turn + 1)
    await forwarder.status()


# Lines that are each acked alone: far more acks than the buffer of a unix socket takes unread.
ALONE = 1000


async def test_a_producer_that_never_reads_its_acks(tmp_path: Path) -> None:
    """A producer that reads no ack has all its events stored, at no memory, and others are served beside it."""
    count, step = 40_000, 1000
    async with running(tmp_path) as (forwarder, receiver):
        before = forwarder.rss()
        with connected(forwarder.folder / "stream.sock", 2) as [deaf, line]:
            for number in range(ALONE):
                deaf.sendall(lines(number, 1))
                line.sendall(lines(2 * OTHERS + number, 1))
                read_ack(line, number + 1)

            def flood() -> None:
                for first in range(ALONE, count, step):
                    deaf.sendall(lines(first, step))

            flooding = asyncio.create_task(asyncio.to_thread(flood))
            turns = 0
            while not flooding.done() or not turns:
                await serves(forwarder, line, turns, ALONE)
                turns += 1
            await flooding
            total = 1 + count + ALONE + 2 * turns

            async def all_delivered() -> bool:
                return bool((await forwarder.account())["delivered"] == total)

            await forwarder.until(all_delivered)
            assert forwarder.rss() - before < 64 * MIB
            deaf.shutdown(socket.SHUT_WR)
            _refused, acked = await asyncio.to_thread(answers, deaf)
        assert acked == count
    assert receiver.stats.distinct == total


async def test_a_producer_that_never_reads_its_refusals(tmp_path: Path) -> None:
    """A producer that reads no refusal is not read from until it does; then each of its lines is answered."""
    async with running(tmp_path) as (forwarder, _receiver):
        before = forwarder.rss()
        with connected(forwarder.folder / "stream.sock", 2) as [deaf, line]:
            count = await asyncio.to_thread(fill, deaf)
            for turn in range(10):
                await serves(forwarder, line, turn)
            assert forwarder.rss() - before < 32 * MIB
            refused, acked = await asyncio.to_thread(answers, deaf)
        assert (refused, acked) == (list(range(1, count + 1)), count)
        assert (await forwarder.settled())["accepted"] == 1 + 20


# A line that is refused, long enough that not too many of them fit into the buffers.
_BAD = b'{"eventType": "%b"}\n' % (b"x" * 1000)


def fill(peer: socket.socket) -> int:
    """Send lines that are refused until nothing more is taken; return how many whole lines were sent."""
    peer.settimeout(1.0)
    sent, at_most = 0, 64 * MIB // len(_BAD)
    for number in range(at_most):
        rest = _BAD
        while rest:
            try:
                rest = rest[peer.send(rest) :]
            except TimeoutError:
                # A line that was begun is no line: the client hangs up in the middle of it.
                assert len(rest) == len(_BAD), "a unix socket takes so little as a whole or not at all"
                peer.shutdown(socket.SHUT_WR)
                return number
        sent = number
    raise AssertionError(f"{sent} lines were taken without an answer being read")


def answers(peer: socket.socket) -> tuple[list[int], int]:
    """Read to the end; return the lines that were refused and the last ack."""
    peer.settimeout(PATIENCE)
    with peer.makefile("rb") as file:
        found = [json.loads(answer) for answer in file]
    return [answer["refused"] for answer in found if "refused" in answer], found[-1]["ack"]
