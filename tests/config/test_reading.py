"""What comes to light while a document is read."""

from __future__ import annotations

import pytest

from forwarder.config.document import Items, Scalar, Section
from forwarder.config.mistakes import SettingError
from forwarder.config.reading import Reading, entries
from forwarder.config.values import Text
from forwarder.errors import Problem


def test_a_mistake_is_recorded_with_its_place_and_reading_goes_on() -> None:
    """What a block raises becomes a problem; other errors are not swallowed."""
    reading = Reading({})
    with reading.recording("a.b", "f:3"):
        raise SettingError("is wrong", "Mend it.")
    assert reading.problems == [Problem("f:3", "a.b", "is wrong", "Mend it.")]
    with pytest.raises(ZeroDivisionError), reading.recording("a", "f:1"):
        raise ZeroDivisionError


def test_the_source_of_a_default_is_that_of_the_group_around_it() -> None:
    """What does not stand in the document is reported where it could stand."""
    reading = Reading({}, sources={"": "file", "inner": "f:1", "items": "f:3"})
    assert reading.read(Text(), Scalar("x", "str", "f:2"), "inner.needed") == "x"
    assert reading.source("inner.needed") == "f:2"
    assert reading.source("inner.number") == "f:1"
    assert reading.source("items[5]") == "f:3"
    assert reading.source("nowhere.at.all") == "file"


def test_a_setting_failed_if_a_part_of_it_or_a_group_around_it_did() -> None:
    """Further rules can leave alone what was refused already."""
    reading = Reading({}, [Problem("", path, "", "") for path in ("inner", "items[0]")])
    assert all(map(reading.failed, ["inner", "inner.needed", "items", "items[0]"]))
    assert not any(map(reading.failed, ["inn", "items[1]", "absent", "entries"]))


def test_a_group_of_which_every_line_is_commented_out_is_empty() -> None:
    """Nothing is a group without entries; anything else is none, and is not repeated."""
    assert entries(Section({"a": Scalar("", "null", "")}, "")) == {"a": Scalar("", "null", "")}
    assert entries(Scalar("", "null", "")) == {}
    for node in (Items([], ""), Scalar("S3KRET", "str", ""), Scalar("5", "int", "")):
        with pytest.raises(SettingError, match="but a group of settings is wanted") as caught:
            entries(node)
        assert "S3KRET" not in str(caught.value)
