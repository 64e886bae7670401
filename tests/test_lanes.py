"""The fast lane leaves out what it means to."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import SECOND_LOOP, SLOW
from tests.fixtures import both_loops


@pytest.mark.parametrize("folder", SLOW)
def test_slow_folders_are_there(folder: str) -> None:
    """The tests of a folder that is moved or renamed do not come into the fast lane unnoticed."""
    assert (Path(__file__).parent.parent / folder).is_dir()


def test_the_second_loop_is_known_by_its_name() -> None:
    """What runs on both event loops is left out on one of them, by the name that it has in the names of tests."""
    assert sum(f"[{name}".startswith(SECOND_LOOP) for name in both_loops()) == len(both_loops()) - 1
