"""The shapes are what their names say, and each is something that the forwarder accepts."""

from __future__ import annotations

import json

import pytest

from forwarder.envelope import Envelope
from tests.benchmarks.shapes import OWN, SHAPES, SPACES
from tests.benchmarks.sink import MARK
from tests.documents import quoted, table

ENVELOPE = {"eventSourceId", "eventType", "eventId", "eventObjectType", "eventObjectId", "version", "data"}
each = pytest.mark.parametrize("name", SHAPES)


@each
def test_a_shape_is_accepted(name: str) -> None:
    """The envelope takes each event of a shape as valid, and for the destination it is meant for."""
    checked, refused, left = Envelope(routes={"main": {}}).sift(SHAPES[name].lines(100))
    assert (checked.events, refused, left) == (100, [], b"")
    assert {segment.destination for segment in checked.segments} == {"main"}


@each
def test_the_sink_counts_a_shape_right(name: str) -> None:
    """What the sink counts stands once in each event, however it is written."""
    assert SHAPES[name].array(0, 100).count(MARK) == 100


@each
def test_an_array_is_json(name: str) -> None:
    """An array holds the events that were asked for, each different from all others."""
    shape = SHAPES[name]
    found = json.loads(shape.array(50, 20))
    assert found == [shape.fields(number) for number in range(50, 70)]
    assert len({json.dumps(event) for event in found}) == 20


def test_the_own_event_has_twelve_fields_of_data() -> None:
    """What everything is compared with has the members that it is said to have."""
    fields = SHAPES[OWN].fields(7)
    assert len(fields["data"]) == 12
    assert fields.keys() == ENVELOPE


@pytest.mark.parametrize("name", ["spaces", "indented", "order"])
def test_another_way_to_write_holds_the_same(name: str) -> None:
    """Spaces, an indent and another order of the members change the text alone."""
    assert SHAPES[name].event(3) != SHAPES[OWN].event(3)
    assert json.loads(SHAPES[name].event(3)) == json.loads(SHAPES[OWN].event(3))


def test_spaces_are_those_of_json_dumps() -> None:
    """An array with spaces is what json.dumps makes of all its events, the space between two of them included."""
    shape = SHAPES[SPACES]
    assert shape.array(0, 3) == json.dumps([shape.fields(number) for number in range(3)]).encode()


def test_each_shape_has_what_it_is_named_for() -> None:
    """Ids are missing, fields stand beside the envelope, text is raw or escaped, numbers are many, data is large."""
    assert "eventId" not in SHAPES["no-id"].fields(1)
    assert len(SHAPES["beside"].fields(1).keys() - ENVELOPE) == 4
    assert "東京".encode() in SHAPES["text"].event(1)
    assert b"\\u6771" in SHAPES["escaped"].event(1)
    assert SHAPES["escaped"].event(1).isascii()
    assert len(SHAPES["numbers"].fields(1)["data"]["samples"]) == 60
    assert len(SHAPES["large"].event(1)) > 20_000
    assert list(SHAPES["order"].fields(1)) == list(reversed(SHAPES[OWN].fields(1)))


def test_only_the_indented_one_is_several_lines() -> None:
    """The stream takes every shape but the indented one, which is more than a line."""
    assert [name for name, shape in SHAPES.items() if not shape.one_line] == ["indented"]


def test_every_shape_is_documented() -> None:
    """The table of shapes has a line for each of them, in the same order, and the size of the plain one is right."""
    rows = table("tests/README.md", "Benchmarks")
    assert [name for row in rows for name in quoted(row[0])] == list(SHAPES)
    assert f"{len(SHAPES[OWN].event(0))} bytes" in rows[0][1]
