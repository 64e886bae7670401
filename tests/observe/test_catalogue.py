"""The catalogue and the documentation name the same lines."""

from __future__ import annotations

import re

import pytest

from forwarder.observe.catalogue import LINES
from tests.documents import table


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
