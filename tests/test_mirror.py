"""The tests are laid out as the modules are, and each test module stands alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "forwarder"

# Modules that need no tests of their own, and why.
UNTESTED = {
    "admin/steering.py": "what the admin API asks of the daemon: protocols and records; daemon/test_destinations.py "
    "and daemon/test_reloading.py test what implements them",
    "cli/options.py": "what the options of several commands share, which the tests of these commands give",
    "delivery/policy.py": "a protocol, checked by types alone",
    "destination/base.py": "a protocol and a record; destination/test_kinds.py implements it",
    "queue/base.py": "the contract of a queue; queue/test_conformance.py tests every backend against it",
}


def imported(text: str) -> Iterator[str]:
    """Return everything that a module imports, dotted, with the names that it takes from each module."""
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names)
            case ast.ImportFrom(module=module, names=names):
                yield from (f"{module or ''}.{name.name}" for name in names)


def borrowed(text: str) -> list[str]:
    """Return the test modules that a text imports, or takes something from."""
    return [name for name in imported(text) if name.startswith("tests.") and ".test_" in name]


def test_every_module_has_its_tests() -> None:
    """The tests of a module are where its name says; a module without any is in the list, with the reason."""
    modules = {str(file.relative_to(PACKAGE)) for file in PACKAGE.rglob("*.py") if not file.name.startswith("__")}
    tested = {name for name in modules if (TESTS / name).with_name(f"test_{Path(name).name}").exists()}
    assert modules - tested == UNTESTED.keys()


def test_no_test_module_is_imported() -> None:
    """What several test modules share is in a helper beside them, so that each can be run, moved and read alone."""
    found = {str(file.relative_to(TESTS)): borrowed(file.read_text()) for file in TESTS.rglob("*.py")}
    assert {file: names for file, names in found.items() if names} == {}


def test_each_way_to_import_one_is_found() -> None:
    """The check notices what it is for, so that it means something."""
    for text in ("import tests.cli.test_send", "from tests.cli.test_send import f", "from tests.cli import test_send"):
        assert borrowed(text), text
    assert borrowed("from tests.cli.console import run") == []
