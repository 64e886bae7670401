"""What a producer knows, in a file of its own: synced line by line, outside the forwarder's folder.

A line is `LIFE WORD FIRST LAST STATUS`: in this life of the forwarder, the events from FIRST to
LAST were `sent` (written before they are), `accepted`, or `refused` with a status. What was sent
and neither accepted nor refused is unknown: the forwarder may have it or not.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self


class Journal:
    """The file while it is written."""

    def __init__(self, file: Path) -> None:
        self._descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)
        self.last = 0
        """The last number that was sent."""

    def sent(self, life: int, last: int) -> None:
        """Write that all up to `last` are about to be sent."""
        self._write(life, "sent", self.last + 1, last)
        self.last = last

    def accepted(self, life: int, first: int, last: int) -> None:
        self._write(life, "accepted", first, last)

    def refused(self, life: int, first: int, last: int, status: int) -> None:
        self._write(life, "refused", first, last, status)

    def _write(self, life: int, word: str, first: int, last: int, status: int = 0) -> None:
        os.write(self._descriptor, b"%d %s %d %d %d\n" % (life, word.encode(), first, last, status))
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


@dataclass(slots=True)
class Claims:
    """A journal as it is read back: each number with the life in which it was sent, accepted, refused."""

    sent: dict[int, int] = field(default_factory=dict)
    accepted: dict[int, int] = field(default_factory=dict)
    refused: dict[int, int] = field(default_factory=dict)
    """The status with which a number was refused."""
    writes: list[tuple[int, int, int]] = field(default_factory=list)
    """Life, first and last number of each write: over HTTP, of each request."""

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read a journal. Whoever acks a line that was refused before has settled, not accepted it."""
        found = cls()
        for line in file.read_text(encoding="ascii").splitlines():
            life, word, first, last, status = line.split()
            numbers = range(int(first), int(last) + 1)
            match word:
                case "sent":
                    found.sent.update(dict.fromkeys(numbers, int(life)))
                    found.writes.append((int(life), int(first), int(last)))
                case "accepted":
                    found.accepted.update({n: int(life) for n in numbers if n not in found.refused})
                case "refused":
                    found.refused.update(dict.fromkeys(numbers, int(status)))
                case _:
                    raise ValueError(f"{file}: {line!r}")
        return found
