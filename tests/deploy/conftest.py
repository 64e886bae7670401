"""The image of this project, built once for all tests of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deploy.engine import IMAGE, PROJECT, Engine


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """A store that holds the image."""
    with Engine() as engine:
        engine.make_base()
        engine.build(PROJECT, IMAGE, "--build-arg=REVISION=0123abc")
        yield engine
