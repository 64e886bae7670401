"""Groups of settings, as dataclasses declare them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from forwarder.config.containers import ListOf, MapOf, Maybe
from forwarder.config.document import Items, Node, Scalar, Section
from forwarder.config.groups import Group, stand_in
from forwarder.config.reading import Reading
from forwarder.config.values import OneOf, Text, Whole


@dataclass(frozen=True, kw_only=True)
class Inner:
    """An inner group."""

    needed: Annotated[str, Text(example="x"), "Needed."]
    number: Annotated[int, Whole(at_least=1, at_most=9), "A number."] = 5


@dataclass(frozen=True, kw_only=True)
class Outer:
    """An outer group."""

    inner: Inner
    absent: Annotated[str | None, Maybe(Text(), none="none"), "May be absent."] = None
    items: Annotated[tuple[int, ...], ListOf(Whole(at_least=0, at_most=9), none="why"), "A list."] = (1,)
    entries: Annotated[dict[str, str], MapOf(Text(), Text(), fold=str.lower, none="empty", example="{x: y}"), "A map."]


def text(value: str, source: str = "s") -> Scalar:
    return Scalar(value, "str", source)


def read(entries: dict[str, Node]) -> tuple[Outer, Reading]:
    reading = Reading({}, sources={"": "file"})
    return Group(Outer).read(Section(entries, "file"), "", reading), reading


def test_everything_wrong_is_found_in_one_go() -> None:
    """Each part is read though others are wrong, and stand-ins make the value whole."""
    value, reading = read(
        {
            "inner": Section({"number": Scalar("0", "int", "f:2")}, "f:1"),
            "absent": Scalar("5", "int", "f:3"),
            "items": Items([Scalar("1", "int", "f:4"), Scalar("99", "int", "f:5"), text("x", "f:6")], "f:4"),
            "entries": Section({"a": text("", "f:7"), "b": text("ok"), "B": text("ok", "f:8")}, "f:7"),
        }
    )
    found = [(problem.source, problem.path) for problem in reading.problems]
    assert found == [
        ("f:1", "inner.needed"),
        ("f:2", "inner.number"),
        ("f:3", "absent"),
        ("f:5", "items[1]"),
        ("f:6", "items[2]"),
        ("f:7", "entries.a"),
        ("f:8", "entries.B"),
    ]
    assert value == Outer(inner=Inner(needed="x"), absent=None, items=(1,), entries={"b": "ok"})


def test_what_is_missing_is_missed_at_its_own_path() -> None:
    """A required setting of a group that is not there at all is named in full."""
    _, reading = read({})
    assert [problem.path for problem in reading.problems] == ["inner.needed", "entries"]
    assert reading.problems[0].source == "file"


def test_a_group_of_the_wrong_shape_has_a_stand_in() -> None:
    """Text in place of a required group is one problem, and reading goes on."""
    value, reading = read({"inner": text("x"), "items": Items([], "f:1"), "entries": Section({}, "f:2")})
    assert [problem.path for problem in reading.problems] == ["inner", "items", "entries"]
    assert value.inner == Inner(needed="x")
    assert (value.items, value.entries) == ((1,), {"x": "y"})


def test_values_are_shown_as_they_would_be_written() -> None:
    """Showing is the reverse of reading."""
    value = Outer(inner=Inner(needed="x"), entries={"a": "b"})
    assert Group(Outer).show(value) == {
        "inner": {"needed": "x", "number": 5},
        "absent": "none",
        "items": [1],
        "entries": {"a": "b"},
    }


def test_the_schema_tells_names_defaults_and_what_is_required() -> None:
    """A group's schema knows only its settings; a group that requires nothing may be empty."""
    schema = Group(Outer).schema()
    assert schema["required"] == ["inner", "entries"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["inner"]["description"] == "An inner group."
    assert schema["properties"]["inner"]["properties"]["number"]["default"] == 5
    assert schema["properties"]["absent"]["anyOf"][0] == {"enum": ["none", None]}
    assert schema["properties"]["items"]["anyOf"][1]["minItems"] == 1
    assert schema["properties"]["entries"]["minProperties"] == 1


def test_a_stand_in_is_the_example() -> None:
    """What is required and wrong becomes the example of its kind, and a group what its settings become."""
    assert stand_in(Whole(at_least=1, at_most=9, example="7")) == 7
    assert stand_in(OneOf(choices=("a", "b"))) == "a"
    assert (stand_in(Maybe(Text())), stand_in(ListOf(Text(example="a"))), stand_in(MapOf(Text(), Text()))) == (
        *(None, ("a",)),
        {},
    )
    assert stand_in(Group(Outer)) == Outer(inner=Inner(needed="x"), entries={"x": "y"})
