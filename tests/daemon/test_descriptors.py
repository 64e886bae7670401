"""The limit of open files."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from tests.integration.process import Forwarder
from tests.load.descriptors import soft_limit


@pytest.mark.slow
async def test_raised_at_the_start(tmp_path: Path) -> None:
    """A daemon that is started with few files allowed allows itself as many as the system does."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with soft_limit(200):
        forwarder = await Forwarder(tmp_path / "f", "http://127.0.0.1:1/put").start()
    try:
        assert forwarder.process is not None
        assert resource.prlimit(forwarder.process.pid, resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        await forwarder.kill()
