"""System calls of the queue that fail on demand: strace(1) answers them instead of the kernel.

Only calls on the queue's own files and folder are counted and can fail. A tracer runs beside the
daemon, not above it, and the daemon goes on as before once it is gone.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.wrapped import Wrapped
from tests.integration.process import PATIENCE

_INJECTED = "(INJECTED)"


@dataclass(frozen=True, slots=True)
class Injection:
    """Which calls fail, and how: the `call`-th of any of `calls`, or with `to_the_end` that one and all that follow."""

    calls: str
    error: str
    call: int
    to_the_end: bool = False

    def __str__(self) -> str:
        return f"{self.calls}:error={self.error}:when={self.call}{'+' if self.to_the_end else ''}"


def why_no_tracer() -> str:
    """Return why system calls cannot be made to fail here, or nothing where they can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    if subprocess.run(["strace", "-qq", "-o", os.devnull, "true"], capture_output=True, check=False).returncode:
        return "strace may not trace here"
    return ""


def skip_without_tracer() -> None:
    """Skip a test where system calls cannot be made to fail."""
    if reason := why_no_tracer():
        pytest.skip(reason)


def inject(forwarder: Wrapped, injection: Injection, *, also: str = "") -> Path:
    """Let calls of the next start fail; return the file that the calls are written to.

    `also` are calls that are written there, and do not fail.
    """
    queue = Path(forwarder.config["queue"]["path"])
    trace = forwarder.folder / "trace"
    trace.unlink(missing_ok=True)
    calls = ",".join(filter(None, (injection.calls, also)))
    files = [queue, queue.with_name(queue.name + "-wal"), queue.parent]
    # The filter makes it fast, and outlives the tracer: then every such call would fail.
    fast = [] if injection.to_the_end else ["--seccomp-bpf"]
    forwarder.prefix = [
        *("strace", "-D", "-f", *fast, "--interruptible=anywhere", "-qq", "-y", "-s", "0", "-o", str(trace)),
        *("-e", f"trace={calls}", "-e", f"inject={injection}"),
        *(word for file in files for word in ("-P", str(file))),
    ]
    return trace


def failures(trace: Path) -> int:
    """Return how many calls have been made to fail."""
    return trace.read_text(encoding="utf-8").count(_INJECTED) if trace.exists() else 0


def end(forwarder: Wrapped) -> None:
    """Let calls succeed from now on: end the tracer, and leave the daemon alone."""
    assert forwarder.process is not None
    status = Path(f"/proc/{forwarder.process.pid}/status")

    def tracer() -> int:
        return int(re.findall(r"TracerPid:\s*(\d+)", status.read_text(encoding="utf-8"))[0])

    os.kill(tracer(), signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE
    while tracer():
        assert time.monotonic() < deadline, "the tracer does not end"
        time.sleep(0.01)
    forwarder.prefix = ()
