"""The checksum in the rows of a queue file."""

from __future__ import annotations

import zlib

from hypothesis import given
from hypothesis import strategies as st

from forwarder.queue.sqlite.checksum import checksum, is_whole

ROWS = st.integers(0, 2**63 - 1)


def crc_32(data: bytes, start: int) -> int:
    """CRC-32 as ISO 3309 defines it, bit by bit."""
    remainder = ~start & 0xFFFFFFFF
    for byte in data:
        remainder ^= byte
        for _ in range(8):
            remainder = remainder >> 1 ^ (0xEDB88320 if remainder & 1 else 0)
    return ~remainder & 0xFFFFFFFF


@given(ROWS, st.integers(1, 2**31), st.binary(max_size=300))
def test_it_is_the_crc_32_that_everybody_knows(row: int, events: int, data: bytes) -> None:
    """A file can be read by a program with another implementation, be it an older version of this one."""
    assert checksum(row, events, data) == crc_32(data, (row ^ events) % 2**32)


@given(ROWS, st.integers(1, 2**31), st.binary(min_size=1, max_size=300), st.data())
def test_a_flipped_bit_is_found(row: int, events: int, data: bytes, draw: st.DataObject) -> None:
    """A segment is whole until one bit of its data is another one."""
    expected = checksum(row, events, data)
    assert is_whole(row, events, data, expected)
    bit = draw.draw(st.integers(0, 8 * len(data) - 1))
    flipped = int.from_bytes(data, "little") ^ 1 << bit
    assert not is_whole(row, events, flipped.to_bytes(len(data), "little"), expected)


def test_the_number_of_a_row_and_its_events_count() -> None:
    """Data that stands in another row, or with another number of events, is not whole."""
    data = b'{"n":1}\n{"n":2}\n'
    assert is_whole(7, 2, data, checksum(7, 2, data))
    assert not is_whole(8, 2, data, checksum(7, 2, data))
    assert not is_whole(7, 3, data, checksum(7, 2, data))


def test_segments_of_the_first_version_are_whole() -> None:
    """A checksum of the data alone holds where the data has as many lines as the row says."""
    data = b'{"n":1}\n{"n":2}\n'
    assert is_whole(7, 2, data, zlib.crc32(data))
    assert not is_whole(7, 3, data, zlib.crc32(data))
