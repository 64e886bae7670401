"""Bodies, compressed in every way, whole and damaged."""

from __future__ import annotations

import gzip
import sys
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forwarder.errors import MalformedError, TooLargeError, UnsupportedError
from forwarder.ingest.body import Body

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


ENCODINGS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": (" X-GZIP ", gzip.compress),
    "zlib": ("deflate", zlib.compress),
    "raw": ("deflate", raw_deflate),
    "zstd": ("zstd", zstd.compress),
}
PACKED = [(encoding, pack) for encoding, pack in ENCODINGS.values()]
TEXT = b'{"eventSourceId":"a","eventType":"b"}' * 50


def receive(encoding: str, data: bytes, *, limit: int = 1 << 20, chunk: int = 1 << 16) -> bytes:
    """Take a body as it comes from the wire."""
    body = Body(encoding, limit)
    for at in range(0, len(data), chunk):
        body.feed(data[at : at + chunk])
        while body.is_behind:
            body.catch_up()
    return body.finish()


@settings(deadline=None, max_examples=50)
@given(
    st.sampled_from([("", bytes), ("identity", bytes), *PACKED]),
    st.binary(max_size=3000),
    st.integers(1, 700),
    st.integers(0, 5),
)
def test_any_body_in_any_chunks(
    encoding: tuple[str, Callable[[bytes], bytes]], data: bytes, chunk: int, repeat: int
) -> None:
    """What was compressed comes out as it was, however it was cut on its way."""
    data *= repeat
    assert receive(encoding[0], encoding[1](data), chunk=chunk) == data


def test_large_bodies() -> None:
    """A body of many steps comes out whole, and each step keeps little."""
    data = bytes(range(256)) * 40_000
    for encoding, pack in PACKED:
        assert receive(encoding, pack(data), limit=len(data)) == data


@pytest.mark.parametrize(("encoding", "pack"), PACKED)
def test_the_limit(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    """The limit is on what comes out; one byte more is too large."""
    assert receive(encoding, pack(TEXT), limit=len(TEXT)) == TEXT
    with pytest.raises(TooLargeError, match=r"more than 1,849 bytes \(ingest.max_request_bytes\)"):
        receive(encoding, pack(TEXT), limit=len(TEXT) - 1)


@pytest.mark.parametrize("chunk", [1, 100, 1 << 16])
@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_several_members(encoding: str, chunk: int) -> None:
    """Members of gzip and frames of zstd that follow each other are one body, empty ones among them."""
    pack = gzip.compress if encoding == "gzip" else zstd.compress
    assert receive(encoding, pack(b"one") + pack(b"") + pack(b"two"), chunk=chunk) == b"onetwo"


@pytest.mark.parametrize(("encoding", "pack"), PACKED)
@pytest.mark.parametrize("chunk", [1, 1 << 16])
def test_damaged_bodies(encoding: str, pack: Callable[[bytes], bytes], chunk: int) -> None:
    """A body that is cut off, has a tail, or is something else is refused as malformed."""
    name = encoding.strip().lower()
    for size in (0, 1, len(pack(TEXT)) // 2, len(pack(TEXT)) - 1):
        with pytest.raises(MalformedError, match=f"the {name} body ends too early"):
            receive(encoding, pack(TEXT)[:size], chunk=chunk)
    with pytest.raises(MalformedError, match=f"the body is not {name}|goes on after the end|ends too early"):
        receive(encoding, pack(TEXT) + b"\x00garbage", chunk=chunk)
    with pytest.raises(MalformedError, match=f"the body is not {name}"):
        receive(encoding, TEXT, chunk=chunk)


def test_nothing_follows_deflate() -> None:
    """Deflate has no members: whatever follows its end does not belong there."""
    with pytest.raises(MalformedError, match="goes on after the end of its deflate data"):
        receive("deflate", zlib.compress(TEXT) * 2)


def test_a_checksum_that_is_wrong() -> None:
    """A body whose content was damaged on its way is noticed."""
    packed = bytearray(gzip.compress(TEXT))
    packed[-5] ^= 1
    with pytest.raises(MalformedError, match="incorrect data check"):
        receive("gzip", bytes(packed))


@pytest.mark.parametrize(("encoding", "pack"), PACKED)
def test_bombs(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    """A body that grows a thousandfold is cut off at the limit, and takes no more memory than that."""
    bomb = pack(bytes(50_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(TooLargeError):
            receive(encoding, bomb, limit=1_000_000)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def test_members_without_content_have_an_end() -> None:
    """A body that decompresses to nothing is cut off at the limit, too."""
    with pytest.raises(TooLargeError):
        receive("gzip", gzip.compress(b"") * 10_000, limit=100_000)


def test_steps_are_small() -> None:
    """What is done at once is bounded by what comes out, so that memory can be counted in between."""
    body = Body("gzip", 100_000_000)
    body.feed(gzip.compress(bytes(10_000_000)))
    assert body.is_behind
    assert body.size <= 256 * 1024
    steps = 1
    while body.is_behind:
        body.catch_up()
        assert body.size <= 256 * 1024 + steps * (2 * 1024 * 1024 + 256 * 1024)
        steps += 1
    assert body.size == 10_000_000


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "deflate"])
def test_a_first_step_is_small(encoding: str) -> None:
    """Of a chunk in which nothing is to be found, only a part is looked at before others get their turn."""
    empty = {"gzip": gzip.compress(b""), "zstd": zstd.compress(b""), "deflate": b"\0\0\0\xff\xff"}[encoding]
    body = Body(encoding, 10_000_000)
    body.feed(empty * 10_000)
    assert body.is_behind


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_members_have_a_price(encoding: str) -> None:
    """A body may have many members, but only so many for its limit: to begin one takes time."""
    pack = gzip.compress if encoding == "gzip" else zstd.compress
    for content in (b"", b"x"):
        assert receive(encoding, pack(content) * 900, limit=1_000_000) == content * 900
        with pytest.raises(TooLargeError, match="consists of more than 976") as caught:
            receive(encoding, pack(content) * 1000, limit=1_000_000)
        assert caught.value.hint == "compress the events of a request together"
    assert receive(encoding, pack(b"x") * 60, limit=2000) == b"x" * 60


@pytest.mark.parametrize("chunk", [1, 100, 1 << 16])
def test_padding(chunk: int) -> None:
    """Zeros behind a gzip member, or between two, are passed over, as gzip(1) does; nothing else is."""
    packed = gzip.compress(b"one")
    for padding in (b"\0", bytes(100_000)):
        assert receive("gzip", packed + padding, chunk=chunk) == b"one"
        assert receive("gzip", packed + padding + packed + padding, chunk=chunk) == b"oneone"
        with pytest.raises(MalformedError):
            receive("gzip", packed + padding + b"x", chunk=chunk)
        with pytest.raises(MalformedError):
            receive("gzip", padding + packed, chunk=chunk)
    with pytest.raises(MalformedError, match="goes on after the end"):
        receive("deflate", zlib.compress(TEXT) + b"\0", chunk=chunk)


@pytest.mark.parametrize("encoding", ["identity, gzip", "gzip, identity", " ,Gzip, ", "identity,,gzip"])
def test_encodings_that_are_listed(encoding: str) -> None:
    """Identity in a list of encodings is nothing, and does not hide what stands beside it."""
    assert receive(encoding, gzip.compress(TEXT)) == TEXT


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "compress"])
def test_unknown_encodings(encoding: str) -> None:
    """An encoding that is not known is refused by name."""
    with pytest.raises(UnsupportedError, match=encoding) as caught:
        Body(encoding, 100)
    assert caught.value.hint == "send gzip, deflate, zstd or none"
