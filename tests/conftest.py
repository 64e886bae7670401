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


# What the fast lane (`-m "not slow"`) leaves out, by how node ids begin: tests that start processes, machines or
# containers, wait for real time to pass, or try very many examples. `--durations=50` shows where time goes.
SLOW = (
    "tests/campaigns/",
    "tests/cli/test_check.py",
    "tests/cli/test_demo.py",
    "tests/delivery/test_delivery.py::TestRejected",
    "tests/delivery/test_pump.py::TestCancelled",
    "tests/delivery/test_pump_model.py",
    "tests/delivery/test_refusals.py",
    "tests/deploy/",
    "tests/envelope/test_checking.py::TestProperties",
    "tests/envelope/test_differential.py",
    "tests/envelope/test_fuzz.py",
    "tests/envelope/test_text.py::test_tiny_elements_are_not_all_read_at_once",
    "tests/faults/",
    "tests/ingest/test_framing_fuzz.py",
    "tests/ingest/test_http.py::TestHoldsUpNobody",
    "tests/ingest/test_stream.py::TestAccess::test_a_flood_of_tiny_lines",
    "tests/ingest/test_stream.py::TestClientsThatMisbehave",
    "tests/integration/",
    "tests/load/",
    "tests/queue/sqlite/recovery/",
    "tests/queue/sqlite/test_room.py",
    "tests/queue/sqlite/test_model.py",
    "tests/queue/sqlite/test_queue.py::test_a_full_queue_that_dies_and_is_replayed",
    "tests/test_style.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is slow."""
    for item in items:
        if item.nodeid.startswith(SLOW):
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
