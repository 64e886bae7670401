"""Cutting input into events."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.cli.splitter import Chunk, InputError, Splitter


class Cut:
    """What came of an input that arrived in these pieces."""

    def __init__(self, *pieces: bytes, max_line: int = 1000) -> None:
        self.refused: list[str] = []
        self.source = Splitter(lambda place, _detail: self.refused.append(place), max_line=max_line)
        self.chunks: list[Chunk] = []
        for piece in pieces:
            self.chunks += self.source.feed(piece)
        self.chunks += self.source.end()

    @property
    def events(self) -> list[bytes]:
        """The events, once their numbers and counts were found to fit."""
        events: list[bytes] = []
        for chunk in self.chunks:
            assert chunk.first == len(events) + 1
            assert chunk.data.endswith(b"\n")
            assert chunk.data.count(b"\n") == chunk.events > 0
            events += chunk.data.split(b"\n")[:-1]
        return events

    @property
    def places(self) -> list[str]:
        return [self.source.place(number) for number in range(1, len(self.events) + 1)]


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    """Return the data cut at these places."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(places)]


_event = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=10), max_size=3)
_blank = st.sampled_from(["", " ", "\t", "\r", " \r"])


@given(st.lists(_event.map(json.dumps) | _blank, max_size=20), st.lists(st.integers(0, 10_000)), st.booleans())
def test_lines_in_any_pieces(lines: list[str], cuts: list[int], newline_at_end: bool) -> None:
    """However the input arrives, each line that is not blank is an event, and its place is its line."""
    data = "\n".join(lines).encode() + b"\n" * newline_at_end
    cut = Cut(*pieces_of(data, cuts))
    numbered = [(f"line {number}", line) for number, line in enumerate(lines, 1) if line.strip()]
    assert cut.events == [line.encode() for _, line in numbered]
    assert cut.places == [place for place, _ in numbered]


@given(st.lists(_event, max_size=10), st.integers(0, 3) | st.none(), st.lists(st.integers(0, 10_000)))
def test_arrays_in_any_pieces(events: list[dict[str, object]], indent: int | None, cuts: list[int]) -> None:
    """The elements of an array, however it is laid out, are events on one line each."""
    cut = Cut(*pieces_of(json.dumps(events, indent=indent).encode(), cuts))
    assert [json.loads(event) for event in cut.events] == events
    assert cut.places == [f"event {number}" for number in range(1, len(events) + 1)]


@given(_event, st.integers(0, 3), st.lists(st.integers(0, 10_000)))
def test_one_object_over_several_lines(event: dict[str, object], indent: int, cuts: list[int]) -> None:
    """One object that is laid out over several lines is one event."""
    cut = Cut(*pieces_of(json.dumps(event, indent=indent).encode(), cuts))
    assert [json.loads(found) for found in cut.events] == [event]


def test_long_arrays_come_in_pieces() -> None:
    """A long array, and one of large events, comes in chunks that a request can hold."""
    assert [chunk.events for chunk in Cut(b"[" + b",".join([b"{}"] * 2500) + b"]").chunks] == [1000, 1000, 500]
    large = b'{"a":"' + b"x" * 700_000 + b'"}'
    assert [chunk.events for chunk in Cut(b"[" + b",".join([large] * 3) + b"]").chunks] == [2, 1]


def test_what_was_written_is_kept() -> None:
    """Numbers, escapes and repeated keys of an array or an object stay as they were written."""
    assert Cut(b'[{"n":1.00,\n"n":1e5},{"s":"\\u0041"}]').events == [b'{"n":1.00,"n":1e5}', b'{"s":"\\u0041"}']
    assert Cut(b'{\n"n":1.00}').events == [b'{"n":1.00}']


@pytest.mark.parametrize("data", [b"", b"\n \n", b"[]", b" [ ] ", b"\xef\xbb\xbf"])
def test_nothing(data: bytes) -> None:
    """Input without events gives none."""
    assert Cut(data).events == []


@pytest.mark.parametrize("pieces", [(b"\xef\xbb\xbf{}\n",), (b"\xef", b"\xbb", b"\xbf{}\n"), (b"\xef\xbb\xbf[{}]",)])
def test_byte_order_mark(pieces: tuple[bytes, ...]) -> None:
    """A byte order mark at the start is no part of an event."""
    assert Cut(*pieces).events == [b"{}"]


def test_what_is_no_json_is_passed_on() -> None:
    """A line that is no JSON is sent, so that the daemon says what is wrong with it, and its neighbours live."""
    assert Cut(b'{}\nnonsense\n{"a":\n{}\n').events == [b"{}", b"nonsense", b'{"a":', b"{}"]
    assert Cut(b"nonsense").events == [b"nonsense"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'[{"a":1},\n {"b":2x}]', "the array is not JSON: line 2, column 8 (byte 17): expected ',' or '}'"),
        (b'[{"a":1}', "the array is not JSON: it ends too early"),
        (b"[{}]\n[{}]", "line 2, column 2 (byte 6)"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{\n "a": 1\n}\n{\n "a": 2\n}\n', "the input is not one JSON object: line 4, column 2 (byte 13)"),
        (b'{\n "a": ', "it ends too early"),
    ],
)
def test_broken_input(data: bytes, words: str) -> None:
    """An array or an object that is broken is refused as a whole, with the place."""
    with pytest.raises(InputError) as raised:
        Cut(data)
    assert words in raised.value.message


def test_overlong_lines() -> None:
    """A line over the limit is refused without being held, and what follows it is cut as before."""
    cut = Cut(b'{}\n{"a":"' + b"x" * 1500, b"x" * 1500, b'x"}\n\n{}\n{"b":"' + b"y" * 2000, b'y"}', max_line=1000)
    assert cut.refused == ["line 2", "line 5"]
    assert (cut.events, cut.places) == ([b"{}", b"{}"], ["line 1", "line 4"])
    assert Cut(b'{"a":"' + b"x" * 2000, b'"}\n{}\n', max_line=1000).events == [b"{}"]


def test_overlong_object() -> None:
    """An object over several lines is not held beyond the limit."""
    with pytest.raises(InputError, match="one object of over 100 bytes"):
        Cut(b'{\n"a": "' + b"x" * 200, max_line=100)


def test_blank_start() -> None:
    """White space without end is not held."""
    splitter = Splitter(lambda _place, _detail: None)
    for _ in range(10):
        assert list(splitter.feed(b" \n" * 50_000)) == []
    assert [chunk.data for chunk in splitter.feed(b"{}\n")] == [b"{}\n"]
    assert splitter.place(1) == "line 500001"


def test_forgotten_places() -> None:
    """Places of settled events may be forgotten; those behind them stay right."""
    cut = Cut(b"{}\n\n{}\n\n{}\n\n{}\n")
    cut.source.forget(3)
    assert cut.places[2:] == ["line 5", "line 7"]


@given(st.integers(1, 10), st.integers(1, 12))
def test_split(events: int, first: int) -> None:
    """A chunk that is split keeps its events, their order and their numbers."""
    chunk = Chunk(b"".join(b"%d\n" % number for number in range(events)), events, 7)
    head, rest = chunk.split(first)
    assert head.data + (rest.data if rest else b"") == chunk.data
    assert head.events == min(first, events)
    assert (rest is None) == (first >= events)
    if rest:
        assert (rest.first, rest.events) == (7 + first, events - first)
