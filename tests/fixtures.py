"""Fixtures that several folders of tests share; each folder's conftest names those that it takes."""

from __future__ import annotations

import asyncio
import gc
import re
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

import pytest
import structlog.testing
import uvloop

from forwarder.signing import Signer, generate_key

PATIENCE = 60.0
"""Seconds after which a test that waits for something has failed. A busy machine may need many of them."""

Logs = list[MutableMapping[str, Any]]
_IS_SLOW = re.compile(r"Executing .* took \d+\.\d+ seconds", re.DOTALL).fullmatch


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
    # What is left stays for long: a later collection need not look at it again.
    gc.freeze()
    assert lines == []
    # At the end of a test, what the test itself has logged is no longer what `caplog` shows first.
    said = [record.getMessage() for record in [*caplog.get_records("call"), *caplog.records]]
    # In debug mode, asyncio tells of a callback that took more than 0.1 s. On a busy machine any may.
    assert [words for words in said if not _IS_SLOW(words)] == []


@pytest.fixture(scope="session")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    """Return a signer with one key for the whole run."""
    file = tmp_path_factory.mktemp("keys") / "key.pem"
    file.write_bytes(generate_key(2048))
    file.chmod(0o600)
    return Signer.load(file)
