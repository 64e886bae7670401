"""The clocks of a daemon, moved while it runs: libfaketime stands between it and the kernel's.

What the daemon reads is shifted, by whatever way it asks; the machine's own clocks stay as they are.
"""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from tests.faults.wrapped import Wrapped

HOUR = 3600.0


class Clocks:
    """Those of one daemon, in its starts from now on: the wall clock, and the monotonic one with it if wanted.

    Skips a test where libfaketime is not installed.
    """

    def __init__(self, forwarder: Wrapped, *, monotonic: bool = False) -> None:
        self._file = forwarder.folder / "clock"
        self.shift(0.0)
        forwarder.environment = {
            "LD_PRELOAD": _library(),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_DONT_FAKE_MONOTONIC": "0" if monotonic else "1",
            # The file is read whenever a clock is.
            "FAKETIME_NO_CACHE": "1",
            # Else threads wait far too long for each other.
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
            # Files keep their times, and nothing is left behind by a process that is killed.
            "NO_FAKE_STAT": "1",
            "FAKETIME_DISABLE_SHM": "1",
        }

    def shift(self, seconds: float) -> None:
        """Let them be so many seconds ahead of the machine's, or behind."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+.3f}\n", encoding="utf-8")
        # In one step: it may be read at any moment.
        new.replace(self._file)


@cache
def _library() -> str:
    if shutil.which("faketime") is None:
        pytest.skip("faketime is not installed")
    # What a killed process has left in shared memory bears its number, and is in the way of who gets that next.
    for left in Path("/dev/shm").glob("*faketime_*_*"):
        if not Path("/proc", left.name.rpartition("_")[2]).exists():
            left.unlink(missing_ok=True)
    # The command knows where the library is: it differs from one machine to another.
    found = subprocess.run(
        ["faketime", "-m", "-f", "+0", "printenv", "LD_PRELOAD"], capture_output=True, check=True, text=True
    )
    return found.stdout.strip()
