"""What the tests of `send` send to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.intake import Receiving, receiving


@pytest.fixture
def intake(tmp_path: Path) -> Iterator[Receiving]:
    with receiving(tmp_path) as intake:
        yield intake


@pytest.fixture(params=["stream", "http"])
def to(request: pytest.FixtureRequest, intake: Receiving) -> str:
    """Both ways in: what is true of one is true of the other."""
    return str(intake.stream) if request.param == "stream" else f"http+{intake.http}"
