"""An admin API on a unix socket, and a client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from forwarder.model import Address
from tests.admin.serving import FakeDaemon, Served, serving
from tests.queue.watched import WatchedQueue


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    queue = WatchedQueue()
    daemon = FakeDaemon(queue, "main", "audit")
    async with serving(queue, daemon, Address(path=str(tmp_path / "admin.sock")), None) as served:
        yield served


@pytest.fixture
async def client(served: Served) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.UnixConnector(served.address.path or "")
    async with aiohttp.ClientSession("http://localhost", connector=connector) as session:
        yield session
