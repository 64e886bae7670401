"""What holds for all tests."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

FAST_LANE = "not slow"
"""What the fast lane is started with, after `-m`."""

# How long an example takes says more about the machine than about the forwarder.
# That a test is run more than once in a process, as mutation testing does, is no fault of the test.
settings.register_profile("all", deadline=None, suppress_health_check=[HealthCheck.differing_executors])
settings.register_profile("fast", settings.get_profile("all"), max_examples=25)


def pytest_configure(config: pytest.Config) -> None:
    """Try fewer examples in the fast lane."""
    settings.load_profile("fast" if config.getoption("markexpr") == FAST_LANE else "all")


# Folders of which every test is slow: they start processes, machines or containers, or wait for real time to pass.
SLOW = (
    "tests/campaigns/",
    "tests/deploy/",
    "tests/faults/",
    "tests/integration/",
    "tests/load/",
    "tests/monitoring/",
    "tests/queue/sqlite/recovery/",
)
# The event loop that the daemon does not run on. The tests of `fixtures.both_loops` run on it, too, in the full run.
SECOND_LOOP = "[asyncio"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow, besides what says so itself: whole folders, random input, and the second event loop."""
    for item in items:
        if item.nodeid.startswith(SLOW) or SECOND_LOOP in item.nodeid or item.get_closest_marker("fuzz"):
            item.add_marker(pytest.mark.slow)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import the slow folders in the fast lane: that would take it several seconds."""
    place = collection_path.relative_to(config.rootpath).as_posix() + "/"
    return True if place in SLOW and config.getoption("markexpr") == FAST_LANE else None


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
