"""Cut a byte stream into whole lines, without ever keeping a line that is over the limit.

The lines depend only on the bytes of the stream, never on how these were divided into reads. Whole lines
are handed on in blocks, as they were read, so that the work here is per read and not per line.
"""

from __future__ import annotations

from collections import deque
from hashlib import sha256

from forwarder.envelope import HEAD_BYTES, Excerpt
from forwarder.model import lines_within

# Blocks of fewer bytes are copied out of the read they came in: a view would keep the whole read in memory for them.
_VIEW_BYTES = 4096
# Bytes that a line over the limit counts as, in addition to its beginning. Otherwise a client could queue any number of
# such lines without ever being held back.
_OVERLONG_COST = 256


class _Discarding:
    """A line over the limit that has not ended yet: all but its beginning is only counted and hashed."""

    def __init__(self) -> None:
        self._head = b""
        self._size = 0
        self._hash = sha256()

    def feed(self, data: bytes) -> None:
        if len(self._head) < HEAD_BYTES:
            self._head += data[: HEAD_BYTES - len(self._head)]
        self._size += len(data)
        self._hash.update(data)

    def end(self) -> Excerpt:
        return Excerpt(self._head, self._size, self._hash.hexdigest())


class Framer:
    """Takes bytes as they arrive and returns pieces: whole lines, or an excerpt in place of a line over the limit.

    A line is over the limit if it has more than `limit` bytes, not counting the newline, whatever they
    are. A line that has no newline yet is kept as long as it is within the limit.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        """May be changed at any time; applies to lines that end after that."""
        self.size = 0
        """Bytes that are kept here and have not been taken yet."""
        self._tail: list[bytes] = []
        self._tail_size = 0
        self._discarding: _Discarding | None = None
        # What was fed is stored as a view where most of it is whole lines, so that it is copied only once, in `take`.
        self._pieces: deque[bytes | memoryview | Excerpt] = deque()

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream."""
        if self._discarding is not None:
            # The line that is being discarded goes on, up to the first newline.
            end = data.find(b"\n")
            self._discarding.feed(data if end < 0 else data[:end])
            if end < 0:
                return
            self._refuse(self._discarding)
            self._discarding = None
            data = data[end + 1 :]
        # `data[start:end]` will be the whole lines: all that is between the end of the line that began in an earlier
        # read, and the last newline. What is behind that is the beginning of another line.
        start, end = 0, data.rfind(b"\n") + 1
        if end and self._tail:
            start = data.find(b"\n") + 1
            line = b"".join([*self._tail, data[:start]])
            self.size -= self._tail_size
            self._tail, self._tail_size = [], 0
            self._add(line)
        if start < end:
            # A view keeps the whole read in memory, so it pays only if the lines are most of it.
            is_most = end - start >= _VIEW_BYTES and 2 * (end - start) >= len(data)
            self._add(memoryview(data)[start:end] if is_most else data[start:end])
        if end < len(data):
            self._keep(data[end:])

    def finish(self) -> None:
        """Record that the stream has ended: its last line needs no newline."""
        if self._discarding is not None or self._tail:
            self.feed(b"\n")

    def take(self, at_most: int) -> bytes | Excerpt | None:
        """Return the next piece, or None. Whole lines come to at most `at_most` bytes, or are a single longer line."""
        if not self._pieces:
            return None
        first = self._pieces.popleft()
        if isinstance(first, Excerpt):
            self.size -= _cost(first)
            return first
        # Join neighbouring blocks: a client that writes its lines one by one makes many small ones, and one check and
        # one commit can serve them all.
        pieces, size = [first], len(first)
        while self._pieces and not isinstance(more := self._pieces[0], Excerpt) and size + len(more) <= at_most:
            self._pieces.popleft()
            pieces.append(more)
            size += len(more)
        lines = b"".join(pieces)
        # Only a single block can be larger than asked for. Cut it behind the last line that fits, or behind the first
        # line if not even that fits, and put the rest back.
        if size > at_most:
            cut = lines.rfind(b"\n", 0, at_most) + 1 or lines.index(b"\n") + 1
            if cut < size:
                self._pieces.appendleft(lines[cut:])
                lines = lines[:cut]
        self.size -= len(lines)
        return lines

    def put_back(self, lines: bytes) -> None:
        """Take back the lines that were taken last; they will be the first to be taken again."""
        self._pieces.appendleft(lines)
        self.size += len(lines)

    def _add(self, lines: bytes | memoryview) -> None:
        """Add whole lines, with an excerpt in place of each one that is over the limit."""
        # A block within the limit cannot contain a line over it, so most blocks are never searched.
        if len(lines) > self.limit:
            lines = self._after_overlong(bytes(lines))
        if lines:
            self._pieces.append(lines)
            self.size += len(lines)

    def _after_overlong(self, lines: bytes) -> bytes:
        """Add everything up to and including the last line over the limit; return the lines behind it."""
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
        self.size += _cost(piece)

    def _keep(self, data: bytes) -> None:
        """Keep the beginning of a line, and start to discard the line once it is over the limit."""
        self._tail.append(data)
        self._tail_size += len(data)
        self.size += len(data)
        if self._tail_size > self.limit:
            self._discarding = _Discarding()
            for part in self._tail:
                self._discarding.feed(part)
            self.size -= self._tail_size
            self._tail, self._tail_size = [], 0


def _cost(excerpt: Excerpt) -> int:
    """Return the bytes that a line over the limit counts as in `Framer.size`."""
    return len(excerpt.head) + _OVERLONG_COST
