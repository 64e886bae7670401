"""Modules import what their place allows, and every module has a place."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "forwarder"


def check_contracts(root: Path) -> subprocess.CompletedProcess[str]:
    """Check the contracts in the pyproject.toml of a folder against the package in it."""
    command = Path(sys.executable).with_name("lint-imports")
    return subprocess.run([command, "--no-cache"], cwd=root, capture_output=True, text=True, check=False)


def packages() -> set[str]:
    """Return every package that has modules beside its `__init__`, dotted."""
    folders = {file.parent for file in PACKAGE.rglob("*.py") if file.name != "__init__.py"}
    return {".".join(folder.relative_to(ROOT).parts) for folder in folders}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package and its contracts, to be spoiled."""
    shutil.copytree(PACKAGE, tmp_path / "forwarder", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_every_import_goes_where_the_contracts_allow() -> None:
    """No module imports from a layer above its own, from a sibling it must not know, or a library out of its place."""
    checked = check_contracts(ROOT)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_package_has_a_contract_that_lists_all_its_modules() -> None:
    """A new package cannot stay outside the contracts: each one needs layers of its own, and they are exhaustive."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layered = [contract for contract in contracts if contract["type"] == "layers"]
    assert all(contract["exhaustive"] for contract in layered)
    assert {container for contract in layered for container in contract["containers"]} == packages()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "statement"),
    [
        ("ingest/http.py", "from forwarder.delivery import pump"),
        ("delivery/guard.py", "from forwarder.delivery import gate"),
        ("delivery/backoff.py", "import time"),
        ("delivery/pump.py", "from forwarder.queue.sqlite.queue import SqliteQueue"),
        ("cli/check.py", "from forwarder.queue.sqlite.queue import SqliteQueue"),
        ("queue/store.py", "import aiosqlite"),
        ("queue/sqlite/store.py", "from forwarder.queue.sqlite.recovery.wal import mend_log"),
        ("queue/unplaced.py", '"""A module that no contract lists."""'),
    ],
    ids=["across", "sibling", "pure", "backend", "inside", "library", "door", "unplaced"],
)
def test_an_import_out_of_place_is_found(copy: Path, module: str, statement: str) -> None:
    """The contracts notice each kind of trespass, so that keeping them means something."""
    with (copy / "forwarder" / module).open("a") as file:
        file.write(f"\n{statement}\n")
    checked = check_contracts(copy)
    assert checked.returncode == 1, checked.stdout + checked.stderr
    assert "1 broken" in checked.stdout or "2 broken" in checked.stdout
