"""The commands that the README gives for systemd: what is documented is what is tested."""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def commands(containing: str) -> str:
    """Return the one shell block of the section about systemd that contains these words."""
    text = README.read_text(encoding="utf-8")
    section = text.partition("\n### systemd\n")[2].partition("\n### ")[0]
    blocks = [block for block in re.findall(r"```sh\n(.*?)```", section, re.DOTALL) if containing in block]
    assert len(blocks) == 1, f"README.md, section systemd: {len(blocks)} shell blocks contain {containing!r}"
    return str(blocks[0])
