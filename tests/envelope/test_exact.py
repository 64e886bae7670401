"""The words for what is wrong with one event."""

from __future__ import annotations

import pytest

from forwarder.envelope.exact import read_envelope
from forwarder.envelope.fields import RefusedError
from forwarder.errors import InvalidEventsError, MalformedError, RequestError


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'{"a":"\\ud800"}', r"\\ud800 at byte 6 is half of a surrogate pair"),
        (b'{"a":"\\uDC00\\ud800"}', r"\\uDC00 at byte 6 is half of a surrogate pair"),
        (b'{"a":"\\\\\\ud83d\\ude00\\udfff"}', r"\\udfff at byte 20 is half of a surrogate pair"),
        (b'{"\\ud800x":1}', r"\\ud800 at byte 2 is half of a surrogate pair"),
        # It is not the first thing that is wrong, or not there at all.
        (b'{"a":"\\ud800"', "ends too early"),
        (b'{"a":"\\\\ud800"', "ends too early"),
        (b'{"a":"\\ud83d\\ude00",}', "trailing comma"),
        (b"\xef\xbb\xbf{}", r"byte order mark \(EF BB BF\)"),
        (b'{"a":"\xff"}', "not UTF-8: invalid start byte at byte 6"),
        (b"[" * 600 + b"]" * 600, "an event must be a JSON object"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deeply: more than 512 levels"),
        (b'{"a":' * 513 + b"1" + b"}" * 513, "nested too deeply: more than 512 levels"),
        (b'{"version":"1","version":"2"}', "stands 2 times"),
    ],
)
def test_what_is_wrong(line: bytes, words: str) -> None:
    """What keeps a line from being an event is told by its true reason, and by its place where it has one."""
    with pytest.raises(RefusedError, match=words):
        read_envelope(line)


@pytest.mark.parametrize(
    ("line", "error"),
    [(b"[1]", InvalidEventsError), (b"{", MalformedError), (b"[" * 100_000 + b"]" * 100_000, MalformedError)],
    ids=["no object", "no JSON", "too deep"],
)
def test_the_kind_of_what_is_wrong(line: bytes, error: type[RequestError]) -> None:
    """What is no JSON is malformed; other JSON than an object is an invalid event. Neither is about a field."""
    with pytest.raises(RefusedError) as caught:
        read_envelope(line)
    assert (caught.value.field, caught.value.error) == ("", error)


def test_the_members_of_the_envelope() -> None:
    """The envelope's members are found with their places, also behind escapes, and white space goes."""
    text, found = read_envelope(b'{ "x" : [1, {"version": 2}], "v\\u0065rsion" : "1" }')
    assert text == b'{"x":[1,{"version":2}],"v\\u0065rsion":"1"}'
    assert {name: text[place.start : place.end] for name, place in found.items()} == {"version": b'"1"'}
