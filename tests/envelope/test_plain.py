"""What is vouched for is what the producer wrote."""

from __future__ import annotations

import pytest

from forwarder.envelope import Envelope
from forwarder.envelope.plain import read_array, read_lines
from tests.events import UUID

HEAD = b'{"eventSourceId":"s","eventType":"t"'
GOOD = HEAD + b',"eventId":"%b"}\n' % UUID.encode()


@pytest.mark.parametrize(
    "lines",
    [
        # What is missing at the end of the first line stands at the beginning of the second.
        HEAD + b',"data":{}\n}' + HEAD + b"}\n",
        HEAD + b',"data":{}\n}' + GOOD,
        b'{"eventSourceId":"s","data":{}\n,"eventType":"t"}' + HEAD + b"}\n",
        b'{"data":{}\n,"eventSourceId":"s","eventType":"t"}' + GOOD,
        # The same within `data`, in an unknown member, and in a list.
        HEAD + b',"data":{"a":{}\n}}' + HEAD + b"}\n",
        HEAD + b',"x":{}\n}' + GOOD,
        HEAD + b',"x":[{}\n,{}]}' + GOOD,
        HEAD + b',"x":[{},\n{}]}' + GOOD,
        # A newline that is missing between two events, and one too many elsewhere.
        GOOD[:-1] + GOOD + b"\n" + GOOD,
        b"\n" + GOOD[:-1] + GOOD,
        GOOD[:-1] + b" " + GOOD[:-1] + b"\n\n",
        # With the white space of a producer that writes some.
        HEAD.replace(b":", b": ") + b', "data": {}\n}' + HEAD.replace(b":", b": ") + b"}\n",
    ],
)
@pytest.mark.parametrize("defaults", [{}, {"version": "1"}])
def test_lines_that_are_no_events_by_themselves(lines: bytes, defaults: dict[str, str]) -> None:
    """Two lines do not make up for what each of them lacks, with or without ids and defaults to be put in."""
    rules = Envelope(routes={"main": {}}, defaults=defaults, random_bytes=bytes)
    for before in (b"", GOOD, GOOD * 40):
        checked, refused, rest = rules.sift(before + lines)
        assert rest == b""
        assert refused
        for line in checked.data.splitlines():
            assert rules.parse(line).events == 1


def test_lines_in_plain_form() -> None:
    """Events in whatever order of members, with or without others beside the envelope, are vouched for together."""
    for lines in (
        GOOD,
        HEAD + b"}\n",
        b'{"eventType":"t","eventSourceId":"s"}\n',
        HEAD + b',"x":[{},{"a":"}\\n{"}]}\n',
    ):
        plain = read_lines(lines * 3)
        assert plain is not None
        assert (plain.data, len(plain.events)) == (lines * 3, 3)


def test_a_null_that_would_stand_twice() -> None:
    """A member that is null is known to be there, so it is not put in front once more."""
    plain = read_lines(HEAD + b',"eventId":null,"data":{}}\n' + GOOD)
    assert plain is not None
    assert plain.has_null(["version", "eventId"])
    assert not plain.has_null(["version", "eventType"])
    plain = read_lines(HEAD + b',"x":null}\n' + GOOD)
    assert plain is not None
    assert not plain.has_null(["eventId", "version"])


@pytest.mark.parametrize(
    "array",
    [
        b"[" + HEAD + b"}," + HEAD + b',"x":1}]',
        b"[" + HEAD + b"} ," + HEAD + b"}]",
        b"[" + HEAD + b"}," + HEAD + b',"eventType":"t"}]',
        b"[" + HEAD + b',"eventKeyId":null}]',
        b"[]",
        b"[1]",
        b"[" + HEAD + b"}",
    ],
)
def test_arrays_that_are_not_plain(array: bytes) -> None:
    """An array with anything that makes it longer than its events is not vouched for."""
    assert read_array(array) is None


@pytest.mark.parametrize(
    "lines",
    [
        HEAD + b"}\n" + GOOD,
        b'{"eventType":"}","eventSourceId":"{"}\n' * 2,
        b'{"eventType":"t","data":{"a":[{},{},{}]}}\n{"eventType":"},{"}\n',
        b'{"data":{"a":[{},{}]},"eventType":"t"}\n{"version":"},{","eventType":"t"}\n{"eventType":"t"}\n',
    ],
)
def test_arrays_in_plain_form(lines: bytes) -> None:
    """The elements of an array become lines as they were written, whatever stands in them and in whatever order."""
    plain = read_array(b"[" + lines[:-1].replace(b"\n", b",") + b"]")
    assert plain is not None
    assert (plain.data, len(plain.events)) == (lines, lines.count(b"\n"))
