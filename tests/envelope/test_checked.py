"""Checked events are cut into segments: each event once for every destination, in bounded pieces."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.envelope.checked import MAX_SEGMENT_BYTES, Checked, joined, pieces

ROUTES = st.lists(
    st.sampled_from([(), ("a",), ("b",), ("a", "b")]),
    min_size=1,
    max_size=12,
)


def data_of(count: int) -> bytes:
    return b"".join(b'{"n":%d}\n' % number for number in range(count))


def numbers_for(checked: Checked, destination: str) -> list[int]:
    """Return the numbers of the events in the segments of a destination; the counts of the segments are checked."""
    found = []
    for segment in checked.segments:
        assert segment.data.count(b"\n") == segment.events > 0
        if segment.destination == destination:
            found += [json.loads(line)["n"] for line in segment.data.splitlines()]
    return found


@given(routes=ROUTES)
def test_each_destination_gets_its_events_in_order(routes: list[tuple[str, ...]]) -> None:
    """An event is in the segments of the destinations that it matches, once, and in no others."""
    checked = Checked.of(data_of(len(routes)), routes)
    assert checked.events == len(routes)
    for name in ("a", "b"):
        assert numbers_for(checked, name) == [number for number, names in enumerate(routes) if name in names]


@given(routes=ROUTES.filter(lambda routes: len(routes) > 1))
def test_halves_are_checked_events(routes: list[tuple[str, ...]]) -> None:
    """Split in two, everything is there once and in order, and each event keeps its destinations."""
    checked = Checked.of(data_of(len(routes)), routes)
    head, tail = checked.split()
    assert head.events + tail.events == checked.events
    assert abs(head.events - tail.events) <= 1
    assert head.data + tail.data == checked.data
    assert head.routes + tail.routes == routes
    for name in ("a", "b"):
        assert numbers_for(head, name) + numbers_for(tail, name) == numbers_for(checked, name)


@pytest.mark.parametrize("routes", [[("a",)] * 3, [("a",), ("a", "b"), ("a",)]])
def test_segments_are_bounded(routes: list[tuple[str, ...]]) -> None:
    """A segment is larger than the limit only if it holds a single event that is."""
    long = b'{"n":0,"x":"%s"}\n' % (b"x" * MAX_SEGMENT_BYTES)
    half = b'{"n":1,"x":"%s"}\n' % (b"x" * (MAX_SEGMENT_BYTES // 2))
    checked = Checked.of(long + half + half, routes)
    assert [segment.events for segment in checked.segments if segment.destination == "a"] == [1, 1, 1]
    assert numbers_for(checked, "a") == [0, 1, 1]


def test_ids_in_the_order_of_the_events() -> None:
    """The ids of the events are given in order, whatever their destinations."""
    lines = (
        b'{"eventSourceId":"s","eventType":"t","eventId":"1"}\n{"eventSourceId":"s","eventType":"t","eventId":"2"}\n'
    )
    assert Checked.of(lines, [("b",), ("a",)]).event_ids() == ["1", "2"]


@given(
    lines=st.lists(st.binary(max_size=12).map(lambda line: line.replace(b"\n", b"")), max_size=10),
    limit=st.integers(1, 20),
)
def test_pieces_are_whole_lines(lines: list[bytes], limit: int) -> None:
    """Pieces add up to the lines, each ends a line, and one over the limit is a single line."""
    data = b"".join(line + b"\n" for line in lines)
    found = list(pieces(data, limit))
    assert b"".join(found) == data
    for piece in found:
        assert piece.endswith(b"\n")
        assert len(piece) <= limit or piece.count(b"\n") == 1


@pytest.mark.parametrize("is_list", [True, False])
@pytest.mark.parametrize("size", [10, 300_000])
def test_events_are_joined_in_pieces(is_list: bool, size: int) -> None:
    """Events from a list or one by one become the same lines; small ones share a piece."""
    events = [msgspec.Raw(b"%d" % number + b"x" * size) for number in range(9)]
    found = list(joined(events if is_list else iter(events)))
    assert b"".join(found) == b"".join(bytes(event) + b"\n" for event in events)
    assert (len(found) == 1) == (size == 10)
    assert max(map(len, found)) < 2 * MAX_SEGMENT_BYTES


def test_no_events_are_no_pieces() -> None:
    """Of nothing that comes one by one there is nothing to store."""
    assert list(joined(iter([]))) == []
