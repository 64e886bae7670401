"""What holds for the tests of the campaigns."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder with a short path: campaigns make sockets deep below it, and Linux allows their paths 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="fwd-") as folder:
        yield Path(folder)
