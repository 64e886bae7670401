"""A shot: it goes off after what it waits for was seen often enough, and hits the process it was aimed at."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.campaigns.killing.shot import MOMENTS, Moment, Shot, Sight


@pytest.fixture
def victim() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            yield process
        finally:
            process.kill()


def test_it_counts_what_it_sees(victim: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """Only the right sight counts, and only the last of them kills."""
    shot = Shot(Moment("test", Sight.BODY, (0.0, 0.0), 1), 2, 0.0)
    shot.arm(victim.pid, tmp_path)
    shot.saw(Sight.BODY)
    shot.saw(Sight.HEAD)
    assert victim.poll() is None
    shot.saw(Sight.BODY)
    assert victim.wait(10) == -9
    shot.disarm()


def test_it_waits_for_its_delay(victim: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """The kill comes no earlier than the delay after the sight."""
    shot = Shot(Moment("test", Sight.READY, (0.0, 0.0), 1), 1, 0.05)
    shot.arm(victim.pid, tmp_path)
    began = time.monotonic()
    shot.saw(Sight.READY)
    assert victim.wait(10) == -9
    assert time.monotonic() - began >= 0.05
    shot.disarm()


def test_it_watches_a_file(victim: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """A write to the file that the moment names is seen, and sets it off."""
    shot = Shot(Moment("test", Sight.FILE, (0.0, 0.0), 1, file="queue.db"), 1, 0.0)
    shot.arm(victim.pid, tmp_path)
    (tmp_path / "queue.db").write_bytes(b"x")
    assert victim.wait(10) == -9
    shot.disarm()


def test_it_does_not_hit_another_process(victim: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """Disarmed, or aimed at a process that has ended, it harms nobody."""
    with subprocess.Popen(["true"]) as ended:
        shot = Shot(Moment("test", Sight.READY, (0.0, 0.0), 1), 1, 0.0)
        shot.arm(ended.pid, tmp_path)
    shot.fire()
    shot.disarm()
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    shot.fire()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    assert victim.poll() is None


@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: moment.name)
def test_a_seed_repeats_it(moment: Moment) -> None:
    """The same seed draws the same shot, with a delay in the moment's range."""
    shots = [Shot.drawn(Random(4), moment) for _ in range(2)]
    assert shots[0].delay == shots[1].delay
    assert moment.delays[0] <= shots[0].delay <= moment.delays[1]
