"""The checksum of a segment, as it stands in its row."""

from __future__ import annotations

import zlib


def checksum(row: int, events: int, data: bytes) -> int:
    """Return the CRC-32 of a row: of its data, its number and its events."""
    return zlib.crc32(data, (row ^ events) & 0xFFFFFFFF)
