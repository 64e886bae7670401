"""The words for mistakes."""

from __future__ import annotations

import pytest

from forwarder.config.mistakes import SettingError, did_you_mean, printable, quoted


def test_message_is_the_problem_and_the_remedy() -> None:
    """A SettingError reads as two sentences, and as one where there is no remedy."""
    assert str(SettingError("`x` is not a size", "Write 4GiB.")) == "`x` is not a size. Write 4GiB."
    assert str(SettingError("is empty")) == "is empty"


@pytest.mark.parametrize(("word", "meant"), [("max_byte", "max_bytes"), ("EVENTTYPE", "eventType")])
def test_nearest_known_word_is_suggested_whatever_its_case(word: str, meant: str) -> None:
    """A misspelled word leads to the known one that is nearest."""
    assert did_you_mean(word, ["max_bytes", "eventType"]) == f"Did you mean `{meant}`? "


def test_nothing_is_suggested_where_nothing_is_near() -> None:
    """A word like none of the known ones gets no suggestion."""
    assert did_you_mean("zebra", ["max_bytes"]) == ""


def test_quoted_text_can_neither_break_the_line_nor_flood_it() -> None:
    """Control characters are escaped, and long text is cut."""
    assert printable("a\x1b[2J\nb") == "a\\x1b[2J\\nb"
    assert quoted("ä b") == "`ä b`"
    assert len(quoted("x" * 1000)) < 100
