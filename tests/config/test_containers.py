"""Lists, maps, and what may be absent."""

from __future__ import annotations

import pytest

from forwarder.config.containers import ListOf, MapOf, Maybe
from forwarder.config.document import Items, Node, Scalar, Section
from forwarder.config.http import HeaderName, HeaderValue
from forwarder.config.mistakes import SettingError
from forwarder.config.reading import Reading
from forwarder.config.values import Text, Whole
from forwarder.errors import Problem

DIGIT = Whole(at_least=0, at_most=9)


def text(value: str, source: str = "s") -> Scalar:
    return Scalar(value, "str", source)


@pytest.mark.parametrize(("node", "value"), [(text("never"), None), (Scalar("", "null", ""), None), (text("a"), "a")])
def test_null_and_the_word_for_it_are_nothing(node: Node, value: str | None) -> None:
    """What may be absent is null or its word, and is shown as its word."""
    kind = Maybe(Text(), none="never")
    assert kind.read(node, "a", Reading({})) == value
    assert kind.show(value) == (value or "never")


def test_a_single_value_is_a_list_of_one_and_mistakes_are_told_by_their_place() -> None:
    """Of a list, each wrong part is a problem of its own; a single value has the path of the list."""
    reading = Reading({})
    assert ListOf(DIGIT).read(Scalar("7", "int", "f:1"), "a", reading) == (7,)
    assert ListOf(DIGIT).read(Items([text("x", "f:2"), Scalar("8", "int", "f:3")], "f:2"), "a", reading) == (8,)
    assert ListOf(DIGIT).read(text("x", "f:4"), "b", reading) == ()
    assert [(problem.source, problem.path) for problem in reading.problems] == [("f:2", "a[0]"), ("f:4", "b")]
    assert reading.source("a[1]") == "f:3"


def test_what_must_not_be_empty_says_why() -> None:
    """An empty list or map that cannot be meant is refused with the reason and an example."""
    with pytest.raises(SettingError, match=r"^the list is empty: why. Write it like \[my-app\].$"):
        ListOf(Text(), none="why").read(Items([], ""), "a", Reading({}))
    with pytest.raises(SettingError, match=r"^why. Write it like \{a: b\}.$"):
        MapOf(Text(), Text(), none="why", example="{a: b}").read(Section({}, ""), "a", Reading({}))


def test_names_that_mean_the_same_are_refused() -> None:
    """Of two names that are the same once folded, the second is a mistake."""
    reading = Reading({})
    kind = MapOf(Text(), Text(), fold=str.lower)
    value = kind.read(Section({"a": text("1"), "A": text("2", "f:2"), "b": text("3")}, ""), "m", reading)
    assert value == {"a": "1", "b": "3"}
    assert reading.problems == [Problem("f:2", "m.A", "means the same as `a`", "Leave one of the two.")]


def test_a_map_of_secrets_names_only_what_is_a_name() -> None:
    """Where values are secrets, what stands in place of a name may be one, too."""
    headers = MapOf(HeaderName(), HeaderValue())
    assert headers.secret
    assert MapOf(Text(), Maybe(HeaderValue())).secret
    assert not MapOf(Text(), ListOf(Text())).secret
    reading = Reading({})
    headers.read(Section({"Bearer S3KRET": text("x"), "X-A": text("")}, ""), "h", reading)
    assert [problem.path for problem in reading.problems] == ["h", "h.X-A"]


def test_the_schema_of_a_map_knows_its_names() -> None:
    """Names from a few words are properties, others fit the schema of names; a map may be null unless it is needed."""
    assert MapOf(Text(), Text()).schema()["type"] == ["object", "null"]
    assert MapOf(Text(), Text(), none="why").schema()["type"] == "object"
