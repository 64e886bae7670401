"""A small queue that drops the oldest: all is accepted, the disk stays within bounds, the newest arrive."""

from __future__ import annotations

from pathlib import Path

from tests.load.overflow import overflow
from tests.load.peers import MIB


async def test_the_newest_are_kept(tmp_path: Path) -> None:
    """Several times what fits is accepted; but for the batches in hand, the newest are kept and arrive in order."""
    found = await overflow(tmp_path / "f", 200_000, 40 * MIB)
    assert [finding for finding in found if not finding.is_held] == []
