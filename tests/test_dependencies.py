"""The versions in pyproject.toml, in the lock and among the oldest ones agree."""

from __future__ import annotations

import tomllib
from importlib.metadata import requires, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "config/constraints.txt"
OLDEST = ROOT / "tests/oldest.txt"
DEPENDENCIES = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]


def pins(file: Path) -> dict[str, Version]:
    """Return the packages that a file of constraints fixes at one version."""
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    fixed = [line.split("==") for line in lines if "==" in line]
    return {canonicalize_name(name): Version(number) for name, number in fixed}


def needed(name: str) -> set[str]:
    """Return what a package of this environment needs in it, and what those need."""
    found: set[str] = set()
    names = [name]
    while names:
        for text in requires(names.pop()) or ():
            requirement = Requirement(text)
            package = canonicalize_name(requirement.name)
            if package not in found and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
                found.add(package)
                names.append(package)
    return found


@pytest.mark.parametrize("text", DEPENDENCIES)
def test_the_lock_holds_an_allowed_version(text: str) -> None:
    """What is installed with the lock is what pyproject.toml allows."""
    requirement = Requirement(text)
    assert requirement.specifier.contains(pins(LOCK)[canonicalize_name(requirement.name)])


def test_the_lock_is_complete() -> None:
    """Whatever a locked package needs is locked, too, so nothing is left to the day of the installation."""
    locked = pins(LOCK)
    names = needed("event-forwarder")
    # Another version may need other packages: this can only be told of the versions that are installed.
    same = {name for name in names if locked.get(name) == Version(version(name))}
    missing = {name: needed(name) - set(locked) for name in same}
    assert not {name: packages for name, packages in missing.items() if packages}


@pytest.mark.parametrize("text", DEPENDENCIES)
def test_the_oldest_version_is_the_lower_bound(text: str) -> None:
    """CI tries the oldest version that pyproject.toml allows, and not one that is a little newer."""
    requirement = Requirement(text)
    (bound,) = [Version(each.version) for each in requirement.specifier if each.operator == ">="]
    assert pins(OLDEST)[canonicalize_name(requirement.name)] == bound
