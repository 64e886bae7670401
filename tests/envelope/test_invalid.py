"""What is no event, as a line that says what was sent."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from forwarder.envelope import Envelope, Excerpt, Refused, as_sent, burials, sort_out
from forwarder.envelope.invalid import HEAD_BYTES, kept
from forwarder.errors import MalformedError
from forwarder.model import Burial, DeadSegment

GOOD = b'{"eventSourceId":"s","eventType":"t"}'
LIMIT = 10_000


def refused(line: bytes, excerpt: Excerpt | None = None) -> Refused:
    return Refused(0, 422, "no", line, excerpt)


def envelope() -> Envelope:
    return Envelope(routes={"main": {}}, max_event_bytes=LIMIT)


@given(st.binary(max_size=200))
@example(b'{"invalid":{"text":"x"}}')
@example(b'{"invalid":1}')
@example(b"42")
@example(b"a\nb\r")
def test_what_was_sent_can_be_told(line: bytes) -> None:
    """Whatever was sent stands on one line of JSON, from which it comes back to the byte."""
    stored = kept(refused(line), LIMIT)
    assert stored.endswith(b"\n")
    assert b"\n" not in stored[:-1]
    json.loads(stored)
    assert as_sent(stored[:-1]) == line


def test_json_stands_as_it_was_sent() -> None:
    """What is JSON is kept as it is; other text can be read, and bytes are base64."""
    assert kept(refused(b'{"a": 1}'), LIMIT) == b'{"a": 1}\n'
    assert kept(refused(b"not json"), LIMIT) == b'{"invalid":{"text":"not json"}}\n'
    assert kept(refused(b"\xff"), LIMIT) == b'{"invalid":{"base64":"/w=="}}\n'


@pytest.mark.parametrize("character", ["x", "é", "€", "😀"])
def test_the_beginning(character: str) -> None:
    """Over the limit the first 4 KiB are kept as text, up to the last whole character, and size and hash of all."""
    line = b"{" + character.encode() * LIMIT
    stored = kept(refused(line), LIMIT)
    found = json.loads(stored)["invalid"]
    assert line.startswith(found["text"].encode())
    assert HEAD_BYTES - 3 <= len(found["text"].encode()) <= HEAD_BYTES
    assert (found["bytes"], found["sha256"]) == (len(line), sha256(line).hexdigest())
    assert as_sent(stored[:-1]) is None
    # The stream has never had all of it.
    assert kept(refused(b"", Excerpt(line[:HEAD_BYTES], len(line), sha256(line).hexdigest())), LIMIT) == stored


def test_the_beginning_of_bytes() -> None:
    """The beginning of what is no text is base64, too."""
    assert set(json.loads(kept(refused(b"\xff" * LIMIT + b"x"), LIMIT))["invalid"]) == {"base64", "bytes", "sha256"}


@pytest.mark.parametrize("event", [b'{"invalid":{"text":1}}', b'{"invalid":', b'{"invalid":{"base64":"?"}}'])
def test_damaged(event: bytes) -> None:
    """Of a letter that is damaged nothing is made up."""
    assert as_sent(event) is None


def test_neighbours_are_buried_together() -> None:
    """Letters with one reason make one segment, in order."""
    lines = [
        Refused(0, 422, "a", b"1"),
        Refused(1, 422, "a", b"2"),
        Refused(2, 400, "a", b"3"),
        Refused(3, 422, "a", b"4"),
    ]
    assert burials(lines, LIMIT) == [
        DeadSegment("invalid", 2, b"1\n2\n", Burial("invalid", 422, "a")),
        DeadSegment("invalid", 1, b"3\n", Burial("invalid", 400, "a")),
        DeadSegment("invalid", 1, b"4\n", Burial("invalid", 422, "a")),
    ]


@pytest.mark.parametrize(
    ("body", "are_lines", "events", "invalid"),
    [
        (b"[%s,{},%s]" % (GOOD, GOOD), False, 2, [b"{}"]),
        (b"{}", False, 0, [b"{}"]),
        (b"%s\nnonsense\n%s" % (GOOD, GOOD), True, 2, [b"nonsense"]),
        (b"[%s,{]" % GOOD, False, 0, [b"[%s,{]" % GOOD]),
        (b"%s\n%s\n" % (GOOD, GOOD), False, 0, [b"%s\n%s\n" % (GOOD, GOOD)]),
        (b"42", False, 0, [b"42"]),
    ],
)
def test_sort_out(body: bytes, are_lines: bool, events: int, invalid: list[bytes]) -> None:
    """Events are told from what is none; a body that cannot be told apart is one that is none."""
    checked, found = sort_out(envelope(), body, are_lines=are_lines)
    assert checked.events == events
    assert [one.line for one in found] == invalid


def test_nothing_is_nothing() -> None:
    """A body without anything in it is refused: there is nothing to keep."""
    with pytest.raises(MalformedError):
        sort_out(envelope(), b" \n", are_lines=False)
