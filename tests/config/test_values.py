"""The kinds of single values."""

from __future__ import annotations

from typing import Any

import pytest

from forwarder.config.document import Items, Node, Scalar, Section
from forwarder.config.mistakes import SettingError
from forwarder.config.values import Duration, Flag, Leaf, Number, OneOf, Size, Text, Whole, describe

KINDS: list[tuple[Leaf[Any], Scalar, object, object]] = [
    (Text(), Scalar("a b", "str", ""), "a b", "a b"),
    (OneOf(choices=("a", "b")), Scalar("b", "str", ""), "b", "b"),
    (Flag(), Scalar("Yes", "bool", ""), True, True),
    (Flag(), Scalar("off", "bool", ""), False, False),
    (Whole(at_least=0, at_most=9), Scalar("+7", "int", ""), 7, 7),
    (Number(at_least=0, at_most=9), Scalar("2", "int", ""), 2.0, 2),
    (Number(at_least=0, at_most=9), Scalar("2.5", "float", ""), 2.5, 2.5),
    (Size(at_least=0), Scalar("1KiB", "str", ""), 1024, "1KiB"),
    (Duration(at_least=0), Scalar("1.5", "float", ""), 1.5, "1500ms"),
]


@pytest.mark.parametrize(("kind", "node", "value", "shown"), KINDS)
def test_a_kind_reads_a_value_and_shows_it(kind: Leaf[Any], node: Scalar, value: object, shown: object) -> None:
    """What is written becomes a value, and the value is shown as it would be written."""
    assert kind.read(node, {}) == value
    assert kind.show(value) == shown


@pytest.mark.parametrize("kind", [kind for kind, *_ in KINDS])
def test_a_kind_takes_neither_lists_nor_groups_nor_nothing(kind: Leaf[Any]) -> None:
    """Where a single value is wanted, lists, groups and null are refused in words."""
    for node in (Items([], ""), Section({}, ""), Scalar("", "null", "")):
        with pytest.raises(SettingError, match=f"^is (a list|a group of settings|empty), but {kind.wants} is wanted"):
            kind.read(node, {})


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (Items([], ""), "is a list"),
        (Section({}, ""), "is a group of settings"),
        (Scalar("", "null", ""), "is empty"),
        (Scalar("on", "bool", ""), "`on` is yes or no in YAML"),
        (Scalar("1", "int", ""), "`1` is a number in YAML"),
        (Scalar("1.5", "float", ""), "`1.5` is a number in YAML"),
        (Scalar("2024-01-01", "timestamp", ""), "`2024-01-01` is a date in YAML"),
        (Scalar("x\n", "str", ""), "`x\\n` is text"),
    ],
)
def test_what_stands_in_a_document_has_words(node: Node, words: str) -> None:
    """Each kind of node is described, and a secret is not repeated."""
    assert describe(node) == words
    assert "on" not in describe(Scalar("on", "bool", ""), secret=True).split()


def test_bounds_are_inclusive() -> None:
    """A number may be its smallest and its largest value, and nothing beyond."""
    kind = Whole(at_least=1, at_most=64)
    assert [kind.parse(text, {}) for text in ("1", "64")] == [1, 64]
    for text in ("0", "65"):
        with pytest.raises(SettingError):
            kind.parse(text, {})
