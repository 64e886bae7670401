"""The fast lane leaves out what it means to."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import SLOW


@pytest.mark.parametrize("folder", SLOW)
def test_slow_folders_are_there(folder: str) -> None:
    """The tests of a folder that is moved or renamed do not come into the fast lane unnoticed."""
    assert (Path(__file__).parent.parent / folder).is_dir()
