"""How hard the fuzzing tests try: a little in every run, longer on demand.

`FUZZ=50 pytest -m fuzz` tries fifty times as many examples.
"""

from __future__ import annotations

import os
from typing import Final

from hypothesis import HealthCheck, settings

FACTOR: Final = int(os.environ.get("FUZZ", "1"))


def examples(count: int) -> settings:
    """Return settings for this many examples, times `FUZZ`."""
    # Hostile input is slow to make, and one daemon serves all examples of a test on purpose.
    unhealthy = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
    return settings(max_examples=count * FACTOR, deadline=None, suppress_health_check=unhealthy)
