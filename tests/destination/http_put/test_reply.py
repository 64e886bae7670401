"""What the bytes that come back say, however they are cut into pieces, and whatever stands in them."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.destination.http_put.reply import KEPT_BYTES, Reply
from tests.fuzzing import examples

pytestmark = pytest.mark.fuzz

# What may stand in a field, and breaks other readers.
_odd_lines = st.one_of(
    st.binary(max_size=40).map(lambda line: line.replace(b"\n", b"") or b"x"),
    st.sampled_from(
        [
            b"X : a",
            b"X: " + b"y" * 9000,
            b" folded",
            b"\tfolded",
            b"Content-Length: 3",
            b"Content-Length: 4",
            b"Content-Length: -1",
            b"Content-Length: 3, 3",
            b"Content-Length: \xb3",
            b"Content-Length: 99999999999999999999",
            b"Transfer-Encoding: chunked",
            b"Transfer-Encoding: gzip, chunked",
            b"Connection: close",
            b"Connection: keep-alive",
            b"Keep-Alive: timeout=5",
            b"Retry-After: 3",
            b"Content-Encoding: gzip",
            b": nameless",
            b"no colon",
            b"X: a\0b",
            b"X: \xff",
            b"X: a\rContent-Length: 3",
        ]
    ),
)
# A line that is empty but for a CR would end the head.
_fields = st.lists(_odd_lines.filter(lambda line: line.strip(b"\r") != b"" and line != b"\r"), max_size=12)
_statuses = st.integers(200, 599)
_ends = st.sampled_from([b"\r\n", b"\n"])
_interim = st.lists(st.sampled_from([100, 102, 103, 199]), max_size=3)


def head(status: int, fields: list[bytes], end: bytes = b"\r\n") -> bytes:
    """Return the head of an answer."""
    return end.join([b"HTTP/1.1 %d Reason" % status, *fields, b"", b""])


def read(data: bytes, cuts: list[int] | None = None, *, written: bool = True, to_connect: bool = False) -> Reply:
    """Return what is made of these bytes, cut at these places."""
    reply = Reply(to_connect=to_connect)
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts or [])})
    for start, end in pairwise(places):
        reply.feed(data[start:end], is_written=written)
    return reply


def told(reply: Reply) -> tuple[object, ...]:
    """Return all that is decided of an answer."""
    return (reply.status, reply.reason, reply.retry_after, reply.is_encoded, reply.start, reply.may_keep, reply.wrong)


@examples(300)
@given(_interim, _statuses, _fields, _ends, st.binary(max_size=300), st.lists(st.integers(0, 20_000), max_size=8))
def test_a_status_counts_whatever_the_fields_look_like(
    interim: list[int], status: int, fields: list[bytes], end: bytes, body: bytes, cuts: list[int]
) -> None:
    """A head that has ended gives its status, after any interim answers, in whatever pieces it comes."""
    data = b"".join(head(number, [], end) for number in interim) + head(status, fields, end) + body
    whole = read(data)
    assert (whole.status, whole.reason, whole.wrong) == (status, "Reason", None)
    pieces = read(data, cuts)
    # Whatever is behind the end of an answer is not looked at, so the start of the body may be cut earlier.
    assert told(pieces)[:4] == told(whole)[:4]
    assert pieces.is_ended == whole.is_ended
    assert whole.start.startswith(pieces.start) or pieces.start.startswith(whole.start)
    assert pieces.may_keep == whole.may_keep


@examples(200)
@given(_interim, _statuses, _fields, st.integers(0, 20_000))
def test_a_head_that_is_cut_off_is_no_answer(interim: list[int], status: int, fields: list[bytes], cut: int) -> None:
    """Before the empty line there is no status, and when the connection ends there, there is none."""
    fields = [field for field in fields if b"\r" not in field]
    data = b"".join(head(number, []) for number in interim) + head(status, fields)
    reply = read(data[: cut % (len(data) - 1)], [cut // 2])
    assert reply.status is None
    reply.end()
    assert reply.status is None
    assert reply.wrong is not None
    assert not reply.may_keep


@examples(300)
@given(st.binary(max_size=2000), st.lists(st.integers(0, 2000), max_size=5), st.booleans(), st.booleans())
def test_any_bytes(data: bytes, cuts: list[int], written: bool, to_connect: bool) -> None:
    """Whatever comes is decided upon without an error, and no 2xx is made up."""
    for prefix in (b"", b"HTTP/1.1 ", b"HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n"):
        reply = read(prefix + data, cuts, written=written, to_connect=to_connect)
        reply.end()
        assert (reply.status is None) == (reply.wrong is not None)
        if reply.status is not None and reply.status < 300:
            assert b"HTTP/" in prefix + data
        assert len(reply.start) <= KEPT_BYTES


@examples(200)
@given(st.lists(st.binary(min_size=1, max_size=60), max_size=8), st.lists(st.integers(0, 1000), max_size=8), _ends)
def test_chunks(chunks: list[bytes], cuts: list[int], end: bytes) -> None:
    """The chunks of a body are put together, and the connection is kept behind them."""
    coded = b"".join(b"%x;a=b%s%s%s" % (len(chunk), end, chunk, end) for chunk in chunks)
    data = head(400, [b"Transfer-Encoding: Chunked"]) + coded + b"0" + end + b"X: trailer" + end
    for piece in range(len(data), len(data) + len(end)):
        assert not read((data + end)[:piece], cuts).is_ended
    reply = read(data + end, cuts)
    assert (reply.is_ended, reply.may_keep) == (True, True)
    assert reply.start == b"".join(chunks)[:KEPT_BYTES]
    assert not read(data + end + b"x", cuts).may_keep


@pytest.mark.parametrize(
    "coded", [b"x\r\n", b"-1\r\n", b"5\r\nhelloworld\r\n", b"\r\n", b"1" * 20 + b"\r\n", b"5" + b" " * 5000]
)
def test_broken_chunks(coded: bytes) -> None:
    """A body that is coded wrongly costs the connection, and not the status."""
    reply = read(head(503, [b"Transfer-Encoding: chunked"]) + coded)
    assert (reply.status, reply.is_ended, reply.may_keep) == (503, True, False)


@pytest.mark.parametrize(
    ("status", "fields", "body", "is_ended", "may_keep"),
    [
        (200, [b"Content-Length: 0"], b"", True, True),
        (200, [b"Content-Length: 3"], b"ab", False, True),
        (200, [b"Content-Length: 3"], b"abc", True, True),
        (200, [b"Content-Length: 3"], b"abcd", True, False),
        (200, [b"Content-Length: 65537"], b"", True, False),
        (400, [b"Content-Length: 65537"], b"", False, False),
        (400, [b"Content-Length: 65537"], b"x" * KEPT_BYTES, True, False),
        (400, [b"Content-Length: 65536"], b"x" * KEPT_BYTES, False, True),
        (400, [b"Content-Length: 0", b"Content-Length: 0"], b"", False, False),
        (200, [b"Content-Length: 0", b"Content-Length: 0"], b"", True, False),
        (400, [b"Content-Length: 0, 0"], b"", False, False),
        (400, [b"Content-Length: +1"], b"", False, False),
        (400, [], b"why", False, False),
        (204, [], b"", True, True),
        (304, [b"Content-Length: 7"], b"", True, True),
        (200, [b"Content-Length: 0", b"Connection: close"], b"", True, False),
        (200, [b"Content-Length: 0", b"Connection: x, CLOSE ,y"], b"", True, False),
        (200, [b"Transfer-Encoding: chunked", b"Content-Length: 5"], b"0\r\n\r\n", True, False),
        (400, [b"Transfer-Encoding: gzip"], b"", False, False),
        (400, [b"Transfer-Encoding: gzip, chunked"], b"0\r\n\r\n", False, False),
        (200, [b"X: y", b" Content-Length: 0"], b"", True, False),
        (200, [b"Content-Length:", b"  0"], b"", True, True),
        (200, [b"Content-Length: 0", b"X: " + b"y" * 70_000], b"", True, False),
    ],
)
def test_where_an_answer_ends(status: int, fields: list[bytes], body: bytes, is_ended: bool, may_keep: bool) -> None:
    """An answer ends where RFC 9112 says; where that is not certain the connection is not kept."""
    reply = read(head(status, fields) + body)
    assert (reply.status, reply.is_ended, reply.may_keep) == (status, is_ended, may_keep)


@pytest.mark.parametrize(
    ("version", "fields", "may_keep"),
    [
        (b"1.1", [], True),
        (b"1.0", [], False),
        (b"1.0", [b"Connection: keep-alive"], True),
        (b"1.0", [b"Connection: keep-alive, close"], False),
        (b"2", [], False),
    ],
)
def test_versions(version: bytes, fields: list[bytes], may_keep: bool) -> None:
    """Only HTTP/1.1 keeps a connection without saying so."""
    reply = read(b"\r\n".join([b"HTTP/" + version + b" 200 OK", b"Content-Length: 0", *fields, b"", b""]))
    assert (reply.status, reply.may_keep) == (200, may_keep)


@pytest.mark.parametrize("status", [200, 299, 300, 400, 599])
def test_what_comes_before_the_request_was_written(status: int) -> None:
    """A 2xx that began before the request was written is no answer, even if it ends later; others are."""
    data = head(status, [b"Content-Length: 0"])
    reply = Reply()
    reply.feed(data[:5], is_written=False)
    reply.feed(data[5:], is_written=True)
    assert (reply.status, reply.wrong is None) == ((None, False) if status < 300 else (status, True))
    assert reply.is_ended
    late = Reply()
    late.feed(head(100, []) + b"\r\n", is_written=False)
    late.feed(data, is_written=True)
    assert late.status == status
    both = Reply()
    both.feed(head(100, []) + data, is_written=False)
    assert both.status == (None if status < 300 else status)


def test_the_answer_to_connect() -> None:
    """A tunnel begins behind the head of a 2xx, whatever lengths stand in it; nothing may come before it is used."""
    for fields in ([], [b"Content-Length: 9"], [b"Transfer-Encoding: chunked"], [b"Connection: close"]):
        reply = read(head(200, fields), to_connect=True)
        assert (reply.status, reply.is_ended, reply.may_keep) == (200, True, True)
        assert not read(head(200, fields) + b"x", to_connect=True).may_keep
    assert not read(head(407, []), to_connect=True).may_keep


def test_fields() -> None:
    """What is wanted of the fields is found, in any case, folded, and where it stands more than once."""
    reply = read(head(503, [b"retry-after:3", b"RETRY-AFTER: \t4 ", b"Keep-alive: max=5, Timeout = 7", b"X: y"]))
    assert (reply.retry_after, reply.idle_seconds, reply.is_encoded) == ("3, 4", 7.0, False)
    assert reply.date is None
    assert read(head(200, [b"date: Wed, 21 Oct 2015 07:28:00 GMT"])).date == "Wed, 21 Oct 2015 07:28:00 GMT"
    assert read(head(503, [b"Content-Encoding: identity"])).is_encoded is False
    assert read(head(503, [b"Content-Encoding: identity", b"Content-Encoding: br"])).is_encoded is True
    assert read(head(503, [b"Retry-After:", b" Wed, 21 Oct 2015", b"\t07:28:00 GMT"])).retry_after == (
        "Wed, 21 Oct 2015 07:28:00 GMT"
    )


@pytest.mark.parametrize(
    "piece", [b"HTTP/1.1 100 x\r\n\r\n", b"\r\n", b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n"]
)
def test_what_has_no_end_is_left(piece: bytes) -> None:
    """Interim answers, empty lines and fields that go on for ever are left after a mebibyte, and take no memory."""
    reply = Reply()
    data = piece * (65536 // len(piece))
    if piece.startswith(b"X"):
        reply.feed(b"HTTP/1.1 200 OK\r\n")
    tracemalloc.start()
    try:
        for _ in range(18):
            reply.feed(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert reply.wrong == "the head of the answer has no end in 1024 KiB"
    assert peak < 1 << 20
