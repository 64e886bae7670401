"""The intake runs on both event loops in tests, and nothing that goes wrong stays unseen."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import pytest
import structlog.testing
import uvloop

from tests.ingest.serving import Serving, serving

Logs = list[MutableMapping[str, Any]]


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run each test on the daemon's event loop and on the standard one."""
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


@pytest.fixture(autouse=True)
def logs(caplog: pytest.LogCaptureFixture) -> Iterator[Logs]:
    """What is logged; a line that a test does not take from the list is an error."""
    with structlog.testing.capture_logs() as lines:
        yield lines
    # Tasks whose exception nobody retrieved complain when they are collected.
    gc.collect()
    assert lines == []
    # At the end of a test, what the test itself has logged is no longer what `caplog` shows first.
    assert [record.getMessage() for record in [*caplog.get_records("call"), *caplog.records]] == []


@pytest.fixture(params=["unix", "tcp"])
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Serving]:
    """Serve on each kind of address."""
    async with serving(tmp_path, tcp=request.param == "tcp") as served:
        yield served


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Serving]:
    """Serve on unix sockets."""
    async with serving(tmp_path) as found:
        yield found
