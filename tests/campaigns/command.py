"""The command line of the campaigns, as the tests run it: short, and for its report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[2]
# A process that is killed tells no coverage, and asyncio's debug mode makes every moment another one.
_LEFT_OUT = ("PYTHONASYNCIODEBUG", "COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START")


def campaign(name: str, folder: Path, *words: str) -> tuple[int, dict[str, Any]]:
    """Run a campaign with its queues in a folder; return the exit code and the report."""
    command = [sys.executable, "-m", "tests.campaigns", name, "--json", "--folder", str(folder), *words]
    env = {name: value for name, value in os.environ.items() if name not in _LEFT_OUT}
    done = subprocess.run(command, cwd=_ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)
