"""Open files that clients leave to others."""

from __future__ import annotations

import asyncio
import socket
from typing import cast

import pytest
import structlog.testing
from hypothesis import given
from hypothesis import strategies as st

from forwarder.observe.logs import Logs
from forwarder.web import headroom
from forwarder.web.headroom import Headroom, kept_back


class Transport(asyncio.Transport):
    """A connection, which notes what becomes of it."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__({"socket": sock})
        self.aborted = False
        self.protocol: asyncio.BaseProtocol | None = None

    def abort(self) -> None:
        self.aborted = True

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol


def test_what_is_kept_back() -> None:
    """Deliveries, queue and admin API have their part; with few files, it is a part of them."""
    assert kept_back(65536, [1]) == (20, 12)
    assert kept_back(65536, [64, 1, 1]) == (154, 146)
    assert kept_back(64, [1]) == (20, 12)
    assert kept_back(32, [64]) == (12, 8)


@given(st.integers(16, 1 << 20), st.lists(st.integers(1, 64), min_size=1, max_size=200))
def test_most_files_are_for_clients(files: int, in_flight: list[int]) -> None:
    """Whatever is configured, clients have more than half of the files, and the admin API some that they have not."""
    intake, admin = kept_back(files, in_flight)
    assert 0 < admin < intake <= files / 2


async def test_a_connection_with_a_high_number_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is refused is counted, closed, and told at once and then together; what comes later finds room again."""
    monkeypatch.setattr(headroom, "_TELL_SECONDS", 0.05)
    one, other = socket.socketpair()
    with one, other, structlog.testing.capture_logs() as logs:
        low, high = sorted((one, other), key=socket.socket.fileno)
        room = Headroom("stream", Logs(), high.fileno())
        transports = [Transport(sock) for sock in (low, high, high, high)]
        assert [room.admits(transport) for transport in transports] == [True, False, False, False]
        assert [transport.aborted for transport in transports] == [False, True, True, True]
        # Nobody is told of the end of a connection of whose beginning he was not told.
        assert type(transports[1].protocol) is asyncio.Protocol
        assert room.refused == 3
        await asyncio.sleep(0.2)
    assert [(line["kind"], line["connections"]) for line in logs] == [("stream", 1), ("stream", 2)]
    assert "LimitNOFILE" in logs[0]["hint"]


async def test_without_a_limit_all_come_in() -> None:
    """A server that has no limit asks for none."""
    one, other = socket.socketpair()
    with one, other:
        assert Headroom("http", Logs()).admits(cast("asyncio.BaseTransport", Transport(one)))
