"""The catalogue, the code and the documentation name the same lines."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from forwarder.observe.catalogue import LINES
from tests.documents import ROOT, table

_LEVELS = {"debug", "info", "warning", "error", "exception"}
_SOURCES = sorted((ROOT / "forwarder").rglob("*.py"))


def calls(file: Path) -> Iterator[tuple[str, ast.Call]]:
    """Yield each call in a module with the last name of what is called."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            match node.func:
                case ast.Name(name) | ast.Attribute(attr=name):
                    yield name, node


def first_word(call: ast.Call) -> str:
    """Return the first argument, which has to be written out: what is put together is found by nobody."""
    match call.args:
        case [ast.Constant(str(word)), *_]:
            return word
    raise AssertionError(ast.unparse(call))


def is_condition(name: str, call: ast.Call) -> bool:
    """Say whether a call tells that a condition holds, or not."""
    if name != "set" or not isinstance(call.func, ast.Attribute):
        return False
    return ast.unparse(call.func.value).endswith("conditions")


def noticed() -> set[str]:
    """Return the keys of all notices and conditions, and of the lines that the log makes of other facts."""
    found = {first_word(call) for file in _SOURCES for name, call in calls(file) if name == "Notice"}
    found |= {first_word(call) for file in _SOURCES for name, call in calls(file) if is_condition(name, call)}
    logs = (ROOT / "forwarder/observe/logs.py").read_text(encoding="utf-8")
    return found | set(re.findall(r'"([a-z_]+\.[a-z_]+)"', logs))


def logged() -> dict[str, str]:
    """Return the level of each line that is logged without an observer, by its key."""
    found: dict[str, str] = {}
    for file in _SOURCES:
        for name, call in calls(file):
            if name in _LEVELS and isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) == "log":
                found[first_word(call)] = "error" if name == "exception" else name
    return found


def test_every_line_that_can_be_logged_is_listed() -> None:
    """The catalogue has each key that the code uses, and no other."""
    # The one line that is not made by structlog: it says that lines could not be written.
    lost = "log.lines_lost"
    assert f'"{lost}"' in (ROOT / "forwarder/log.py").read_text(encoding="utf-8")
    assert noticed() | logged().keys() | {lost} == LINES.keys()


def test_only_what_has_no_observer_logs_by_itself() -> None:
    """What is not about events, destinations, the queue or operators has the level that the catalogue says."""
    found = logged()
    assert found == {key: LINES[key].level for key in ("observer.failed", "running.not_noted", "systemd.not_told")}


def test_the_documentation_has_the_same_table() -> None:
    """Operators find every line with its level, what it means and what to do."""
    expected = [[f"`{key}`", line.level, line.meaning, line.hint] for key, line in LINES.items()]
    shown = "\n".join(f"| {' | '.join(cells)} |" for cells in expected)
    assert table("forwarder/observe/README.md", "Lines of the log") == expected, f"the table is to be:\n{shown}"


@pytest.mark.parametrize("key", LINES)
def test_a_line_reads_well(key: str) -> None:
    """A key is two words with a point between them, a meaning is a sentence, a hint is not."""
    line = LINES[key]
    assert re.fullmatch(r"[a-z_]+\.[a-z_]+", key)
    assert line.level in {"debug", "info", "warning", "error"}
    assert line.meaning[0].isupper()
    assert line.meaning.endswith(".")
    assert not line.hint.endswith(".")
