"""What speaks to the network itself is tried on the daemon's event loop and on the standard one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing

import pytest
import uvloop

from tests.certificates import Authority
from tests.destination.http_put.pairs import Pairs
from tests.fixtures import signer

__all__ = ["pytest_asyncio_loop_factories", "signer"]

_ON_BOTH_LOOPS = {
    "test_checks",
    "test_client",
    "test_connection",
    "test_dialing",
    "test_pool",
    "test_resolver",
    "test_route",
}


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Choose the event loops on which a test runs."""
    loops = {"asyncio": asyncio.new_event_loop}
    return {"uvloop": uvloop.new_event_loop, **loops} if item.path.stem in _ON_BOTH_LOOPS else loops


@pytest.fixture
async def pairs() -> AsyncIterator[Pairs]:
    """Connections of which the other ends are the test's."""
    async with aclosing(Pairs()) as found:
        yield found


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority whose certificates are trusted where its file is configured."""
    return Authority(tmp_path_factory.mktemp("ca"), "our")
