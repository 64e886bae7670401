"""`forwarder demo`: the main job, with faults, on any machine."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def demo(*words: str) -> list[str]:
    return [sys.executable, "-m", "forwarder", "demo", *words]


def test_every_accepted_event_is_verified() -> None:
    """The demo ends with 0, its table says that all was accepted, delivered and verified, and nothing died."""
    done = subprocess.run(demo("--events", "437"), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    row = next(line for line in done.stdout.splitlines() if line.startswith("│"))
    accepted, delivered, verified, duplicates, dead = map(int, re.findall(r"\d+", row))
    assert (accepted, delivered, verified, dead) == (437, 437, 437, 0)
    assert duplicates > 0, "an answer was lost on purpose"
    for shown in ("503", "429", "SIGKILL", "cut-after-store"):
        assert shown in done.stdout


def test_it_leaves_nothing_behind(tmp_path: Path) -> None:
    """The temporary folder is removed."""
    done = subprocess.run(
        demo("--events", "1"), capture_output=True, text=True, timeout=120, check=True, env={"TMPDIR": str(tmp_path)}
    )
    assert str(tmp_path) in done.stdout
    assert not list(tmp_path.iterdir())


def test_keep_goes_on_until_it_is_told_to_stop() -> None:
    """With --keep it prints how to send to it, and the printed curl line works."""
    with subprocess.Popen(demo("--events", "10", "--keep"), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        shown = ""
        deadline = time.monotonic() + 60
        while "look:" not in shown and time.monotonic() < deadline:
            shown += process.stdout.readline()
        command = shown[shown.index("curl") : shown.index("  stream:")]
        sent = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=30)
        assert '"accepted": 1' in sent.stdout, sent.stderr
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


@pytest.mark.parametrize("words", [("--events", "0"), ("--events", "many"), ("now",)])
def test_usage(words: tuple[str, ...]) -> None:
    """Wrong words are a usage error, not a traceback."""
    done = subprocess.run(demo(*words), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
