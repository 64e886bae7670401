"""What holds for all tests."""

from __future__ import annotations

import gc

from hypothesis import settings

# How long an example takes says more about the machine than about the forwarder.
settings.register_profile("forwarder", deadline=None)
settings.load_profile("forwarder")


def pytest_collection_finish() -> None:
    """Leave what is loaded by now out of every later garbage collection: many tests wait for one."""
    gc.collect()
    gc.freeze()
