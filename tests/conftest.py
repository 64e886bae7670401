"""What holds for all tests."""

from __future__ import annotations

import gc

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# How long an example takes says more about the machine than about the forwarder.
settings.register_profile("forwarder", deadline=None)
settings.load_profile("forwarder")


# Folders of which every test is slow: they start processes, machines or containers, or wait for real time to pass.
SLOW = (
    "tests/campaigns/",
    "tests/deploy/",
    "tests/faults/",
    "tests/integration/",
    "tests/load/",
    "tests/queue/sqlite/recovery/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is slow by its folder, and whatever tries random input, besides what says so itself."""
    for item in items:
        if item.nodeid.startswith(SLOW) or item.get_closest_marker("fuzz"):
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    """Leave what is loaded by now out of every later garbage collection: many tests wait for one."""
    gc.collect()
    gc.freeze()


# What takes long to be made and is shared, and the files that share it: their tests stay in one process.
_SHARED = {
    "tests/deploy/test_compose.py": "image",
    "tests/deploy/test_image.py": "image",
    "tests/deploy/test_kubernetes.py": "image",
    "tests/deploy/test_install.py": "package",
    "tests/deploy/test_systemd.py": "package",
}


class Scheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Gives a test to whichever process has nothing to do, in the order in which tests were collected."""

    def _split_scope(self, nodeid: str) -> str:
        return _SHARED.get(nodeid.partition("::")[0], nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    return Scheduling(config, log)
