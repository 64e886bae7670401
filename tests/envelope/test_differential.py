"""A short run of the differential fuzzer, other cases each time but for the first ones."""

from __future__ import annotations

import random

import pytest

from tests.envelope.differential import check
from tests.fuzzing import FACTOR

pytestmark = pytest.mark.fuzz


@pytest.mark.parametrize("seed", [1, 2, 3, None])
def test_the_verdict_is_that_of_a_slow_reading(seed: int | None) -> None:
    """Whatever is moved, dropped or doubled between events and within them, the same events are stored, as written."""
    for number in range(1500 * FACTOR):
        check(random.getrandbits(32) if seed is None else seed, number)
