"""Cut input into events, whether it is newline-delimited JSON, an array or a single object.

Newline-delimited input passes through in pieces and may be of any size. An array, or an object that is
spread over several lines, is read whole. Events are numbered from 1, as the daemon numbers them. Blank
lines have no number, so it is remembered where they were (`place`). Pure: `feed` takes what was read and
yields what can be sent.
"""

from __future__ import annotations

import codecs
import enum
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import msgspec

from forwarder.errors import ForwarderError
from forwarder.model import nth_line

# Bytes. This is far above the default limit of a daemon, so a longer line is not an event.
MAX_LINE = 64 * 1024 * 1024
# The elements of an array are turned into lines in pieces of about so many events or bytes.
_PIECE_EVENTS = 1000
_PIECE_BYTES = 1024 * 1024
# After so much leading white space, in bytes, the input is treated as lines, whatever follows.
_MAX_BLANK = 64 * 1024

_ONE_A_LINE = "give one event a line, as `jq -c` writes it, or an array"
_BLANK = b" \t\r"
# If the first line ends with one of these, the object continues on the next line.
_CONTINUES = (b"{", b"[", b",", b":")

_byte = re.compile(r"(.*) \(byte (\d+)\)")
_raw = msgspec.json.Decoder(msgspec.Raw)
_raws = msgspec.json.Decoder(list[msgspec.Raw])


class InputError(ForwarderError):
    """The input cannot be cut into events; the message says where."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive events, each a line that ends in a newline; `first` is the number of the first one."""

    data: bytes
    events: int
    first: int

    def split(self, events: int) -> tuple[Chunk, Chunk | None]:
        """Return the first `events` events, or fewer if there are not so many, and the rest, or None."""
        if events >= self.events:
            return self, None
        cut = nth_line(self.data, events)
        head = Chunk(self.data[:cut], events, self.first)
        return head, Chunk(self.data[cut:], self.events - events, self.first + events)


class _Form(enum.Enum):
    UNKNOWN = enum.auto()
    LINES = enum.auto()
    OBJECT = enum.auto()
    ARRAY = enum.auto()


class Splitter:
    """The events of one input.

    `refuse(place, detail)` is called for each line over `max_line` bytes; such a line is left out.
    """

    def __init__(self, refuse: Callable[[str, str], None], *, max_line: int = MAX_LINE) -> None:
        self._refuse = refuse
        self._max_line = max_line
        self._form = _Form.UNKNOWN
        self._held = bytearray()
        self._skipping = False
        self._events = 0
        # Pairs (event, gap): from this event on, the line number is the number of the event plus the gap.
        self._gaps = [(1, 0)]

    def feed(self, data: bytes) -> Iterator[Chunk]:
        """Take the next bytes, and yield the events that are now complete. Raises InputError."""
        if self._form is _Form.UNKNOWN:
            self._held += data
            data = self._recognise()
        if self._form is _Form.LINES:
            yield from self._cut(data)
            return
        self._held += data
        if self._form is not _Form.ARRAY and len(self._held) > self._max_line:
            raise InputError(f"the input begins with one object of over {self._max_line:,} bytes", hint=_ONE_A_LINE)

    def end(self) -> Iterator[Chunk]:
        """Yield the remaining events at the end of the input. Raises InputError."""
        held = bytes(self._held)
        match self._form:
            case _Form.ARRAY:
                yield from self._pack(_elements(held))
            case _Form.OBJECT:
                yield from self._pack([_whole(held)])
            case _ if held:
                # The last line needs no newline.
                yield from self._cut(b"\n")

    def place(self, event: int) -> str:
        """Return the position of an event in the input, in words: `line 17`, or `event 17` of an array."""
        if self._form in {_Form.ARRAY, _Form.OBJECT}:
            return f"event {event}"
        _, gap = self._gaps[self._gap_of(event)]
        return f"line {event + gap}"

    def forget(self, event: int) -> None:
        """Forget the positions of the events before this one; nobody will ask for them any more."""
        del self._gaps[: self._gap_of(event)]

    def _gap_of(self, event: int) -> int:
        return max(0, bisect_right(self._gaps, event, key=lambda gap: gap[0]) - 1)

    def _recognise(self) -> bytes:
        """Determine the form if enough was read for that; return the bytes to cut into lines, and hold the rest."""
        if self._held.startswith(codecs.BOM_UTF8):
            # Drop the byte order mark: it is not part of an event, and the daemon would refuse it (RFC 8259 §8.1).
            del self._held[: len(codecs.BOM_UTF8)]
        text = self._held.lstrip(b" \t\r\n")
        if text.startswith(b"["):
            self._form = _Form.ARRAY
        elif text.startswith(b"{") and b"\n" in text:
            line = text[: text.index(b"\n")].rstrip(_BLANK)
            self._form = _Form.OBJECT if line.endswith(_CONTINUES) else _Form.LINES
        elif (text and text[0] not in b"{\xef") or len(self._held) > (self._max_line if text else _MAX_BLANK):
            self._form = _Form.LINES
        if self._form is not _Form.LINES:
            return b""
        data = bytes(self._held)
        self._held.clear()
        return data

    def _cut(self, data: bytes) -> Iterator[Chunk]:
        """Yield the complete lines, and hold the last one if it is incomplete."""
        end = data.rfind(b"\n") + 1
        if end:
            # Drop the rest of a line that is being skipped.
            start = data.index(b"\n") + 1 if self._skipping else 0
            self._skipping = False
            lines = b"".join((self._held, data[start:end]))
            self._held.clear()
            if lines:
                yield from self._number(lines)
        if not self._skipping:
            self._held += data[end:]
        if len(self._held) > self._max_line:
            self._held.clear()
            self._skipping = True
            self._widen()
            self._refuse(f"line {self._events + self._gaps[-1][1]}", f"over {self._max_line:,} bytes; it was not sent")

    def _number(self, lines: bytes) -> Iterator[Chunk]:
        """Yield the events of complete lines, without blank lines and surrounding white space."""
        first, count = self._events + 1, lines.count(b"\n")
        # The usual case, found out without splitting: every newline is between two braces. Such a newline cannot be
        # inside a value, so each line is one event.
        if lines[:1] == b"{" and lines[-2:] == b"}\n" and lines.count(b"}\n{") + 1 == count:
            self._events += count
            yield Chunk(lines, count, first)
            return
        kept = []
        for line in lines.split(b"\n")[:-1]:
            stripped = line.strip(_BLANK)
            if stripped:
                self._events += 1
                kept.append(stripped + b"\n")
            else:
                self._widen()
        if kept:
            yield Chunk(b"".join(kept), len(kept), first)

    def _widen(self) -> None:
        """Count a line that is not an event."""
        event, gap = self._gaps[-1]
        if event == self._events + 1:
            self._gaps[-1] = (event, gap + 1)
        else:
            self._gaps.append((self._events + 1, gap + 1))

    def _pack(self, events: Iterable[bytes]) -> Iterator[Chunk]:
        """Yield events as lines, many in each chunk."""
        lines: list[bytes] = []
        held = 0
        for event in events:
            lines.append(event + b"\n")
            held += len(event)
            if len(lines) == _PIECE_EVENTS or held >= _PIECE_BYTES:
                yield from self._number(b"".join(lines))
                lines, held = [], 0
        yield from self._number(b"".join(lines))


def _elements(text: bytes) -> Iterator[bytes]:
    """Yield the elements of an array, each on one line."""
    try:
        elements = _raws.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InputError(f"the array is not JSON: {_position(text, error)}") from None
    return (_on_one_line(bytes(element)) for element in elements)


def _whole(text: bytes) -> bytes:
    try:
        return _on_one_line(bytes(_raw.decode(text)).strip(b" \t\r\n"))
    except (msgspec.DecodeError, RecursionError) as error:
        raise InputError(f"the input is not one JSON object: {_position(text, error)}", hint=_ONE_A_LINE) from None


def _on_one_line(value: bytes) -> bytes:
    return bytes(msgspec.json.format(value, indent=-1)) if b"\n" in value or b"\r" in value else value


def _position(text: bytes, error: Exception) -> str:
    """Return the decoder's message with the position as line and column."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    words = str(error).removeprefix("JSON is malformed: ")
    found = _byte.fullmatch(words)
    if found is None:
        return "it ends too early" if "truncated" in words else words
    at = int(found[2])
    line, column = text.count(b"\n", 0, at) + 1, at - text.rfind(b"\n", 0, at)
    return f"line {line}, column {column} (byte {at}): {found[1]}"
