"""The code passes its own checks: lint, format, types."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "command",
    [["ruff", "check"], ["ruff", "format", "--check"], ["mypy"]],
    ids=["lint", "format", "types"],
)
def test_a_checker_has_nothing_to_say(command: list[str]) -> None:
    """Lint, format and strict types hold for the forwarder and its tests."""
    checked = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, f"{' '.join(command)} says:\n{checked.stdout}{checked.stderr}"
