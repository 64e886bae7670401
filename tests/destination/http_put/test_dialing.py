"""The first of several addresses that answers."""

from __future__ import annotations

import asyncio
import errno
import gc
import socket
from collections.abc import AsyncIterator

import pytest

from forwarder.destination.http_put.dialing import DialError, dial, in_turns
from forwarder.destination.http_put.resolver import Address
from tests.delivery.conftest import PATIENCE, raw_server
from tests.destination.http_put.servers import silent


def four(host: str, port: int) -> Address:
    return Address(socket.AF_INET, (host, port))


def six(host: str, port: int) -> Address:
    return Address(socket.AF_INET6, (host, port, 0, 0))


@pytest.fixture
async def served() -> AsyncIterator[int]:
    """A port at which connections are taken."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with raw_server(handle) as port:
        yield port


@pytest.fixture
def closed() -> int:
    """A port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
    return port


@pytest.mark.parametrize(
    ("given", "order"),
    [
        ("", ""),
        ("6", "6"),
        ("44", "44"),
        ("6644", "6464"),
        ("4666", "4666"),
        ("66664", "64666"),
    ],
)
def test_families_take_turns(given: str, order: str) -> None:
    """The family that the system puts first begins, and the other one has the second place."""
    addresses = [(six if kind == "6" else four)(f"{kind}{number}", 1) for number, kind in enumerate(given)]
    found = in_turns(addresses)
    assert "".join(str(address.sockaddr[0])[0] for address in found) == order
    assert sorted(found) == sorted(addresses)


async def test_what_refuses_is_passed_at_once(served: int, closed: int) -> None:
    """An address at which nobody listens does not wait for the delay between two attempts."""
    async with asyncio.timeout(PATIENCE):
        with await dial([four("127.0.0.1", closed), four("127.0.0.1", served)], delay=1000.0) as sock:
            assert sock.getpeername() == ("127.0.0.1", served)


async def test_what_is_silent_is_passed(served: int) -> None:
    """An address that does not answer costs the delay, and not the timeout."""
    with silent() as address:
        async with asyncio.timeout(PATIENCE):
            with await dial([address, four("127.0.0.1", served)], delay=0.02) as sock:
                assert sock.getpeername() == ("127.0.0.1", served)


async def test_all_refuse(closed: int) -> None:
    """Where no address answers, each says why."""
    with pytest.raises(DialError) as caught:
        await dial([six("::1", closed), four("127.0.0.1", closed)])
    assert [error.errno for error in caught.value.errors] == [errno.ECONNREFUSED] * 2


async def test_no_address() -> None:
    """A name without addresses cannot be connected to."""
    with pytest.raises(DialError) as caught:
        await dial([])
    assert caught.value.errors == []


async def test_cancelled() -> None:
    """Whoever stops waiting leaves no socket open: that would be an error of this test."""
    with silent() as one, silent() as two:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await dial([one, two], delay=0.01)
        await asyncio.sleep(0.01)
        gc.collect()
