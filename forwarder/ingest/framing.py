"""Cut a byte stream into whole lines, without ever keeping a line that is over the limit.

What comes out depends on the stream alone, not on how it was cut into reads on its way.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from hashlib import sha256

from forwarder.envelope import HEAD_BYTES, Excerpt
from forwarder.model import lines_within

# Lines of fewer bytes are copied out of what was read: a view takes more memory than they do.
_VIEW_BYTES = 4096
# Bytes that a line which is over the limit counts as, beside its beginning: a stream of nothing else is not for free.
_OVERLONG_COST = 256


@dataclass(frozen=True, slots=True)
class Overlong:
    """Stands for one line of more than the limit, of which only the beginning was kept; all is without the newline."""

    excerpt: Excerpt

    @property
    def size(self) -> int:
        """Bytes of the line."""
        return self.excerpt.size

    @property
    def cost(self) -> int:
        """Bytes that it counts as."""
        return len(self.excerpt.head) + _OVERLONG_COST


class _Discarding:
    """A line over the limit that has not ended yet."""

    def __init__(self) -> None:
        self._head = b""
        self._size = 0
        self._hash = sha256()

    def feed(self, data: bytes) -> None:
        if len(self._head) < HEAD_BYTES:
            self._head += data[: HEAD_BYTES - len(self._head)]
        self._size += len(data)
        self._hash.update(data)

    def end(self) -> Overlong:
        return Overlong(Excerpt(self._head, self._size, self._hash.hexdigest()))


class Framer:
    """Takes bytes as they come and gives back pieces: whole lines, or an `Overlong`.

    A line of more than `limit` bytes, the newline not counted, is over the limit, whatever it
    holds. A line that has no newline yet is kept up to the limit.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        """Holds for the lines that end from now on."""
        self.size = 0
        """Bytes that are kept, and not taken yet."""
        self._tail: list[bytes] = []
        self._tail_size = 0
        self._discarding: _Discarding | None = None
        # Views of what was fed, where most of it is whole lines: those are not copied before they are taken.
        self._pieces: deque[bytes | memoryview | Overlong] = deque()

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream."""
        if self._discarding is not None:
            end = data.find(b"\n")
            self._discarding.feed(data if end < 0 else data[:end])
            if end < 0:
                return
            self._refuse(self._discarding)
            self._discarding = None
            data = data[end + 1 :]
        start, end = 0, data.rfind(b"\n") + 1
        if end and self._tail:
            start = data.find(b"\n") + 1
            line = b"".join([*self._tail, data[:start]])
            self.size -= self._tail_size
            self._tail, self._tail_size = [], 0
            self._add(line)
        if start < end:
            # A view keeps all of what was read, so it must not be of a small part.
            is_most = end - start >= _VIEW_BYTES and 2 * (end - start) >= len(data)
            self._add(memoryview(data)[start:end] if is_most else data[start:end])
        if end < len(data):
            self._keep(data[end:])

    def finish(self) -> None:
        """Take note that the stream has ended: a last line needs no newline."""
        if self._discarding is not None or self._tail:
            self.feed(b"\n")

    def take(self, at_most: int) -> bytes | Overlong | None:
        """Return the next piece: whole lines, `at_most` so many bytes of them or one line, or None."""
        if not self._pieces:
            return None
        first = self._pieces.popleft()
        if isinstance(first, Overlong):
            self.size -= first.cost
            return first
        pieces, size = [first], len(first)
        while self._pieces and not isinstance(more := self._pieces[0], Overlong) and size + len(more) <= at_most:
            self._pieces.popleft()
            pieces.append(more)
            size += len(more)
        lines = b"".join(pieces)
        if size > at_most:
            cut = lines.rfind(b"\n", 0, at_most) + 1 or lines.index(b"\n") + 1
            if cut < size:
                self._pieces.appendleft(lines[cut:])
                lines = lines[:cut]
        self.size -= len(lines)
        return lines

    def put_back(self, lines: bytes) -> None:
        """Take lines back that were taken last; they come first again."""
        self._pieces.appendleft(lines)
        self.size += len(lines)

    def _add(self, lines: bytes | memoryview) -> None:
        """Add whole lines, with an `Overlong` in place of each that is over the limit."""
        if len(lines) > self.limit:
            lines = self._after_overlong(bytes(lines))
        if lines:
            self._pieces.append(lines)
            self.size += len(lines)

    def _after_overlong(self, lines: bytes) -> bytes:
        """Add what comes up to the last line over the limit; return what comes behind it."""
        if lines_within(lines, self.limit):
            return lines
        start = at = 0
        while at < len(lines):
            end = lines.index(b"\n", at)
            if end - at > self.limit:
                self._add(lines[start:at])
                overlong = _Discarding()
                overlong.feed(lines[at:end])
                self._refuse(overlong)
                start = end + 1
            at = end + 1
        return lines[start:]

    def _refuse(self, overlong: _Discarding) -> None:
        piece = overlong.end()
        self._pieces.append(piece)
        self.size += piece.cost

    def _keep(self, data: bytes) -> None:
        """Keep the beginning of a line, or only its size where that is over the limit."""
        self._tail.append(data)
        self._tail_size += len(data)
        self.size += len(data)
        if self._tail_size > self.limit:
            self._discarding = _Discarding()
            for part in self._tail:
                self._discarding.feed(part)
            self.size -= self._tail_size
            self._tail, self._tail_size = [], 0
