"""Each sabotage breaks something that is there."""

from __future__ import annotations

import subprocess
import sys


def test_each_finds_what_it_breaks() -> None:
    """A sabotage that no longer fits the code would leave it whole, and prove nothing; each fits."""
    words = "from tests.campaigns.killing.sabotage import KINDS; print(len([act() for act in KINDS.values()]))"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > 0
