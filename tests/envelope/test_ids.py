"""Event ids."""

from __future__ import annotations

import json
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.envelope import event_id, new_ids
from forwarder.envelope.ids import is_about
from forwarder.model import EventFilter
from tests.events import UUID


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


@given(st.lists(st.binary(min_size=16, max_size=16), max_size=4))
def test_new_ids_are_the_random_bytes(random: list[bytes]) -> None:
    """But for version and variant, an id is the bytes that it was made from, as the standard library writes them."""
    wanted = [str(uuid.UUID(bytes=found, version=4)) for found in random]
    assert new_ids(lambda _count: b"".join(random), len(random)) == wanted


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (EventFilter(), True),
        (EventFilter(source="app"), True),
        (EventFilter(source="other"), False),
        (EventFilter(object=("user", "7")), True),
        (EventFilter(object=("user", "8")), False),
        (EventFilter(object=("group", "7")), False),
        (EventFilter(source="app", object=("user", "8")), False),
        (EventFilter(source="other", object=("user", "7")), False),
    ],
)
def test_a_filter_takes_what_has_all_that_it_names(wanted: EventFilter, found: bool) -> None:
    """An event is selected by its source and by its object, of which type and id must be right."""
    event = b'{"eventSourceId":"app","eventObjectType":"user","eventObjectId":"7"}'
    assert is_about(event, wanted) == found
    assert not is_about(b"{", EventFilter(source="app"))


# Characters that have a short escape, that need two halves, that read like the rest of an escape, or that are plain.
TEXTS = st.text(st.sampled_from('\\\\/"\b\f\n\r\tu0041Aaß😀\ufffd'), max_size=6)
SHORT = {'"': '"', "\\": "\\", "/": "/", "\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t"}


def ways_to_write(character: str) -> list[str]:
    """Return a character in each form that a JSON string may have it in."""
    units = character.encode("utf-16-be").hex()
    escaped = "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
    short = [f"\\{SHORT[character]}"] if character in SHORT else []
    plain = [] if character in '"\\' or character < " " else [character]
    return [escaped, escaped.upper().replace("U", "u"), *short, *plain]


@given(text=TEXTS, wanted=TEXTS, data=st.data())
def test_a_text_is_found_however_it_is_escaped(text: str, wanted: str, data: st.DataObject) -> None:
    """A filter compares what an event says, as any reader of JSON has it, and nothing else."""
    written = "".join(data.draw(st.sampled_from(ways_to_write(character))) for character in text)
    event = f'"{written}"'.encode()
    assert json.loads(event) == text
    assert is_about(event, EventFilter(text=text))
    assert is_about(event, EventFilter(text=wanted)) == (wanted.casefold() in f'"{text}"'.casefold())


@pytest.mark.parametrize(
    ("written", "text", "found"),
    [
        (rb"https:\/\/example.com\/a", "https://example.com/a", True),
        (rb"C:\\u0042", "B", False),
        (rb"C:\\u0042", r"C:\u0042", True),
        (rb"one\ntwo", "one\ntwo", True),
    ],
)
def test_a_text_with_escapes(written: bytes, text: str, found: bool) -> None:
    """Slashes may be escaped, and a backslash that is one begins no escape."""
    assert is_about(b'{"data":"%b"}' % written, EventFilter(text=text)) == found


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
