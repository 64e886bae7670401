"""Bytes that look like JSON and may not be: events as an attacker, or a broken producer, writes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hypothesis import strategies as st

from tests.events import UUID, event_texts

# White space, and what only looks like it (RFC 8259 §2 knows four characters).
_SPACES: Final = [
    *[b""] * 12,
    *[b" ", b"\t", b"\r", b"\n", b" \t\r\n "],
    *[b"\x0b", b"\x0c", b"\x00", b"\x1f", b"\x85", "\x85\xa0\u2028\u3000".encode(), b"\xef\xbb\xbf"],
]
_NUMBERS: Final = [
    *[b"0", b"-0", b"1e400", b"-1E+400", b"0.10", b"1.0e-7", b"9" * 5000, b"-" + b"1" * 400 + b".5"],
    *[b"01", b"-", b"+1", b"1.", b".5", b"1e", b"0x10", b"1_000", b"--1", b"NaN", b"Infinity", b"-Infinity", b"nan"],
]
_STRINGS: Final = [
    *[b'""', b'"t"', b'"a\\u0000b"', b'"\\ud83d\\ude00"', "😀é\u2028\x7f".encode().join([b'"', b'"'])],
    *[b'"\\"data\\":{}"', b'"\\\\"', b'"\\\\\\"eventId\\""', b'"}\\n{"', b'"\\u007d\\n{"', b'"%b"' % UUID.encode()],
    *[b'"\\ud800"', b'"\\udc00"', b'"\\udc00\\ud800"', b'"\\ud800\\u0041"', b'"\\ud800\\ud800\\udc00"', b'"\\ud800x"'],
    *[b'"\x00"', b'"\x1f"', b'"\t"', b'"\r"', b'"\n"', b'"\\q"', b'"\\u12"', b'"\\u12g4"', b'"\\u+123"', b'"\\U0041"'],
    *[b'"\xff"', b'"\xc0\xaf"', b'"\xed\xa0\x80"', b'"\xed\xa0\xbd\xed\xb8\x80"', b'"\xf4\x90\x80\x80"', b'"\xc3"'],
    *[b"'t'", b'"t', b't"', b'"\\"', b'"', b"t"],
]
_KEYS: Final = [
    *[b'"eventSourceId"', b'"eventType"', b'"eventId"', b'"eventObjectType"', b'"eventObjectId"', b'"version"'],
    *[b'"eventKeyId"', b'"data"', b'"eventReceived"', b'"eventTime"', b'"x"', b'""', '"é"'.encode()],
    *[b'"\\u0065ventId"', b'"event\\u0054ype"', b'"eventSourceI\\u0064"', b'"\\u0064\\u0061\\u0074\\u0061"'],
    *[b'"versio\\u006E"', b'"\\u0065\\u0076\\u0065\\u006e\\u0074\\u0054\\u0079\\u0070\\u0065"', b'"event\\/Id"'],
    *[b'"eventid"', b'"eventId "', b'"eventId\\u0000"', '"e\u0301ventId"'.encode(), '"eventI\u0501"'.encode()],
    *[b'"x\\"data"', b'"x\\"event"', b'"\\"eventId\\":"', b'"x\\\\"', b'"event"', b'"Version"'],
]
_DEEP: Final = [
    *[b"[" * 90 + b"]" * 90, b'{"data":' * 90 + b"1" + b"}" * 90, b'[{"eventId":' * 40 + b"[]" + b"}]" * 40],
    *[b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 100_000 + b"{}" + b"}" * 100_000, b"[" * 100_000],
]
_WORDS: Final = [b"true", b"false", b"null", b"True", b"nul", b"undefined", b"/**/", b"# x", b",", b":"]

# What is nearly a UUID, and two that are one.
_NEARLY: Final = [
    *[UUID.upper(), UUID[:-1], UUID + "0", UUID + " ", UUID.replace("-", ""), UUID[::-1], UUID[:8] + "0" + UUID[9:]],
    *["{" + UUID + "}", "urn:uuid:" + UUID, UUID[:-1] + "g", UUID[:-1] + "-", UUID[:-1] + "\uff11", "-" * 36, "0" * 36],
    *[UUID.replace("-", "\\u002d", 1), UUID[:9] + "-" + UUID[10:], UUID[:35] + "\\n", UUID.replace("-", "_")],
]

_FINE: Final = [
    *[b'"t"', b'"s"', b'"app-1"', b'"%b"' % UUID.encode(), b"null", b"7"],
    *[b"{}", b'{"data":{"eventId":null},"version":1}'],
]

_fine = st.sampled_from(_FINE)
_odd = st.one_of(
    st.sampled_from(_STRINGS),
    st.sampled_from(_NUMBERS),
    st.sampled_from(_WORDS),
    st.sampled_from(_DEEP),
    st.builds(lambda key, value: b"{" + key + b":" + value + b"}", st.sampled_from(_KEYS), st.sampled_from(_STRINGS)),
    st.builds(
        lambda left, right: b"[" + left + b"," + right + b"]", st.sampled_from(_NUMBERS), st.sampled_from(_WORDS)
    ),
)
_spaces = st.sampled_from(_SPACES)
_marks = st.sampled_from([*_SPACES, *_NUMBERS, *_STRINGS, *_KEYS, *_WORDS, b"{", b"}", b"[", b"]", b"}\n{", b"\\"])


_GOOD: Final = {
    b'"eventSourceId"': b'"app-1"',
    b'"eventType"': b'"t"',
    b'"eventId"': b'"%b"' % UUID.encode(),
    b'"eventObjectType"': b'"user"',
    b'"eventObjectId"': b'"7"',
    b'"version"': b'"1.8.0"',
    b'"eventKeyId"': b'"k"',
    b'"data"': b'{"n":1.0,"data":{}}',
}


def nearly_good() -> list[bytes]:
    """Return events with one thing odd: each value in place of each good one, each key beside the good ones."""
    values = [*_FINE, *_STRINGS, *_NUMBERS, *_WORDS, *_DEEP[:3], *(b'"' + text.encode() + b'"' for text in _NEARLY)]
    replaced = [_object({**_GOOD, name: value}) for name in _GOOD for value in values]
    missing = [_object({key: text for key, text in _GOOD.items() if key != name}) for name in _GOOD]
    added = [
        _object(_GOOD)[:-1] + b"," + key + b":" + value + b"}" for key in _KEYS for value in (b"null", b'"t"', b"{}")
    ]
    return [*replaced, *missing, *added]


def _object(members: Mapping[bytes, bytes]) -> bytes:
    return b"{" + b",".join(key + b":" + text for key, text in members.items()) + b"}"


@st.composite
def _objects(draw: st.DrawFn) -> bytes:
    """Write an object out of members that repeat, hide and contradict each other."""
    oddness = draw(st.integers(0, 3))
    space = draw(_spaces)
    members = [b'"eventSourceId":"app-1"', b'"eventType":"t"'] if draw(st.integers(0, 7)) else []
    for _ in range(draw(st.integers(0, 5))):
        value = draw(_odd if draw(st.integers(0, 5)) < oddness else _fine)
        members.append(draw(st.sampled_from(_KEYS)) + space + b":" + space + value)
    text = (space + b"," + space).join(draw(st.permutations(members)))
    return b"{" + space + text + draw(st.sampled_from([*[b""] * 20, b",", b":", b"{}"])) + space + b"}"


@st.composite
def _spoiled(draw: st.DrawFn, good: st.SearchStrategy[bytes]) -> bytes:
    """Cut, double, replace or insert something somewhere."""
    data = draw(good)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 4)))
        middle = draw(st.one_of(_marks, st.binary(max_size=2), st.just(data[start:end] * 2)))
        data = data[:start] + middle + data[end:]
    return data


_nearly = st.sampled_from(nearly_good())
_events = event_texts().map(str.encode)
_soup = st.lists(_marks, max_size=12).map(b"".join)


def json_like() -> st.SearchStrategy[bytes]:
    """Write what may be an event, or anything else, on one line or several."""
    return st.one_of(_events, _nearly, _objects(), _spoiled(_events), _spoiled(_nearly), _soup, _odd)


@st.composite
def many_lines(draw: st.DrawFn) -> bytes:
    """Write lines of which most are events: enough of them, at times, that they are looked at together."""
    parts = draw(st.lists(json_like(), min_size=1, max_size=5))
    crowd = draw(st.sampled_from([0, 0, 1, 30, 40]))
    plain = [
        b'{"eventSourceId":"app-1","eventType":"t","n":%d,"eventId":"%b"}' % (n, UUID.encode()) for n in range(crowd)
    ]
    at = draw(st.integers(0, crowd))
    end = draw(st.sampled_from([b"\n", b"\n", b"\n", b"\r\n", b" \n\t", b"\n\n", b"\r", b"\x0b\n", b"\n\xef\xbb\xbf"]))
    return end.join([*plain[:at], *parts, *plain[at:]]) + draw(st.sampled_from([b"", b"\n", end]))


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Write what may be the JSON body of a request: an object, an array of them, or neither."""
    kind = draw(st.sampled_from([_events, _nearly, json_like()]))
    if draw(st.integers(0, 3)) == 0:
        return draw(kind)
    space, before, behind = (draw(st.sampled_from([b"", b"", b" ", b"\r\n", draw(_spaces)])) for _ in range(3))
    inner = (space + b"," + space).join(draw(st.lists(kind, max_size=4)))
    close = draw(st.sampled_from([*[b"]"] * 15, b"", b",]", b"]]", b"]\x00", b"] \n"]))
    return before + b"[" + space + inner + space + close + behind
