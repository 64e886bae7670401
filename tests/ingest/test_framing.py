"""Lines out of a stream of bytes."""

from __future__ import annotations

import tracemalloc
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forwarder.envelope import HEAD_BYTES, Excerpt
from forwarder.ingest.framing import Framer

LIMIT = 8


def overlong(line: bytes) -> Excerpt:
    """Return what stands for a line over the limit."""
    return Excerpt(line[:HEAD_BYTES], len(line), sha256(line).hexdigest())


def expected(stream: bytes, limit: int) -> list[bytes | Excerpt]:
    """Return the lines of a whole stream, the last one with or without a newline."""
    lines = stream.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return [line + b"\n" if len(line) <= limit else overlong(line) for line in lines]


def apart(framer: Framer) -> list[bytes | Excerpt]:
    """Take everything, line by line."""
    taken: list[bytes | Excerpt] = []
    while (piece := framer.take(100_000)) is not None:
        taken += [piece] if isinstance(piece, Excerpt) else piece.splitlines(keepends=True)
    return taken


@settings(deadline=None)
@given(st.lists(st.text("ab\n", max_size=20).map(str.encode)), st.data())
def test_lines_do_not_depend_on_the_reads(chunks: list[bytes], data: st.DataObject) -> None:
    """However the stream was cut into reads, and whenever lines are taken, they are the same, in order."""
    framer = Framer(LIMIT)
    taken: list[bytes | Excerpt] = []
    for chunk in chunks:
        framer.feed(chunk)
        if data.draw(st.booleans()):
            taken += apart(framer)
            assert framer.size <= LIMIT
    framer.finish()
    taken += apart(framer)
    assert taken == expected(b"".join(chunks), LIMIT)
    assert framer.size == 0


def test_an_endless_line_is_not_kept() -> None:
    """Of a line over the limit nothing is kept but its beginning, its size and its hash."""
    framer = Framer(1000)
    for _ in range(1000):
        framer.feed(b"x" * 10_000)
        assert framer.size <= 1000
    assert framer.take(1 << 20) is None
    framer.feed(b"yz\nnext\n")
    assert framer.take(1 << 20) == overlong(b"x" * 10_000_000 + b"yz")
    assert framer.take(1 << 20) == b"next\n"
    assert framer.take(1 << 20) is None


def test_a_flood_of_overlong_lines_is_not_for_free() -> None:
    """Overlong lines that nobody takes count towards what is kept, so reading stops at some time."""
    framer = Framer(10)
    framer.feed((b"x" * 11 + b"\n") * 10_000)
    assert framer.size > 1_000_000
    assert len(apart(framer)) == 10_000
    assert framer.size == 0


def test_lines_come_in_bounded_pieces() -> None:
    """Of many lines only so many bytes are handed out at a time, all of them in the end."""
    framer = Framer(10)
    framer.feed(b"{}\n" * 10_000)
    sizes = []
    while (piece := framer.take(1000)) is not None:
        assert isinstance(piece, bytes)
        assert piece.replace(b"{}\n", b"") == b""
        sizes.append(len(piece))
    assert sum(sizes) == 30_000
    assert set(sizes[:-1]) == {999}
    assert framer.size == 0


def test_what_is_put_back_comes_first() -> None:
    """Lines that were taken for nothing are handed out again, before the others."""
    framer = Framer(10)
    framer.feed(b"a\nb\nc\n")
    assert framer.take(4) == b"a\nb\n"
    framer.put_back(b"b\n")
    assert framer.size == 4
    assert framer.take(100) == b"b\nc\n"
    assert framer.size == 0


def test_lines_of_uneven_length_come_in_bounded_pieces() -> None:
    """Where one line makes up most of the bytes, what comes before it is still handed out."""
    framer = Framer(1_000_000)
    framer.feed(b"x\n" * 5000 + b"y" * 900_000 + b"\n")
    taken = apart(framer)
    assert taken == [b"x\n"] * 5000 + [b"y" * 900_000 + b"\n"]


def test_pieces_of_several_reads_come_together() -> None:
    """What came in several reads is handed out as one piece, up to an overlong line."""
    framer = Framer(4)
    for chunk in (b"a\nb", b"c\n", b"toolong\n", b"d\n", b"e"):
        framer.feed(chunk)
    assert framer.take(1 << 20) == b"a\nbc\n"
    assert framer.take(1 << 20) == overlong(b"toolong")
    assert framer.take(1 << 20) == b"d\n"
    assert framer.take(1 << 20) is None
    framer.finish()
    assert framer.take(1 << 20) == b"e\n"


def test_the_limit_may_change() -> None:
    """Another limit holds for the lines that end from then on."""
    framer = Framer(4)
    framer.feed(b"abc")
    framer.limit = 10
    framer.feed(b"defg\n")
    assert framer.take(1 << 20) == b"abcdefg\n"


@pytest.mark.parametrize(
    "read",
    [
        b"1\n" + b"x" * 200_000,
        b"x" * 150_000 + b"\n1\n" + b"x" * 50_000,
        b"1\n",
        b"1\n" * 60_000 + b"x" * 90_000,
    ],
)
def test_what_waits_takes_no_more_memory_than_it_counts_for(read: bytes) -> None:
    """What was read with a line, and is not kept, is not held on to by it."""
    framer = Framer(1000)
    tracemalloc.start()
    try:
        for _ in range(300):
            # A copy, as each read of a socket is.
            framer.feed(bytes(bytearray(read)))
        held, _peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held <= 2 * framer.size + 300 * 400
