"""The checksum of a segment, as it stands in its row."""

from __future__ import annotations

# The same numbers as those of `zlib`, at a twentieth of its time: each byte that is stored goes through here.
from zlib_ng import zlib_ng


def checksum(row: int, events: int, data: bytes) -> int:
    """Return the CRC-32 of a row: of its data, its number and its events."""
    return zlib_ng.crc32(data, (row ^ events) & 0xFFFFFFFF)


def is_whole(row: int, events: int, data: bytes, expected: object) -> bool:
    """Say whether a row of the queue matches the checksum that stands in it.

    The first program that wrote such files took that of the data alone, and they may still be there.
    """
    if expected == checksum(row, events, data):
        return True
    return expected == zlib_ng.crc32(data) and data.count(b"\n") == events
