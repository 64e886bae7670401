"""Dead letters of texts that are not events: each is stored as one line of JSON.

A text that is JSON on one line is stored as it was sent. Any other text is wrapped in an object with
the single member `invalid`: as `text`, or as `base64` if it is not UTF-8. Of a text over the limit
only the first 4 KiB are kept, with the `bytes` and `sha256` of the whole. A text that looks like such
a wrapper is itself wrapped, so that the original can always be restored without ambiguity.
"""

from __future__ import annotations

import base64
import codecs
from collections.abc import Sequence
from hashlib import sha256
from itertools import groupby

import msgspec

from forwarder.envelope.checked import Checked, Excerpt, Refused
from forwarder.envelope.checking import Envelope
from forwarder.envelope.text import is_json_line
from forwarder.errors import MalformedError
from forwarder.model import INVALID, Burial, DeadSegment
from forwarder.problems import problem_type

HEAD_BYTES = 4 * 1024
# How a wrapped text begins; JSON that was sent with this beginning is wrapped, too.
_MARK = b'{"invalid":'


class _Sent(msgspec.Struct, omit_defaults=True):
    """A text that is not a line of JSON; `bytes` and `sha256` are set if only its beginning is here."""

    text: str | None = None
    base64: str | None = None
    bytes: int | None = None
    sha256: str | None = None


class _Wrapped(msgspec.Struct):
    invalid: _Sent


_utf8 = codecs.getincrementaldecoder("utf-8")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Wrapped).decode


def sort_out(envelope: Envelope, body: bytes, *, are_lines: bool) -> tuple[Checked, list[Refused]]:
    """Separate the events of a request from the parts of it that are not events.

    A body whose events cannot be told apart, such as an array that breaks off, is refused as a single text.
    Raises MalformedError for an empty body.
    """
    try:
        return envelope.examine_lines(body) if are_lines else envelope.examine(body)
    except MalformedError as error:
        if not body.strip():
            raise
        return Checked.of(b"", []), [Refused(0, problem_type(type(error)).status, error.message, body)]


def burials(refused: Sequence[Refused], max_event_bytes: int) -> list[DeadSegment]:
    """Return dead letters for what was refused; neighbours with the same reason share a segment."""
    return [
        DeadSegment(INVALID, len(lines), b"".join(lines), Burial(INVALID, status, detail))
        for (status, detail), group in groupby(refused, lambda one: (one.status, one.detail))
        if (lines := [kept(one, max_event_bytes) for one in group])
    ]


def kept(refused: Refused, max_event_bytes: int) -> bytes:
    """Return the line that is stored for a refused text, with its newline."""
    if refused.excerpt is not None:
        return _wrapped(refused.excerpt)
    line = refused.line
    if len(line) > max_event_bytes:
        return _wrapped(Excerpt(line[:HEAD_BYTES], len(line), sha256(line).hexdigest()))
    if line.startswith(_MARK) or not is_json_line(line):
        return _encode(_Wrapped(_sent(line))) + b"\n"
    return line + b"\n"


def as_sent(event: bytes) -> bytes | None:
    """Return the text that such a letter was made from; None if only its beginning was kept or it is damaged."""
    if not event.startswith(_MARK):
        return event
    try:
        sent = _decode(event).invalid
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if sent.bytes is not None:
        return None
    try:
        return base64.b64decode(sent.base64, validate=True) if sent.base64 is not None else (sent.text or "").encode()
    except ValueError:
        return None


def _wrapped(excerpt: Excerpt) -> bytes:
    sent = _sent(excerpt.head, is_cut=True)
    sent.bytes, sent.sha256 = excerpt.size, excerpt.sha256
    return _encode(_Wrapped(sent)) + b"\n"


def _sent(text: bytes, *, is_cut: bool = False) -> _Sent:
    try:
        # A cut text may end within a character, which is left out.
        return _Sent(text=_utf8().decode(text, final=not is_cut))
    except UnicodeDecodeError:
        return _Sent(base64=base64.b64encode(text).decode())
