"""Reading one event as text."""

from __future__ import annotations

import json
import uuid

import pytest
from hypothesis import given, settings

from forwarder.event import event_id, is_uuid, members, new_ids
from tests.events import UUID, Pairs, event_texts, loads


@settings(deadline=None)
@given(event_texts())
def test_members_are_found_where_they_stand(text: str) -> None:
    """The exact reader finds every member of the root, also those that stand twice, with the place of its value."""
    data = text.encode()
    found = [(name, loads(data[place.start : place.end].decode())) for name, place in members(data)]
    pairs = loads(text)
    assert isinstance(pairs, Pairs)
    # A name that is not ASCII comes out garbled, and stays that.
    assert [(_or_garbled(name), value) for name, value in found] == [(_or_garbled(name), v) for name, v in pairs]


def _or_garbled(name: str) -> str:
    return name if name.isascii() else "é"


def test_kinds_of_values() -> None:
    """The kind of a value shows in its first byte."""
    text = b'{"a":"x","b":{},"c":[],"d":true,"e":false,"f":null,"g":-1,"h" : 2}'
    kinds = {name: place.kind(text) for name, place in members(text)}
    assert kinds == {
        "a": "a string",
        "b": "an object",
        "c": "an array",
        "d": "a boolean",
        "e": "a boolean",
        "f": "null",
        "g": "a number",
        "h": "a number",
    }


def test_new_ids_are_version_4() -> None:
    """New ids carry the version and the variant of RFC 9562, whatever the random bytes."""
    for filler in (b"\x00", b"\xff", b"\x5a"):
        ids = new_ids(lambda count, filler=filler: filler * count, 3)  # type: ignore[misc]
        assert len(ids) == 3
        for found in ids:
            parsed = uuid.UUID(found)
            assert (parsed.version, parsed.variant) == (4, uuid.RFC_4122)
            assert str(parsed) == found
    assert new_ids(bytes, 0) == []


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (UUID, True),
        (UUID.upper(), True),
        (UUID[:-1], False),
        (UUID + "\n", False),
        (UUID.replace("-", ""), False),
        ("", False),
    ],
)
def test_uuids(text: str, right: bool) -> None:
    """A UUID is written in the 8-4-4-4-12 form, in upper or lower case."""
    assert bool(is_uuid(text)) == right


@pytest.mark.parametrize(
    ("event", "found"),
    [
        (json.dumps({"data": {"eventId": "x"}, "eventId": UUID}).encode(), UUID),
        (b'{"eventId":null}', ""),
        (b"{}", ""),
        (b"", ""),
        (b'{"eventId":"\xff"}', ""),
        (b'{"\xff":1,"eventId":"', ""),
        (b'{"data":' * 100_000, ""),
    ],
)
def test_the_id_of_a_stored_event(event: bytes, found: str) -> None:
    """The id of a stored event is read for people; a damaged event has none, and that is no error."""
    assert event_id(event) == found
