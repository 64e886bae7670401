"""The fast lane leaves out what it means to, and mutation testing finds what it is to look at."""

from __future__ import annotations

import tomllib
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


def test_what_is_mutated_is_there() -> None:
    """A module that is moved takes its line in the configuration of mutation testing with it, and its tests theirs."""
    root = Path(__file__).parent.parent
    settings = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["mutmut"]
    tests = settings["pytest_add_cli_args_test_selection"]
    assert [file for file in [*settings["only_mutate"], *tests] if not (root / file).is_file()] == []
    mirrored = {Path(file).with_name(f"test_{Path(file).name}").parts[1:] for file in settings["only_mutate"]}
    assert mirrored == {Path(file).parts[1:] for file in tests}
