"""What the bytes that answer one request say: the status, a few fields, the start of the body.

Bytes go in, piece by piece as they arrive, and decisions come out; there is no I/O here. The rules
are those of RFC 9112, read for one purpose: a status that has arrived must not be lost, or events
would be sent again and again. So no field can invalidate an answer. One that is oversized, malformed
or given twice only costs the connection its further use: the end of the answer is then uncertain,
and the next answer would be read from the wrong place.

- A head counts once it has ended, with an empty line; lines end with LF, a CR before it is optional.
- 1xx comes before the answer. 101 would turn the connection into something else, and is no answer.
- A 2xx that began to arrive before the whole request was written is no answer, as it cannot be one to
  that request. A 3xx to 5xx may be: a server that refuses a large body does not read it first.
- The first `KEPT_BYTES` of a body are kept, and no more than `_READ_BYTES` are read.
"""

from __future__ import annotations

import re
from typing import Final

# How much of a body is kept, in bytes; enough to find secrets that begin within what is shown of it.
KEPT_BYTES: Final = 4096
# The longest body that is read to its end so that the connection can be used again.
_READ_BYTES = 64 * 1024
# How much of a head is kept: eight times what common servers send at most. Beyond it only the end is looked for.
_HEAD_BYTES = 64 * 1024
# The most that may come before the body, interim answers included: anything longer has no end.
_LONGEST_HEAD = 1024 * 1024
# The longest line of a chunk's size, extensions included.
_CHUNK_LINE_BYTES = 4096
# How much is shown of what is not HTTP, in bytes.
_SHOWN_BYTES = 80

_empty_lines = re.compile(rb"[\r\n]+")
_head_end = re.compile(rb"\n\r?\n")
_status_line = re.compile(rb"HTTP/([0-9])(?:\.([0-9]))?[ \t]+([1-9][0-9]{2})(?:[ \t]([^\n]*)|\r)?\n")
_field = re.compile(
    rb"^(connection|content-encoding|content-length|date|keep-alive|retry-after|transfer-encoding)[ \t]*:([^\n]*)",
    re.IGNORECASE | re.MULTILINE,
)
_fold = re.compile(rb"\r?\n[ \t]+")
_chunk_size = re.compile(rb"[ \t]*([0-9a-fA-F]{1,15})[ \t]*(?:;[^\n]*)?\r?\n")
_idle = re.compile(r"timeout[ \t]*=[ \t]*([0-9]{1,6})", re.IGNORECASE)


class Reply:
    """Reads one answer: `feed` what arrives, `end` when no more will.

    `to_connect` says that CONNECT was asked for, the answer to which has no body if it is a 2xx.
    """

    def __init__(self, *, to_connect: bool = False) -> None:
        self.status: int | None = None
        """The status, from the end of the head on."""
        self.reason = ""
        self.retry_after: str | None = None
        self.date: str | None = None
        self.is_encoded = False
        """Whether the body is compressed, or encoded in another way."""
        self.start = b""
        """The first `KEPT_BYTES` of the body."""
        self.idle_seconds: float | None = None
        """How long the server says that it keeps an idle connection."""
        self.has_begun = False
        """Whether any byte has arrived."""
        self.is_ended = False
        """Whether no more of it is wanted, or can come."""
        self.may_keep = False
        """Whether the connection can be used again."""
        self.wrong: str | None = None
        """Why it is no answer."""
        self.is_repeated = False
        """Whether the request had gone out once before, over a kept connection that ended, and may have been taken."""
        self._to_connect = to_connect
        self._buffer = bytearray()
        self._before_body = 0
        self._was_early = False
        # How many bytes of the body, or of the chunk, are still to come; None where the end of the connection ends it.
        self._left: int | None = None
        self._chunks: _Chunks | None = None
        self._read = 0

    def feed(self, data: bytes, *, is_written: bool = True) -> None:
        """Take what has arrived; `is_written` says whether the whole request had been written by then."""
        self.has_begun = True
        if self.is_ended:
            # Nobody has asked for it.
            self.may_keep = False
        elif self.status is None:
            self._feed_head(data, is_written)
        else:
            self._feed_body(data)

    def end(self) -> None:
        """Take note that the connection has ended."""
        self.may_keep = False
        if self.status is None and self.wrong is None:
            within = "in the middle of the answer's head" if self._buffer else "without an answer"
            self.wrong = f"the connection was closed {within}"
        self.is_ended = True

    # --- the head --------------------------------------------------------------------------------

    def _feed_head(self, data: bytes, is_written: bool) -> None:
        buffer, known, start = self._buffer, len(self._buffer), 0
        self._was_early = not is_written if not known else self._was_early
        self._before_body += len(data)
        buffer += data
        while self.status is None and not self.is_ended:
            # Empty lines in front of it are no part of a head.
            if not known and (empty := _empty_lines.match(buffer, start)) is not None:
                start = empty.end()
            found = _head_end.search(buffer, max(start, known - 2))
            if found is None:
                del buffer[:start]
                self._without_end()
                return
            head, start, known = bytes(buffer[start : found.end()]), found.end(), 0
            self._take_head(head)
            self._was_early = not is_written
        data = bytes(buffer[start:])
        buffer.clear()
        if not self.is_ended:
            self._feed_body(data)
        elif data:
            self.may_keep = False

    def _without_end(self) -> None:
        """Look at what there is of a head: bound it, and refuse what cannot become one."""
        buffer = self._buffer
        if not buffer.startswith(b"HTTP/"[: len(buffer)]):
            self._refuse(bytes(buffer))
        elif self._before_body > _LONGEST_HEAD:
            self._fail(f"the head of the answer has no end in {_LONGEST_HEAD // 1024} KiB")
        elif len(buffer) > _HEAD_BYTES:
            # Its end is looked for in what follows: the last bytes may be the first of it.
            del buffer[_HEAD_BYTES - 2 : -2]

    def _take_head(self, head: bytes) -> None:
        line = _status_line.match(head)
        if line is None:
            self._refuse(head)
            return
        status = int(line[3])
        if status < 200 and status != 101:
            return
        self.reason = (line[4] or b"").strip().decode("latin-1")
        if status == 101:
            self._fail("the destination changed the protocol (101), which nobody asked for")
        elif status < 300 and self._was_early:
            self._fail(f"the answer {status} came before the request was sent: it is not taken for an answer")
        else:
            self.status = status
            self._take_fields(status, head, is_current=(line[1], line[2]) == (b"1", b"1"))

    def _take_fields(self, status: int, head: bytes, *, is_current: bool) -> None:
        if b"\n " in head or b"\n\t" in head:
            head = _fold.sub(b" ", head)
        fields: dict[bytes, list[str]] = {}
        for name, value in _field.findall(head):
            fields.setdefault(name.lower(), []).append(value.strip().decode("latin-1"))
        if (wait := fields.get(b"retry-after")) is not None:
            self.retry_after = ", ".join(wait)
        self.date = fields.get(b"date", [None])[0]
        encodings = ",".join(fields.get(b"content-encoding", [])).lower()
        self.is_encoded = encodings not in {"", "identity"}
        if (idle := _idle.search(",".join(fields.get(b"keep-alive", [])))) is not None:
            self.idle_seconds = float(idle[1])
        options = {option.strip() for option in ",".join(fields.get(b"connection", [])).lower().split(",")}
        wants_close = "close" in options or not (is_current or "keep-alive" in options)
        # A head of this length has been cut, and may lack a field.
        self.may_keep = not wants_close and len(head) < _HEAD_BYTES - 2
        self._frame(status, fields.get(b"content-length", []), fields.get(b"transfer-encoding", []))

    # --- where the body ends (RFC 9112, section 6.3) -----------------------------------------------

    def _frame(self, status: int, lengths: list[str], codings: list[str]) -> None:
        if status in {204, 304} or (self._to_connect and status < 300):
            # There is no body, whatever lengths say; and behind an answer to CONNECT the tunnel begins.
            self.may_keep = self.may_keep or self._to_connect
            self.is_ended = True
        elif codings:
            if [coding.lower() for coding in codings] == ["chunked"]:
                self._chunks = _Chunks()
            self.may_keep = self.may_keep and self._chunks is not None and not lengths
        elif len(lengths) == 1 and lengths[0].isascii() and lengths[0].isdigit() and len(lengths[0]) < 16:
            self._left = int(lengths[0])
            self.may_keep = self.may_keep and self._left <= _READ_BYTES
            self.is_ended = self._left == 0
        else:
            self.may_keep = False
        self._end_if_enough()

    def _feed_body(self, data: bytes) -> None:
        self._read += len(data)
        if self._chunks is not None:
            data = self._chunks.take(data)
            self.is_ended = self._chunks.is_ended
            self.may_keep = self.may_keep and not self._chunks.is_broken
        elif self._left is not None:
            if len(data) > self._left:
                self.may_keep = False
                data = data[: self._left]
            self._left -= len(data)
            self.is_ended = self._left == 0
        if len(self.start) < KEPT_BYTES:
            self.start += data[: KEPT_BYTES - len(self.start)]
        self._end_if_enough()

    def _end_if_enough(self) -> None:
        """End early if the connection is of no further use: a 2xx says all by its status, others by their start."""
        if self._read > _READ_BYTES:
            self.may_keep = False
        if not self.may_keep and self.status is not None:
            self.is_ended = self.is_ended or self.status < 300 or len(self.start) >= KEPT_BYTES

    # --- what is no answer -------------------------------------------------------------------------

    def _refuse(self, data: bytes) -> None:
        if data.startswith((b"\x15\x03", b"\x16\x03")):
            self._fail("the port speaks TLS: use https://, or the port is wrong")
        else:
            self._fail(f"the answer is not HTTP: {data[:_SHOWN_BYTES].decode(errors='replace').strip()}")

    def _fail(self, words: str) -> None:
        self.wrong = words
        self.may_keep = False
        self.is_ended = True


class _Chunks:
    """Takes the chunks of a body apart (RFC 9112, section 7.1)."""

    def __init__(self) -> None:
        self.is_ended = False
        self.is_broken = False
        self._buffer = b""
        self._left = 0
        # The line end behind a chunk, which comes before the next size.
        self._wants_line_end = False
        self._in_trailers = False

    def take(self, data: bytes) -> bytes:
        """Return what of the body is in these bytes."""
        self._buffer += data
        parts: list[bytes] = []
        while self._buffer and not self.is_ended:
            if self._left:
                part, self._buffer = self._buffer[: self._left], self._buffer[self._left :]
                self._left -= len(part)
                parts.append(part)
                self._wants_line_end = not self._left
            elif (line := self._line()) is not None:
                self._take_line(line)
            else:
                break
        if self.is_ended and self._buffer:
            # Nobody has asked for what comes behind it.
            self.is_broken = True
        return b"".join(parts)

    def _line(self) -> bytes | None:
        line, newline, rest = self._buffer.partition(b"\n")
        if newline:
            self._buffer = rest
            return line + newline
        if len(line) > _CHUNK_LINE_BYTES:
            self._give_up()
        return None

    def _take_line(self, line: bytes) -> None:
        if self._wants_line_end:
            self._wants_line_end = False
            if line.strip(b"\r\n"):
                self._give_up()
        elif self._in_trailers:
            self.is_ended = not line.strip(b"\r\n")
        elif (size := _chunk_size.fullmatch(line)) is not None:
            self._left = int(size[1], 16)
            self._in_trailers = self._left == 0
        else:
            self._give_up()

    def _give_up(self) -> None:
        self.is_broken = self.is_ended = True
        self._buffer = b""
