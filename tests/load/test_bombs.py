"""Compressed bodies that grow a thousandfold, many at once: refused, at a bounded cost in memory."""

from __future__ import annotations

import asyncio
import sys
import zlib
from pathlib import Path

import pytest

from tests.benchmarks import load
from tests.integration.process import Forwarder
from tests.load.peers import MIB, connected, event, http, is_quiet, running, status_of

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

AT_ONCE = 8
# The limit of a request, and what a bomb decompresses to.
LIMIT, SIZE = 8 * MIB, 64 * MIB
# A bomb's first sixteenth decompresses to half of the limit.
PART = 2 * SIZE // LIMIT
# All large requests together may hold 128 MiB; the rest is for taking them in.
BOUND = 192 * MIB
INGEST = {"max_request_bytes": LIMIT}


def bomb(encoding: str) -> bytes:
    """Return a body that is a thousandth of what it decompresses to, or less."""
    wbits = {"gzip": 31, "deflate": 15}
    packer = zlib.compressobj(9, wbits=wbits[encoding]) if encoding in wbits else zstd.ZstdCompressor()
    packed = b"".join(packer.compress(bytes(MIB)) for _ in range(SIZE // MIB)) + packer.flush()
    assert len(packed) * 990 < SIZE
    return packed


def never_ending(size: int) -> bytes:
    """Return a gzip body that decompresses to so many bytes, but for the end that says so."""
    packer = zlib.compressobj(9, wbits=31)
    return (packer.compress(bytes(size)) + packer.flush())[:-4]


async def is_at_rest(forwarder: Forwarder) -> None:
    """Wait until the process uses no more processor time, but for what its timers take."""
    assert forwarder.process is not None
    used = None
    while used != (used := load.cpu_seconds(forwarder.process.pid)):
        await asyncio.sleep(0.5)


async def explode(forwarder: Forwarder, bombs: dict[str, bytes]) -> tuple[list[int], int]:
    """Send all bombs, in two parts, while others are served; return the answers and by how much the peak rose."""
    assert forwarder.process is not None
    before = load.peak_memory(forwarder.process.pid)
    every = [(body, http(body, Content_Encoding=name)) for name, body in bombs.items()] * AT_ONCE
    with connected(forwarder.folder / "http.sock", len(every)) as peers:
        for peer, (body, request) in zip(peers, every, strict=True):
            peer.sendall(request[: -len(body) + len(body) // PART])
        for number in range(20):
            assert (await forwarder.post(event(number)))[0] == 202
        assert all(is_quiet(peer) for peer in peers)
        for peer, (body, request) in zip(peers, every, strict=True):
            peer.sendall(request[-len(body) + len(body) // PART :])
        for number in range(20, 40):
            assert (await forwarder.post(event(number)))[0] == 202
        statuses = [status_of(peer) for peer in peers]
    return statuses, load.peak_memory(forwarder.process.pid) - before


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
async def test_of_one_kind(tmp_path: Path, encoding: str) -> None:
    """Eight bombs of a kind are answered 413 each, others are served meanwhile, and memory stays bounded."""
    async with running(tmp_path, ingest=INGEST) as (forwarder, _receiver):
        statuses, grown = await explode(forwarder, {encoding: bomb(encoding)})
        assert statuses == [413] * AT_ONCE
        assert grown < 2 * LIMIT * AT_ONCE
        assert (await forwarder.settled())["delivered"] == 1 + 40


async def test_of_all_kinds(tmp_path: Path) -> None:
    """Bombs that together would take too much are refused as too large or for want of room; others are served."""
    async with running(tmp_path, ingest=INGEST) as (forwarder, _receiver):
        statuses, grown = await explode(forwarder, {name: bomb(name) for name in ("gzip", "deflate", "zstd")})
        assert set(statuses) <= {413, 503}
        assert grown < BOUND
        assert (await forwarder.settled())["delivered"] == 1 + 40


async def test_that_never_end(tmp_path: Path) -> None:
    """Large requests that take all room and do not end shut no small request out."""
    room = 128 * MIB
    async with running(tmp_path) as (forwarder, _receiver):
        before = forwarder.rss()
        body = never_ending(room // AT_ONCE)
        request = http(body + b"....", Content_Encoding="gzip")[:-4]
        with connected(forwarder.folder / "http.sock", AT_ONCE) as peers:
            for peer in peers:
                peer.sendall(request)
            await forwarder.until(lambda: forwarder.rss() - before > room - 4 * MIB)
            # The last of them must be unpacked whole: beside a small request there is no room for more of it.
            await is_at_rest(forwarder)
            for number in range(20):
                assert (await forwarder.post(event(number)))[0] == 202
            assert all(is_quiet(peer) for peer in peers)
        assert (await forwarder.settled())["delivered"] == 1 + 20
