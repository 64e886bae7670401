"""How the process holds memory; looked at in a process of its own, as it is set for good."""

from __future__ import annotations

import subprocess
import sys

import pytest

from forwarder.daemon.memory import keep_freed_blocks


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
def test_what_exists_is_spared_by_the_collector() -> None:
    """What was there is frozen, cycles included, and cycles that are made afterwards are still collected."""
    said = run(
        "import gc, weakref\n"
        "from forwarder.daemon.memory import spare_what_stays\n"
        "class Node: pass\n"
        "def cycle():\n"
        "    node = Node(); node.self = node\n"
        "    return weakref.ref(node)\n"
        "before = cycle()\n"
        "spare_what_stays()\n"
        "garbage = before() is None\n"
        "after = cycle()\n"
        "gc.collect()\n"
        "print(garbage, gc.get_freeze_count() > 1000, after() is None)\n"
    )
    assert said.split() == ["True", "True", "True"]


@pytest.mark.slow
def test_freed_blocks_are_kept() -> None:
    """A block of the size of a batch that is freed and taken again costs no page faults anew."""
    said = run(
        "import resource\n"
        "from forwarder.daemon.memory import keep_freed_blocks\n"
        "def faults():\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "    for _ in range(100): bytearray(2_000_000)\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before\n"
        "usual = faults()\n"
        "keep_freed_blocks()\n"
        "faults()\n"
        "print(usual, faults())\n"
    )
    usual, kept = map(int, said.split())
    assert kept < usual / 10


def test_a_system_without_mallopt_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the C library has no mallopt nothing is done, and nothing fails."""
    loaded: list[object] = []

    def load(name: object) -> object:
        loaded.append(name)
        return object()

    monkeypatch.setattr("ctypes.CDLL", load)
    keep_freed_blocks()
    assert loaded == [None]
