"""What a body is said to be, and what it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.envelope import Envelope
from forwarder.errors import MalformedError
from forwarder.ingest.media import Kind, check, takes_long

RULES = Envelope(routes={"main": {}})
EVENT = b'{"eventSourceId":"s","eventType":"t"}'
LINES = "an event a line"
SEVERAL = "one object after the other"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (EVENT + b"\n" + EVENT, LINES),
        (EVENT + b"\r\n" + EVENT + b"\r\n", LINES),
        (b"\n" + EVENT + b"\n\n" + EVENT, LINES),
        (EVENT + b'\n{"a', LINES),
        (EVENT + EVENT, SEVERAL),
        (EVENT + b" " + EVENT, SEVERAL),
        (b"{\n}\n{\n}", SEVERAL),
        (b"{\n}{}", SEVERAL),
        (EVENT + b",\n" + EVENT, "not JSON"),
        (EVENT + b"\n]", "not JSON"),
        (b"[]{}", "not JSON"),
        (b"[" * 100_000 + b"{}{}", "nested too deeply"),
        (b"", "empty"),
        (b" \t\r\n", "empty"),
    ],
)
def test_what_is_no_json(body: bytes, words: str) -> None:
    """Lines and objects that follow each other are told as what they are, with what would be right."""
    with pytest.raises(MalformedError, match=words) as caught:
        check(RULES, Kind.JSON, body)
    assert ("application/x-ndjson" in caught.value.hint) == (words in {LINES, SEVERAL})


def test_what_takes_long() -> None:
    """A body of few events is looked at where it is, one of many beside the others, whatever its size."""
    assert not takes_long(Kind.LINES, (EVENT + b"\n") * 400)
    assert takes_long(Kind.LINES, (EVENT + b"\n") * 600)
    assert takes_long(Kind.LINES, b"\n" * 600)
    assert not takes_long(Kind.JSON, b"[" + b",\n".join([EVENT] * 400) + b"]")
    assert takes_long(Kind.JSON, b"[" + b",".join([EVENT] * 600) + b"]")


@given(st.lists(st.sampled_from([EVENT, b"{", b"}", b"[", b"]", b",", b"\n", b" ", b'"', b"\xff"]), max_size=8))
def test_the_words_change_no_verdict(parts: list[bytes]) -> None:
    """Whatever is said of a body, it is refused exactly where the rules refuse it."""
    body = b"".join(parts)
    for kind, parse in ((Kind.JSON, RULES.parse), (Kind.LINES, RULES.parse_lines)):
        found: list[int | type[Exception]] = []
        for look in (parse, lambda text, kind=kind: check(RULES, kind, text)):
            try:
                found.append(look(body).events)
            except Exception as error:
                found.append(type(error))
        assert found[0] == found[1]
