"""What is no event, as a dead letter: the text that was sent, on one line of JSON.

JSON on one line stands as it was sent. Anything else is wrapped in an object with the one member
`invalid`: as `text`, or as `base64` where it is no UTF-8; over the limit only its first 4 KiB, with
`bytes` and `sha256` of all of it. Whatever could be taken for such an object is wrapped itself, so
what was sent can be told from what stands there.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
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
# What a wrapped text begins with; JSON that does so, too, is wrapped.
_MARK = b'{"invalid":'
# A character takes up to four bytes in UTF-8, so a cut leaves up to three of its bytes.
_CUT = 3


class _Sent(msgspec.Struct, omit_defaults=True):
    """A text that is no JSON line; `bytes` and `sha256` where it is only the beginning of it."""

    text: str | None = None
    base64: str | None = None
    bytes: int | None = None
    sha256: str | None = None


class _Wrapped(msgspec.Struct):
    invalid: _Sent


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Wrapped).decode


def sort_out(envelope: Envelope, body: bytes, *, are_lines: bool) -> tuple[Checked, list[Refused]]:
    """Tell the events of a request from what is none.

    A body whose events cannot be told apart, such as an array that breaks off, is one that is none. Raises
    MalformedError for a body without anything in it.
    """
    try:
        return envelope.examine_lines(body) if are_lines else envelope.examine(body)
    except MalformedError as error:
        if not body.strip():
            raise
        return Checked.of(b"", []), [Refused(0, problem_type(type(error)).status, error.message, body)]


def burials(refused: Sequence[Refused], max_event_bytes: int) -> list[DeadSegment]:
    """Return what was refused as dead letters; neighbours with the same reason are buried together."""
    return [
        DeadSegment(INVALID, len(lines), b"".join(lines), Burial(INVALID, status, detail))
        for (status, detail), group in groupby(refused, lambda one: (one.status, one.detail))
        if (lines := [kept(one, max_event_bytes) for one in group])
    ]


def kept(refused: Refused, max_event_bytes: int) -> bytes:
    """Return the line that is kept of something refused, with its newline."""
    if refused.excerpt is not None:
        return _wrapped(refused.excerpt)
    line = refused.line
    if len(line) > max_event_bytes:
        return _wrapped(Excerpt(line[:HEAD_BYTES], len(line), sha256(line).hexdigest()))
    if line.startswith(_MARK) or not is_json_line(line):
        return _encode(_Wrapped(_sent(line))) + b"\n"
    return line + b"\n"


def as_sent(event: bytes) -> bytes | None:
    """Return what was sent of such a letter; None where only its beginning was kept, or the file is damaged here."""
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
    for end in _ends(text, is_cut=is_cut):
        try:
            return _Sent(text=text[:end].decode())
        except UnicodeDecodeError:
            continue
    return _Sent(base64=base64.b64encode(text).decode())


def _ends(text: bytes, *, is_cut: bool) -> Iterable[int]:
    """Yield where a text may end: a cut may have gone through a character."""
    return range(len(text), max(-1, len(text) - _CUT - 1), -1) if is_cut else (len(text),)
