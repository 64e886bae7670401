"""No private name of a library is used: what it does not document it may change with any release.

The text of each module is looked through for names that begin with an underscore and that the module
has not defined itself: what it imports, attributes, and what `getattr` and the like are given as a
literal. Then each class that inherits from a library's is looked at: what it reads or overrides must
not be the library's own affair.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import aiosqlite
import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted(file for file in (ROOT / "forwarder").rglob("*.py") if file.name != "__main__.py")

# Documented, in spite of the underscore: named tuples keep it off their fields' names, and os._exit is a system call's.
DOCUMENTED = {"_replace", "_exit"}


def is_private(name: str) -> bool:
    """Whether a library keeps a name to itself; `__name__` and the like belong to the language."""
    return name.startswith("_") and not name.endswith("__") and name.strip("_") != "" and name not in DOCUMENTED


def used(text: str) -> Iterator[str]:
    """Return the private names that a module uses and does not define itself."""
    tree = ast.parse(text)
    own = set(_defined(tree))
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                found = {part for name in names for part in name.name.split(".")}
            case ast.ImportFrom(module=module, names=names):
                found = {*(module or "").split("."), *(name.name for name in names)}
            case ast.Attribute(attr=name):
                found = {name} - own
            case ast.Call(args=[_, ast.Constant(value=str() as name), *_]) if _is_access(node.func):
                found = {name} - own
            case _:
                continue
        yield from filter(is_private, found)


def _is_access(function: ast.expr) -> bool:
    match function:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in {"getattr", "setattr", "hasattr", "delattr", "attrgetter", "methodcaller"}
    return False


def _defined(tree: ast.AST) -> Iterator[str]:
    """Return what is defined in a text: functions, classes, their attributes and those of their instances."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name, ctx=ast.Store()):
                yield name
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case ast.Assign(targets=targets):
                yield from (target.id for target in targets if isinstance(target, ast.Name))


def inherited(found: type) -> Iterator[str]:
    """Return the private names of a library's class that a class of ours touches by inheriting from it."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(found)))
    touched = set(_defined(tree)) | {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for base in found.__mro__[1:]:
        library = base.__module__.partition(".")[0]
        if library != "forwarder" and library not in sys.stdlib_module_names:
            yield from filter(is_private, _had_by(base) & touched)


@cache
def _had_by(library_class: type) -> frozenset[str]:
    """Return the names that a library's class has."""
    found = set(vars(library_class))
    # Where it is not written in Python, what it has is what can be seen of it.
    with suppress(OSError, TypeError):
        found.update(_defined(ast.parse(textwrap.dedent(inspect.getsource(library_class)))))
    return frozenset(found)


def name_of(module: Path) -> str:
    return ".".join(module.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_no_private_name_of_a_library_is_used(module: Path) -> None:
    """A module imports, reads and overrides only what its author or a library's documentation names."""
    name = name_of(module)
    found = set(used(module.read_text()))
    for _, member in inspect.getmembers(importlib.import_module(name), inspect.isclass):
        if member.__module__ == name and member.__qualname__ in vars(sys.modules[name]):
            found |= set(inherited(member))
    assert set(filter(is_private, found)) == set()


@pytest.mark.parametrize(
    "text",
    [
        "from aiohttp._websocket import reader",
        "from aiohttp.client import _RequestContextManager",
        "import aiohttp._http_parser",
        "def f(server):\n    return server._kwargs",
        "def f(server):\n    server._kwargs = {}",
        "def f(server):\n    return getattr(server, '_kwargs', None)",
        "import builtins\ndef f(server):\n    builtins.setattr(server, '_kwargs', {})",
        "class A:\n    def f(self):\n        return self._made_by_another",
    ],
)
def test_each_kind_of_use_is_found(text: str) -> None:
    """The check notices what it is for, so that it means something."""
    assert set(used(text))


def test_what_is_overridden_is_found() -> None:
    """A class that defines or reads what a library's class keeps to itself is found, by whichever way it has it."""

    class Reads(aiosqlite.Connection):
        def f(self) -> object:
            return self._tx

    class Overrides(aiosqlite.Connection):
        _tx = None  # type: ignore[assignment]

    assert set(inherited(Reads)) == {"_tx"}
    assert set(inherited(Overrides)) == {"_tx"}
