"""The intake runs on both event loops in tests, and nothing that goes wrong stays unseen."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from forwarder.ingest.express import Connection
from tests.fixtures import both_loops as pytest_asyncio_loop_factories
from tests.fixtures import logs
from tests.ingest.serving import Serving, serving

__all__ = ["logs", "pytest_asyncio_loop_factories"]


@pytest.fixture(params=["unix", pytest.param("tcp", marks=pytest.mark.slow)])
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Serving]:
    """Serve on each kind of address: what takes this does not depend on it, so the fast lane takes one."""
    async with serving(tmp_path, tcp=request.param == "tcp") as served:
        yield served


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Serving]:
    """Serve on unix sockets."""
    async with serving(tmp_path) as found:
        yield found


@pytest.fixture
def handed_over(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What went over to aiohttp."""
    found: list[bytes] = []
    known = Connection._hand_over

    def hand_over(self: Connection, data: bytes) -> None:
        found.append(data)
        known(self, data)

    monkeypatch.setattr(Connection, "_hand_over", hand_over)
    return found
