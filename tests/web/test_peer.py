"""Who is at the other end."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from forwarder.observe.facts import UNKNOWN, Peer
from forwarder.web.peer import peer_of


async def peer_over(address: Path | str) -> Peer:
    """Return who connects over a unix socket, or over TCP."""
    found: asyncio.Future[Peer] = asyncio.get_running_loop().create_future()

    def connected(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.set_result(peer_of(writer.transport))
        writer.close()

    if isinstance(address, Path):
        server = await asyncio.start_unix_server(connected, address)
        _reader, writer = await asyncio.open_unix_connection(address)
    else:
        server = await asyncio.start_server(connected, address, 0)
        _reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
    async with server:
        peer = await found
    writer.close()
    return peer


async def test_over_a_unix_socket(tmp_path: Path) -> None:
    """The kernel knows the user and the process."""
    peer = await peer_over(tmp_path / "sock")
    assert peer == Peer(f"uid {os.getuid()}", os.getpid())
    assert str(peer) == f"uid {os.getuid()}, pid {os.getpid()}"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_over_tcp(host: str) -> None:
    """It is the address, without the port, which is another one for each connection."""
    assert str(await peer_over(host)) == host


def test_who_has_gone() -> None:
    """Of a peer that has hung up nothing is made up."""
    assert peer_of(None) == UNKNOWN
