"""The fast lane leaves out what it means to."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.conftest import SLOW

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("beginning", SLOW)
def test_what_is_slow_is_there(beginning: str) -> None:
    """A test that was moved or renamed does not come into the fast lane unnoticed."""
    path, *names = beginning.split("::")
    file = ROOT / path
    assert file.exists()
    if names:
        nodes: list[ast.stmt] = ast.parse(file.read_text(encoding="utf-8")).body
        for name in names:
            kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
            (node,) = [node for node in nodes if isinstance(node, kinds) and node.name == name]
            nodes = node.body
