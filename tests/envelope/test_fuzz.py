"""The envelope against a slow second opinion, on bytes that nobody in their right mind would send."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.envelope.judging import DEFAULTS, ROUTES, ZERO_ID, check_request, check_stream, envelope
from tests.events import UUID, tokens
from tests.fuzzing import examples
from tests.hostile import bodies, json_like, many_lines, nearly_good
from tests.reference import Rules

DAMAGED: Final = b'{"eventSourceId":"a","eventType":"t","eventId":"%b",%b}'

pytestmark = pytest.mark.fuzz

rules = st.builds(Rules, st.sampled_from(DEFAULTS), st.sampled_from(ROUTES))


@examples(200)
@given(rules, many_lines())
@example(Rules({}, {"main": {}}), b'{"eventSourceId":"a","eventType":"t","\\u0065ventId":null}\n' * 2)
def test_a_stream_of_anything(judge: Rules, data: bytes) -> None:
    """Of any bytes exactly those lines are stored that a slow reading accepts, as they were written."""
    check_stream(judge, data + b"\n")


@examples(60)
@given(st.sampled_from(DEFAULTS), many_lines(), st.data())
def test_a_stream_with_a_tight_limit(defaults: Mapping[str, str], stream: bytes, data: st.DataObject) -> None:
    """Whatever a line holds, it is too large where it has more bytes than the limit, and only there."""
    sizes = sorted({len(line.strip(b" \t\r")) for line in stream.split(b"\n")})
    limit = data.draw(st.sampled_from(sizes)) + data.draw(st.integers(-1, 1))
    check_stream(Rules(defaults, {"main": {}}, max(1, limit)), stream + b"\n")


@examples(100)
@given(rules, many_lines())
def test_a_request_of_lines(judge: Rules, body: bytes) -> None:
    """A request of lines is stored where a slow reading accepts every line, else refused with its status."""
    check_request(envelope(judge).parse_lines, judge.request_of_lines, body)


@examples(200)
@given(rules, bodies())
def test_a_request_of_json(judge: Rules, body: bytes) -> None:
    """A JSON body is stored where a slow reading accepts every event of it, else refused with its status."""
    check_request(envelope(judge).parse, judge.request, body)


@examples(100)
@given(st.sampled_from(DEFAULTS), json_like())
def test_the_text_of_each_token_stays(defaults: Mapping[str, str], text: bytes) -> None:
    """Every token of a stored event is the producer's own, escapes and digits included, or was filled in."""
    line = b"".join(text.splitlines())
    checked, _refused, _rest = envelope(Rules(defaults, {"main": {}})).sift(line + b"\n")
    if checked.events != 1:
        return
    written, stored = tokens(line.decode()), tokens(checked.data.decode())
    added = len(stored) - len(written)
    # Each member has four tokens, the comma behind it included; an empty object needs the last comma not.
    assert added % 4 == (3 if len(written) == 2 else 0)
    fillings = set(map(json.dumps, [ZERO_ID, *defaults.values()]))
    for was, now in zip(written[1:], stored[1 + added :], strict=True):
        assert was == now or (was == "null" and now in fillings)


@examples(100)
@given(
    st.lists(
        st.sampled_from(
            [
                b'"eventType":"t"',
                b'"\\u0065ventType":"t"',
                b'"version":"1"',
                b'"version":null',
                b'"data":{}',
                b'"data":{"data":{"eventId":"x"}}',
                b'"d\\u0061ta":{}',
                b'"eventTime":1',
                b'"x":"eventTime"',
                b'"x":"\\"data\\":"',
                b'"x\\"data":"\\u0045vent"',
                b'"eventKeyId":"k"',
                b'"eventId":"%b"' % UUID.encode(),
            ]
        ).flatmap(lambda member: st.integers(0, 2).map(lambda count: [member] * count)),
        max_size=6,
    ),
    st.data(),
)
def test_lines_cannot_make_up_for_each_other(members: list[list[bytes]], data: st.DataObject) -> None:
    """A key that stands twice in one event is found, also where its neighbour has it less often than usual."""
    pool = [member for repeated in members for member in repeated]
    lines = []
    for _ in range(data.draw(st.integers(1, 4))):
        chosen = data.draw(st.permutations(pool))[: data.draw(st.integers(0, len(pool)))]
        lines.append(b'{"eventSourceId":"a",' + b",".join([*chosen, b'"eventType":"t"']) + b"}\n")
    judge = Rules({}, {"main": {}})
    check_stream(judge, b"".join(lines))
    check_request(envelope(judge).parse, judge.request, b"[" + b"".join(lines)[:-1].replace(b"\n", b",") + b"]")


@examples(200)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [
                    '"data":{}',
                    '"data":{\n}',
                    '"data":{"a":\n1}',
                    '"x":1',
                    '"x":\n[]',
                    '"version":null',
                    '"version":\n"1"',
                    '"data":\n{}',
                    '"data":{}\n',
                ]
            ),
            st.booleans(),
            st.sampled_from(["\n", "\n", "\n", " ", "\t", "\r", "", ",", "\n\n", " \n", "\n ", "\r\n", "\0"]),
        ),
        min_size=1,
        max_size=5,
    )
)
@example([('"data":{}', True, " "), ('"data":{}', True, "\n")])
@example([('"data":{\n}', True, " "), ('"data":{}', True, "\n")])
@example([('"data":{}', True, ""), ('"data":{}', True, "\n\n"), ('"data":{}', True, "\n")])
@example([('"data":{}', True, "\n\n"), ('"data":{}', True, ""), ('"data":{}', True, "\n")])
@example([('"data":{}', False, ""), ('"x":\n[]', True, "\n")])
@example([('"data":{}', True, ""), ('"version":\nnull', True, "\n")])
@example([('"data":{}', True, ""), ('"version":\n"1"', True, "\n")])
@example([('"data":{}', False, ""), ('"data":\n{}', True, "\n")])
@example([('"data":{}', True, ""), ('"data":{}\n', True, "\n")])
@example([('"data":{}', True, ""), ('\n"data":{}', True, "\n")])
def test_only_a_newline_ends_an_event(parts: list[tuple[str, bool, str]]) -> None:
    """Two events on one line are none, whatever stands between them, and an event on two lines is none either."""
    event = f'{{"eventSourceId":"a","eventId":"{UUID}","eventType":"t",'
    text = "".join(f"{event if has_id else event.replace('eventId', 'y')}{more}}}{end}" for more, has_id, end in parts)
    judge = Rules({}, {"main": {}})
    check_stream(judge, text.encode() + b"\n")
    check_request(envelope(judge).parse_lines, judge.request_of_lines, text.encode())
    check_request(envelope(judge).parse, judge.request, text.encode())


@pytest.mark.parametrize("judge", [Rules(DEFAULTS[0], ROUTES[0]), Rules(DEFAULTS[4], ROUTES[2])])
def test_one_odd_thing(judge: Rules) -> None:
    """An event with one odd value, member or omission gets the same verdict alone, beside others, and in a request."""
    good = b'{"eventSourceId":"app-1","eventType":"t"}\n'
    for text in nearly_good():
        check_stream(judge, text + b"\n")
        check_stream(judge, good + text + b"\n" + good)
        check_stream(judge, text + b"\n[]\n")
        check_request(envelope(judge).parse, judge.request, b"[" + text + b"]")


@pytest.mark.parametrize("space", [chr(code) for code in range(0x21)] + list("\x7f\x85\xa0\u2028\u2029\u3000\ufeff"))
def test_white_space_is_what_json_says(space: str) -> None:
    """Only space, tab, carriage return and newline may stand between tokens (RFC 8259 §2)."""
    judge = Rules({}, {"main": {}})
    good = b'{"eventSourceId":"a","eventType":"t","data":{"a":[1,2]}}'
    for at in (match.end() for match in re.finditer(rb"[{}\[\]:,]", good)):
        body = good[:at] + space.encode() + good[at:]
        check_request(envelope(judge).parse, judge.request, body)
        check_request(envelope(judge).parse, judge.request, b"[" + body + b"," + good + b"]")
        check_request(envelope(judge).parse_lines, judge.request_of_lines, good + b"\n" + body)
        check_stream(judge, body + b"\n" + good + b"\n")


@pytest.mark.parametrize("byte", range(256))
def test_any_byte_inside_a_string_and_a_key(byte: int) -> None:
    """A byte that may not stand in a string is found wherever the string stands: in an event, a key, a value."""
    judge = Rules({}, {"main": {}})
    for member in (
        b'"version":"%c"',
        b'"x":"a%cb"',
        b'"x%c":1',
        b'"data":{"a%c":1}',
        b'"data":{"a":["%c"]}',
        b'%c"x":1',
    ):
        body = DAMAGED % (UUID.encode(), member % byte)
        check_request(envelope(judge).parse, judge.request, body)
        check_request(envelope(judge).parse_lines, judge.request_of_lines, body)
        check_stream(judge, body + b"\n")


@pytest.mark.parametrize("depth", [50, 200, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"eventId":', b"}"), (b'[{"data":', b"}]")])
def test_nesting(depth: int, opening: bytes, closing: bytes) -> None:
    """What is nested is an event as it was written, or beyond measure, and then refused, alone and beside others."""
    judge = Rules({}, {"main": {}}, max_event_bytes=10_000_000)
    body = DAMAGED % (UUID.encode(), b'"x":' + opening * depth + b"null" + closing * depth)
    good = b'{"eventSourceId":"a","eventType":"t"}\n'
    check_request(envelope(judge).parse, judge.request, body)
    check_request(envelope(judge).parse, judge.request, b"[" + body + b"]")
    check_stream(judge, good + body + b"\n" + good)
