"""Cut a byte stream into whole lines, without ever keeping a line that is over the limit."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Overlong:
    """Stands for one line of more than the limit; its bytes were not kept."""

    size: int


class Framer:
    """Takes bytes as they come and gives back pieces: whole lines, or an `Overlong`.

    A line that has no newline yet is kept up to `limit` bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._tail: list[bytes] = []
        self._tail_size = 0
        self._discarded = 0
        self._pieces: deque[bytes | Overlong] = deque()
        self.size = 0
        """Bytes that are kept."""

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream."""
        if self._discarded:
            end = data.find(b"\n")
            self._discarded += len(data) if end < 0 else end
            if end < 0:
                return
            self._pieces.append(Overlong(self._discarded))
            self._discarded = 0
            data = data[end + 1 :]
        end = data.rfind(b"\n") + 1
        if end:
            lines = b"".join([*self._tail, data[:end]]) if self._tail or end < len(data) else data
            self._pieces.append(lines)
            self.size += len(lines) - self._tail_size
            self._tail, self._tail_size = [], 0
            data = data[end:]
        if data:
            self._keep(data)

    def _keep(self, data: bytes) -> None:
        self._tail.append(data)
        self._tail_size += len(data)
        self.size += len(data)
        if self._tail_size > self._limit:
            self._discarded = self._tail_size
            self.size -= self._tail_size
            self._tail, self._tail_size = [], 0

    def finish(self) -> None:
        """Take note that the stream has ended: a last line needs no newline."""
        if self._discarded:
            self._pieces.append(Overlong(self._discarded))
            self._discarded = 0
        elif self._tail:
            self._pieces.append(b"".join([*self._tail, b"\n"]))
            self._tail, self._tail_size = [], 0

    def take(self) -> bytes | Overlong | None:
        """Return the next piece, as many whole lines as there are, or None."""
        if not self._pieces:
            return None
        first = self._pieces.popleft()
        if isinstance(first, Overlong):
            return first
        pieces = [first]
        while self._pieces and not isinstance(self._pieces[0], Overlong):
            pieces.append(self._pieces.popleft())  # type: ignore[arg-type]
        lines = first if len(pieces) == 1 else b"".join(pieces)
        self.size -= len(lines)
        return lines
