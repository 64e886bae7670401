"""The quick start of README.md, followed by copy and paste: three terminals in an empty folder."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.documents import samples, section
from tests.integration.process import PATIENCE

# Where the receiver listens without being told; a test takes a port that is free.
PORT = 7780


@contextmanager
def terminal(folder: Path, commands: str, environ: Mapping[str, str]) -> Iterator[Path]:
    """Paste commands into a terminal that is open until the block ends; yield the file with what they print."""
    printed = folder.with_name(f"{folder.name}-{len(list(folder.parent.iterdir()))}")
    with printed.open("wb") as output:
        # A group of its own, which Ctrl-C reaches: the shell and what it runs.
        process = subprocess.Popen(
            ["sh", "-ec", commands], cwd=folder, env=environ, stdout=output, stderr=output, process_group=0
        )
        try:
            yield printed
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(PATIENCE)


def until(printed: Path, words: str) -> None:
    """Wait until these words are printed."""
    deadline = time.monotonic() + PATIENCE
    while words not in (text := printed.read_text(encoding="utf-8")):
        assert time.monotonic() < deadline, text
        time.sleep(0.05)


def stored(port: int) -> int:
    """Return how many events the receiver has."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/stats", timeout=PATIENCE) as answer:
        found: dict[str, Any] = json.load(answer)
    return int(found["stored"])


def test_quick_start(tmp_path: Path) -> None:
    """With nothing but the commands of the README, two events are accepted, and verified by the receiver."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    first, second, third = samples(section("README.md", "Quick start"), "sh")
    assert f"http://127.0.0.1:{PORT}/put" in first
    first = first.replace(str(PORT), str(port)).replace(" receiver ", f" receiver --listen tcp:127.0.0.1:{port} ")
    environ = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    folder = tmp_path / "quick"
    folder.mkdir()
    with terminal(folder, first, environ) as receiver:
        until(receiver, str(port))
        with terminal(folder, second, environ) as daemon:
            until(daemon, "forwarder.started")
            assert "FAIL" not in daemon.read_text(encoding="utf-8")
            words = ["sh", "-ec", third]
            done = subprocess.run(words, cwd=folder, env=environ, stdout=subprocess.PIPE, check=True, timeout=PATIENCE)
            assert b'"eventIds"' in done.stdout
            assert b"1 event accepted" in done.stdout
            deadline = time.monotonic() + PATIENCE
            while stored(port) < 2:
                assert time.monotonic() < deadline, receiver.read_text(encoding="utf-8")
                time.sleep(0.05)
