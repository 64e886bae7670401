"""Fixtures that several folders of tests share; each folder's conftest names those that it takes."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

import pytest
import structlog.testing
import uvloop

from forwarder.signing import Signer, generate_key

Logs = list[MutableMapping[str, Any]]


def both_loops() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run each test on the daemon's event loop and on the standard one; stands for `pytest_asyncio_loop_factories`."""
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


@pytest.fixture(scope="session")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    """Return a signer with one key for the whole run."""
    file = tmp_path_factory.mktemp("keys") / "key.pem"
    file.write_bytes(generate_key(2048))
    file.chmod(0o600)
    return Signer.load(file)
