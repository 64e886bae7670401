"""The nouns of the stages: lines are counted and cut, batches are split, addresses are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.model import (
    Address,
    Batch,
    Slice,
    count_lines,
    has_more,
    lines_within,
    nth_line,
    whole_lines,
)

# Lines as the queue holds them: none contains a newline, each ends with one. A carriage return ends none.
LINES = st.lists(st.binary(max_size=20).map(lambda line: line.replace(b"\n", b"\r")), max_size=12)


def ended(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


@given(lines=LINES)
def test_lines_are_told_apart_by_their_newlines_alone(lines: list[bytes]) -> None:
    """As many lines are counted as there are newlines, and each is given back whole."""
    data = ended(lines)
    assert count_lines(data) == len(lines)
    assert whole_lines(data) == [line + b"\n" for line in lines]


@given(lines=LINES, data=st.data())
def test_nth_line_is_where_the_lines_before_it_end(lines: list[bytes], data: st.DataObject) -> None:
    """The offset has exactly so many lines before it, counted from the first or from any other."""
    count = data.draw(st.integers(0, len(lines)))
    assert ended(lines)[: nth_line(ended(lines), count)] == ended(lines[:count])
    first = len(ended(lines[: data.draw(st.integers(0, count))]))
    passed = ended(lines)[:first].count(b"\n")
    assert nth_line(ended(lines), count - passed, first) == nth_line(ended(lines), count)


def test_nth_line_of_too_few_is_an_error() -> None:
    """More lines than there are cannot be passed."""
    with pytest.raises(ValueError, match="not found"):
        nth_line(b"a\n", 2)


@given(data=st.text("ab", max_size=40).map(str.encode), times=st.integers(0, 10))
def test_has_more_counts_as_far_as_it_must(data: bytes, times: int) -> None:
    """A byte is there more often than so many times exactly if counting them all says so."""
    assert has_more(data, b"a", times) == (data.count(b"a") > times)


@given(lines=LINES, limit=st.integers(1, 25))
def test_lines_within_looks_at_every_line(lines: list[bytes], limit: int) -> None:
    """All lines are within the limit, without their newlines, exactly if the longest one is."""
    assert lines_within(ended(lines), limit) == all(len(line) <= limit for line in lines)


def batch(*parts: tuple[int, int, float]) -> Batch:
    """Return a batch of slices, given by position, events and the moment of acceptance; lines are their positions."""
    positions = [position + number for position, events, _ in parts for number in range(events)]
    return Batch("main", tuple(Slice(*part) for part in parts), ended([b"%d" % position for position in positions]))


def test_a_batch_is_the_sum_of_its_slices() -> None:
    """It has the events of all slices, begins where the first does, and is as old as the oldest."""
    found = batch((3, 2, 20.0), (9, 4, 10.0))
    assert (found.events, found.position, found.oldest) == (6, 3, 10.0)


def test_neighbouring_slices_are_one_run() -> None:
    """Slices of different segments that follow each other without a gap are one run of positions."""
    assert batch((1, 2, 0.0), (3, 4, 0.0), (9, 1, 0.0)).runs == [(1, 7), (9, 10)]
    assert batch((5, 1, 0.0)).runs == [(5, 6)]


@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=5), data=st.data())
def test_a_split_batch_has_every_event_once(sizes: list[int], data: st.DataObject) -> None:
    """Both halves are batches: together they have the same bytes, and each the positions of its own lines."""
    starts = [10 * number for number in range(len(sizes))]
    whole = batch(*[(start, size, float(start)) for start, size in zip(starts, sizes, strict=True)])
    if whole.events < 2:
        return
    cut = data.draw(st.integers(1, whole.events - 1))
    head, tail = whole.split(cut)
    assert (head.events, tail.events) == (cut, whole.events - cut)
    assert head.data + tail.data == whole.data
    for half in (head, tail):
        positions = [position for first, until in half.runs for position in range(first, until)]
        assert ended([b"%d" % position for position in positions]) == half.data


@pytest.mark.parametrize(
    ("address", "written", "is_unix", "is_loopback"),
    [
        (Address(path="/run/s.sock"), "unix:/run/s.sock", True, True),
        (Address(host="127.0.0.1", port=1), "tcp:127.0.0.1:1", False, True),
        (Address(host="127.8.9.10", port=1), "tcp:127.8.9.10:1", False, True),
        (Address(host="::1", port=1), "tcp:[::1]:1", False, True),
        (Address(host="::ffff:127.0.0.1", port=1), "tcp:[::ffff:127.0.0.1]:1", False, True),
        (Address(host="::ffff:10.0.0.1", port=1), "tcp:[::ffff:10.0.0.1]:1", False, False),
        (Address(host="localhost", port=1), "tcp:localhost:1", False, True),
        (Address(host="127.example", port=1), "tcp:127.example:1", False, False),
        (Address(host="0.0.0.0", port=1), "tcp:0.0.0.0:1", False, False),
        (Address(host="::", port=1), "tcp:[::]:1", False, False),
    ],
)
def test_an_address(address: Address, written: str, is_unix: bool, is_loopback: bool) -> None:
    """It is written as in the configuration, and only what no other machine reaches counts as loopback."""
    assert (str(address), address.is_unix, address.is_loopback) == (written, is_unix, is_loopback)
