"""Dead letters on the wire, and the filters that choose them."""

from __future__ import annotations

import base64
import json
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.admin.dead import DeadLine, encode_letter, parse_body, parse_events, parse_query
from forwarder.errors import MalformedError
from forwarder.model import DeadFilter, DeadLetter, EventFilter

NOW = 1_700_000_000.0


def letter(event: bytes, detail: str = "bad") -> DeadLetter:
    return DeadLetter(7, "main", "e-7", "rejected", 400, detail, NOW - 10, NOW, event)


def test_all_fields() -> None:
    """A dead letter is one object with all its fields, times as RFC 3339 in UTC."""
    assert json.loads(encode_letter(letter(b'{"a":1}'))) == {
        "id": 7,
        "destination": "main",
        "event_id": "e-7",
        "reason": "rejected",
        "status": 400,
        "detail": "bad",
        "accepted_at": "2023-11-14T22:13:10Z",
        "died_at": "2023-11-14T22:13:20Z",
        "event": {"a": 1},
    }


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), _json), st.booleans(), st.text())
def test_event_is_embedded_as_stored(event: dict[str, object], ascii_only: bool, detail: str) -> None:
    """The bytes of the event stand in the line unchanged, and come out of it unchanged; a line stays one line."""
    stored = json.dumps(event, ensure_ascii=ascii_only, separators=(",", ":")).encode(errors="surrogatepass")
    line = encode_letter(letter(stored, detail.encode(errors="replace").decode()))
    assert b"\n" not in line
    assert stored in line
    assert bytes(msgspec.json.decode(line, type=DeadLine).event) == stored


@pytest.mark.parametrize(
    "event", [b'{"n":1.0e+2,"m":100000000000000000000000001}', b'{"a":1,"a":2}', b'{"s":"\\u0041\\/"}', b'{ "a" : 1 }']
)
def test_numbers_duplicates_and_escapes_survive(event: bytes) -> None:
    """How a number, a repeated key, an escape or a space was written is kept."""
    assert event in encode_letter(letter(event))


@pytest.mark.parametrize("event", [b"", b'{"a":', b'{"a":"\xff"}', b'{"a":\n1}', b"[" * 100_000, b'{"a":1}{'])
def test_damaged_event_is_base64(event: bytes) -> None:
    """An event that would break the line is given as base64, and its line is still JSON."""
    document = json.loads(encode_letter(letter(event)))
    assert document["event"] is None
    assert base64.b64decode(document["event_base64"]) == event


def test_body_filters() -> None:
    """A body names any of the filters; ages are counted back from now, and ids may be numbers."""
    body = b'{"destination":"main","ids":[3,"e-4"],"reason":"expired","older_than":60}'
    assert parse_body(body, NOW) == DeadFilter("main", ("3", "e-4"), "expired", NOW - 60)
    assert parse_body(b'{"all":true}', NOW) == DeadFilter()
    assert parse_body(b'{"all":true,"reason":"expired"}', NOW) == DeadFilter(reason="expired")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "no filter is given"),
        (b"{}", "no filter is given"),
        (b'{"all":false}', "no filter is given"),
        (b'{"destination":null}', "no filter is given"),
        (b'{"ids":[]}', "id is empty"),
        (b'{"ids":[],"all":true}', "id is empty"),
        (b'{"ids":["1",""]}', "id is empty"),
        (b'{"destination":"","all":true}', "destination is empty"),
        (b'{"reason":""}', "reason is empty"),
        (b'{"older_than":-1}', "older_than must be"),
        (b'{"older_than":"60"}', "older_than"),
        (b'{"destinaton":"main","all":true}', "destinaton"),
        (b'{"all":1}', "all"),
        (json.dumps({"ids": list(range(10_001))}).encode(), "too many"),
        (b"[]", "cannot be read"),
        (b'{"all":true', "cannot be read"),
        (b'{"destination":"\xff"}', "cannot be read"),
        (b"[" * 100_000, "cannot be read"),
    ],
)
def test_careless_bodies_are_refused(body: bytes, words: str) -> None:
    """Nothing that could reach more than was meant is let through: misspelt, empty or missing filters."""
    with pytest.raises(MalformedError, match=re.escape(words)):
        parse_body(body, NOW)


def test_query_filters() -> None:
    """A query names the same filters, `id` as often as wanted, and a limit."""
    query = [("id", "1"), ("destination", "main"), ("id", "e-2"), ("older_than", "1.5"), ("limit", "3")]
    assert parse_query(query, NOW) == (DeadFilter("main", ("1", "e-2"), None, NOW - 1.5), 3)
    assert parse_query([], NOW) == (DeadFilter(), None)


@pytest.mark.parametrize(
    "query",
    [
        [("destinaton", "main")],
        [("reason", "a"), ("reason", "b")],
        [("id", "")],
        [("older_than", "nan")],
        [("older_than", "inf")],
        [("older_than", "-1")],
        [("older_than", "1h")],
        [("limit", "0")],
        [("limit", "-1")],
        [("limit", "x")],
        [("limit", "9" * 19)],
        [("limit", "²")],
    ],
)
def test_careless_queries_are_refused(query: list[tuple[str, str]]) -> None:
    """Unknown, repeated, empty and impossible values are refused."""
    with pytest.raises(MalformedError):
        parse_query(query, NOW)


class TestEvents:
    def test_filters(self) -> None:
        """Queued events are named by source and object, of which the id may have colons."""
        assert parse_events([]) == EventFilter()
        assert parse_events([("source", "app"), ("object", "user:a:b")]) == EventFilter("app", ("user", "a:b"))

    @pytest.mark.parametrize(
        "query",
        [
            [("source", "")],
            [("object", "user")],
            [("object", ":1")],
            [("object", "user:")],
            [("destination", "main")],
            [("source", "a"), ("source", "b")],
        ],
    )
    def test_what_is_empty_or_unknown(self, query: list[tuple[str, str]]) -> None:
        """What could mean everything by mistake is refused."""
        with pytest.raises(MalformedError):
            parse_events(query)

    def test_dead_letters(self) -> None:
        """The same filters choose dead letters, in a query and in a body."""
        found, _ = parse_query([("source", "app"), ("object", "user:1")], 0.0)
        assert (found.source, found.object) == ("app", ("user", "1"))
        assert parse_body(b'{"object":"user:1"}', 0.0).object == ("user", "1")
        with pytest.raises(MalformedError, match="TYPE:ID"):
            parse_body(b'{"object":"user"}', 0.0)
        with pytest.raises(MalformedError, match="source is empty"):
            parse_body(b'{"source":""}', 0.0)
