"""Payloads: what the Event API takes, and what it does not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.receiver.payload import PayloadError, one_line, read, split, with_received

from .conftest import event, payload

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"eventId": "0b6f2f9e-0000-4000-8000-000000000000"},
        {"eventObjectType": "user", "eventObjectId": "7", "version": "1.8.0", "eventKeyId": "k", "data": {"a": [1]}},
        {"eventObjectType": None, "eventObjectId": None, "data": None, "eventReceived": None, "eventId": None},
        {"more": {"at": "the root"}, "eventTime": 1},
    ],
)
def test_events_that_follow_the_rules_are_read(members: dict[str, Any]) -> None:
    """Two fields are required, null counts as absent, and other fields are free."""
    [envelope] = read(payload(event(**members)))
    assert (envelope.eventSourceId, envelope.eventType) == ("app", "Tested")
    assert envelope.eventId == members.get("eventId")
    [alone] = read(json.dumps(event(**members)).encode())
    assert alone == envelope


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "truncated"),
        (b"7", "Expected `object`"),
        (b"[7]", "Expected `object`"),
        (b"[]", "holds no event"),
        (b"  []", "holds no event"),
        (b"[{}]", "missing required field `eventSourceId`"),
        (payload(event(eventType=None)), "eventType"),
        (payload(event(eventSourceId="")), "eventSourceId"),
        (payload(event(), event(eventId="")), r"\$\[1\]\.eventId"),
        (payload(event(eventId=7)), "eventId"),
        (payload(event(data=[1])), "data"),
        (payload(event(data="x")), "data"),
        (payload(event(eventReceived=1)), "Expected `null`, got `int` - at `.*eventReceived`"),
        (payload(event(), event(eventObjectType="user")), "event 1: eventObjectType and eventObjectId"),
        (payload(event(eventObjectId="7")), "event 0: eventObjectType and eventObjectId"),
        (payload(event())[:-1], "truncated"),
        (payload(event()) + b"x", "trailing"),
        (payload(event(data={"x": "?"})).replace(b"?", b"\xff"), "utf-8"),
        (b'{"data":' + b'{"a":' * 100_000, "recursion"),
        (b'[{"eventSourceId":"a","eventType":"b","more":' + b"[" * 100_000, "recursion"),
    ],
)
def test_events_that_break_the_rules_are_refused(content: bytes, problem: str) -> None:
    """The message says which field of which event is wrong."""
    with pytest.raises(PayloadError, match=problem):
        read(content)


@given(members=st.lists(st.dictionaries(st.text(), json_values, max_size=4), min_size=1, max_size=4))
def test_events_are_kept_as_they_were_written(members: list[dict[str, Any]]) -> None:
    """Splitting an array gives back each event, byte for byte."""
    written = [json.dumps(event(more=more)).encode() for more in members]
    whole = b" [" + b" ,\n".join(written) + b"] "
    assert len(read(whole)) == len(written)
    assert split(whole) == written


def test_a_lone_event_is_kept_without_the_space_around_it() -> None:
    """An object is taken like an array of one."""
    assert split(b'\n{"a": 1.0e2 }\n') == [b'{"a": 1.0e2 }']


def test_an_event_fits_on_a_line() -> None:
    """Only line breaks are replaced; they cannot stand inside a string."""
    assert one_line(b'{"a": "b\\n",\r\n "c": 1}') == b'{"a": "b\\n",   "c": 1}'
    assert one_line(b"{ }") == b"{ }"


@given(more=json_values)
def test_the_time_of_receipt_is_added_and_nothing_else_changes(more: Any) -> None:
    """The event is the same, with one member more."""
    for members in ({"more": more}, {"eventReceived": None, "more": more}):
        written = json.dumps(event(**members)).encode()
        text = with_received(written, 17, is_set="eventReceived" in members)
        assert json.loads(text) == {**event(more=more), "eventReceived": 17}
        assert text.count(b'"eventReceived"') >= 1


def test_numbers_keep_their_digits_when_a_null_is_replaced() -> None:
    """Numbers beyond any machine type come back as they went in."""
    number = b"1.00000000000000000000000000000000001E+400"
    text = with_received(b'{"eventReceived": null, "n": ' + number + b"}", 17, is_set=True)
    assert text == b'{"n":' + number + b',"eventReceived":17}'
