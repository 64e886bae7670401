"""What is wrong with a value and what would be right, in words that do not know its place yet.

Whoever took the value from somewhere adds the place (file, line, dotted path), which makes it a
`forwarder.errors.Problem`.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

# Enough to recognise a value, and few enough to leave room for what is wrong with it.
_MAX_QUOTED = 80


class SettingError(ValueError):
    """A value that cannot be used: `problem` has no full stop, `remedy` is whole sentences."""

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(f"{problem}. {remedy}" if remedy else problem)
        self.problem = problem
        self.remedy = remedy


def printable(text: str) -> str:
    """Return `text` with everything escaped that would break a line or steer a terminal."""
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def quoted(text: str) -> str:
    """Return `text` in backticks, for a message: printable, and cut where it is long."""
    shown = printable(text)
    return f"`{shown[:_MAX_QUOTED]}…`" if len(shown) > _MAX_QUOTED else f"`{shown}`"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `Did you mean …? ` for the known word nearest to `word`, or nothing if none is near."""
    spelled = {name.lower(): name for name in known}
    near = get_close_matches(word.lower(), spelled, n=1)
    return f"Did you mean `{spelled[near[0]]}`? " if near else ""
