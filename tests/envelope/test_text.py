"""JSON as text."""

from __future__ import annotations

import tracemalloc

import msgspec
import pytest
from hypothesis import given, settings

from forwarder.envelope.text import elements, is_deeper, is_json_object, members, put_in_front, split_array
from tests.events import Pairs, event_texts, loads


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


def nested(depth: int, opening: bytes, closing: bytes, inside: bytes = b"1") -> bytes:
    return opening * depth + inside + closing * depth


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"]":', b"}]")])
@pytest.mark.parametrize("depth", [1, 255, 256, 511, 512, 513, 600])
def test_how_deep_a_text_is_nested(opening: bytes, closing: bytes, depth: int) -> None:
    """Levels are counted whatever stands in strings and beside them, and not what is wide."""
    levels = depth * (2 if opening.startswith(b"[{") else 1)
    if levels > 900:
        return
    for text in (
        nested(depth, opening, closing),
        nested(depth, opening, closing, b'"' + b"[{" * 600 + b'\\"[["'),
        nested(depth, opening, closing, b"[]" if levels == 1 else b'"\\\\"'),
    ):
        expected = levels + (text.count(b"[]") > 0)
        assert not is_deeper(text, expected)
        assert is_deeper(text, expected - 1) == (len(text) > 2 * (expected - 1))


def test_what_is_wide_is_not_deep() -> None:
    """Thousands of objects beside each other are two levels."""
    text = b"[" + b",".join([b'{"a":[]}'] * 5000) + b"]"
    assert not is_deeper(text, 512)
    assert is_deeper(text.replace(b"[]", nested(512, b"[", b"]"), 1), 512)


def test_nothing_but_a_brace_is_taken_for_one() -> None:
    """Members are put into an object only: another first byte is never turned into a brace."""
    assert put_in_front(b'{"a":1}', '"b":2,') == b'{"b":2,"a":1}'
    assert put_in_front(b"{}", '"b":2,') == b'{"b":2}'
    for line in (b"}{", b"", b' {"a":1}', b'"a":1}', b"[{}]"):
        with pytest.raises(ValueError, match="begins with a brace"):
            put_in_front(line, '"b":2,')


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (b'[{"a":1},{"a":1} , 7]', [b'{"a":1}', b'{"a":1}', b"7"]),
        (b'[\n{"a":\r\n[1,\n1]},"\\n",1,11]', [b'{"a":  [1, 1]}', b'"\\n"', b"1", b"11"]),
        (b'[{"a":"\\ud800"},{"a":"\\ufffd\\\\ud800"}]', [b'{"a":"\\ud800"}', b'{"a":"\\ufffd\\\\ud800"}']),
        (b"[]", []),
        (b'{"a":\n"\\udfff"}', [b'{"a": "\\udfff"}']),
    ],
)
def test_the_elements_of_an_array(text: bytes, lines: list[bytes]) -> None:
    """Each element is found as it was written, on one line, also beside one with half of a surrogate pair."""
    assert list(elements(text)) == lines


@pytest.mark.parametrize(
    ("text", "found"),
    [(b'{"a":1}', True), (b"{}", True), (b"", False), (b"[]", False), (b" {}", False), (b"{}\n", False), (b"{", False)],
)
def test_a_stored_event_is_an_object_on_one_line(text: bytes, found: bool) -> None:
    """What begins with anything else, or has a second line, is none."""
    assert is_json_object(text) == found


@pytest.mark.parametrize("text", [b"[1", b'["\n"]', b'["\\ud800\n"]', b"{},{}", b"[1]]", b"[1,]"])
def test_what_has_no_elements(text: bytes) -> None:
    """What is no JSON, whatever stands in its strings, has no elements; that shows before the first is asked for."""
    with pytest.raises(msgspec.DecodeError):
        elements(text)


@pytest.mark.parametrize(
    "array", [b"[]", b"[ ]", b"[{},[] ,1]", b'[{"a":",]"},\n{"a":[1,2]}]', b"[[],{}" + b",[]" * 99 + b"]"]
)
def test_an_array_is_split_in_two_ways(array: bytes) -> None:
    """The elements of an array are the same, whether all are read at once or, where they are tiny, one by one."""
    found = [bytes(part) for part in split_array(array + b" " * 10_000)]
    assert found == [bytes(part) for part in split_array(array)] == list(elements(array.replace(b"\n", b" ")))


@pytest.mark.slow
def test_tiny_elements_are_not_all_read_at_once() -> None:
    """Of millions of tiny elements a few are in memory at a time, and what is no JSON is known before the first."""
    tiny = b"[" + b"{}," * 1_000_000 + b"{}]"
    tracemalloc.start()
    try:
        assert sum(1 for _ in split_array(tiny)) == 1_000_001
        _kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * len(tiny)
    with pytest.raises(msgspec.DecodeError):
        split_array(tiny[:-1])
