"""The checksum in the rows of a queue file."""

from __future__ import annotations

import zlib

from hypothesis import given
from hypothesis import strategies as st

from forwarder.queue.checksum import checksum


@given(st.integers(0, 2**63 - 1), st.integers(1, 2**31), st.binary(max_size=3000), st.integers(1, 300))
def test_it_is_the_crc_32_that_everybody_knows(row: int, events: int, data: bytes, times: int) -> None:
    """A file can be read by a program with another implementation, be it an older version of this one."""
    assert checksum(row, events, data * times) == zlib.crc32(data * times, (row ^ events) % 2**32)
