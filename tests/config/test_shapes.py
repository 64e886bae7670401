"""Groups, lists, maps, and what may be absent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from forwarder.config.document import Items, Node, Scalar, Section
from forwarder.config.kinds import Text, Whole
from forwarder.config.shapes import Group, ListOf, MapOf, Maybe, Reading


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
    entries: Annotated[dict[str, str], MapOf(Text(), Text(), fold=str.lower, none="empty"), "A map."]


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
    assert (value.items, value.entries) == ((1,), {})


def test_the_source_of_a_default_is_that_of_the_group_around_it() -> None:
    """What does not stand in the document is reported where it could stand."""
    _, reading = read({"inner": Section({"needed": text("x", "f:2")}, "f:1"), "items": Items([text("x")], "f:3")})
    assert reading.source("inner.needed") == "f:2"
    assert reading.source("inner.number") == "f:1"
    assert reading.source("items[5]") == "f:3"
    assert reading.source("nowhere.at.all") == "file"


def test_a_setting_failed_if_a_part_of_it_or_a_group_around_it_did() -> None:
    """Further rules can leave alone what was refused already."""
    _, reading = read({"inner": text("x"), "items": Items([text("x")], ""), "entries": Section({"a": text("a")}, "")})
    assert all(map(reading.failed, ["inner", "inner.needed", "items", "items[0]"]))
    assert not any(map(reading.failed, ["inn", "items[1]", "absent", "entries"]))


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
    assert MapOf(Text(), Text()).schema()["type"] == ["object", "null"]


def test_stand_ins_of_shapes_are_empty() -> None:
    """What could not be read at all becomes nothing."""
    assert (Maybe(Text()).fallback(), ListOf(Text()).fallback(), MapOf(Text(), Text()).fallback()) == (None, (), {})
