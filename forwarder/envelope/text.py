"""JSON as text: where its members are, how deeply it is nested, how to add members. Positions are byte offsets.

msgspec decides what is valid JSON. How deeply nested a text it can read depends on how much of the stack
is in use, and on the version of Python. So we set a limit of our own, lower than any reader's.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Final, NamedTuple

import msgspec

from forwarder.model import has_more

# Levels of objects and arrays in one event, the event itself included.
MAX_DEPTH: Final = 512
TOO_DEEP: Final = f"the JSON is nested too deeply: more than {MAX_DEPTH} levels"

BYTE_ORDER_MARK: Final = "it begins with a byte order mark (EF BB BF); send UTF-8 without one (RFC 8259 §8.1)"

# The kind of a value by its first byte; any other byte begins a number.
_KINDS: Final = {
    ord('"'): "a string",
    ord("{"): "an object",
    ord("["): "an array",
    ord("t"): "a boolean",
    ord("f"): "a boolean",
    ord("n"): "null",
}
_BRACE: Final = ord("{")
_raw = msgspec.json.Decoder(msgspec.Raw)
_raws = msgspec.json.Decoder(list[msgspec.Raw])
_space = re.compile(r"[ \t\r\n]*").match


# --- members -----------------------------------------------------------------------------------


class Member(NamedTuple):
    """The position of a member's value: `text[start:end]`."""

    start: int
    end: int

    def kind(self, text: bytes) -> str:
        """Return the kind of the value, in words for people."""
        return _KINDS.get(text[self.start], "a number")


def _skip(_digits: str) -> float:
    """Replace the parser of numbers: their values do not matter here, and int() refuses very long ones."""
    return 0.0


_scan = json.JSONDecoder(parse_float=_skip, parse_int=_skip, parse_constant=_skip).scan_once  # type: ignore[attr-defined]


def members(text: bytes) -> Iterator[tuple[str, Member]]:
    """Yield the name and the position of each member of the object in `text`, in order.

    `text` must be a valid JSON object. A name that is not ASCII comes out garbled, which does no harm: no
    field of the envelope has one. Raises RecursionError if the nesting is too deep for the reader.
    """
    # Latin-1 decodes each byte to one character, so positions in the string are byte offsets.
    chars = text.decode("latin-1")
    at = _skip_space(chars, chars.index("{") + 1)
    while chars[at] != "}":
        name, at = scanstring(chars, at + 1, True)
        start = _skip_space(chars, chars.index(":", at) + 1)
        _value, end = _scan(chars, start)
        yield name, Member(start, end)
        at = _skip_space(chars, end)
        if chars[at] == ",":
            at = _skip_space(chars, at + 1)


def _skip_space(text: str, at: int) -> int:
    found = _space(text, at)
    return found.end() if found else at


def put_in(line: bytes, envelope: Mapping[str, Member], filled: Mapping[str, str]) -> bytes:
    """Add members to an event: in place of a null if there is one, else in front of the others."""
    # From the last to the first, so that a change does not move the positions that are still to come.
    nulls = sorted(((envelope[name], name) for name in filled if name in envelope), reverse=True)
    for member, name in nulls:
        line = line[: member.start] + json.dumps(filled[name]).encode() + line[member.end :]
    return put_in_front(line, "".join(as_member(name, filled[name]) for name in filled if name not in envelope))


def put_in_front(line: bytes, front: str) -> bytes:
    """Put members, each followed by a comma, in front of the others of an event.

    Raises ValueError if the line does not begin with a brace: it is then not the text that was checked.
    """
    if not line or line[0] != _BRACE:
        raise ValueError(f"an event begins with a brace, not with {line[:1]!r}")
    if line == b"{}":
        front = front.removesuffix(",")
    return b"{" + front.encode() + line[1:]


def as_member(name: str, value: str) -> str:
    """Return a member as text, followed by a comma."""
    return f"{json.dumps(name)}:{json.dumps(value)},"


# --- nesting -----------------------------------------------------------------------------------

# For counting levels, arrays and objects are alike, and of the other bytes only quotes matter.
_ALIKE: Final = bytes.maketrans(b"[]", b"{}")
_OTHERS: Final = bytes(byte for byte in range(256) if byte not in b'{}[]"')
_STEPS: Final = {ord("{"): 1, ord("}"): -1}
# How many levels are removed with one replace() each, before brackets are counted one by one.
_PEELED: Final = 8


def are_shallow(values: Sequence[bytes | msgspec.Raw], levels: int) -> bool:
    """Return whether none of these JSON values is nested deeper than `levels`."""
    # A level takes at least two bytes, so most values are too short to be too deep.
    if max(map(len, values), default=0) <= 2 * levels:
        return True
    return not any(is_deeper(bytes(value), levels) for value in values)


def is_deeper(text: bytes, levels: int) -> bool:
    """Return whether a JSON text is nested deeper than `levels`."""
    if len(text) <= 2 * levels:
        return False
    # To be too deep a text needs more than `levels` brackets, of which one kind must make up half. Most large events
    # are flat and have few of both.
    if not has_more(text, b"{", levels // 2) and not has_more(text, b"[", levels // 2):
        return False
    brackets = _brackets(text)
    for _ in range(min(_PEELED, levels)):
        # Remove the innermost brackets everywhere at once, which leaves one level less.
        brackets = brackets.replace(b"{}", b"")
        levels -= 1
        if not brackets:
            return False
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > levels


def _brackets(text: bytes) -> bytes:
    """Return the brackets of a JSON text, except those in strings, all written as braces."""
    # Without escaped quotes every quote begins or ends a string. Backslashes are removed in pairs first, so that the
    # second one of a pair is not taken for an escape.
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Two adjacent quotes are an empty string, or the end of one string and the beginning of the next: either way,
    # without them the rest alternates between outside and inside as before.
    brackets = text.translate(_ALIKE, _OTHERS).replace(b'""', b"")
    return b"".join(brackets.split(b'"')[::2])


# --- text that is not JSON ---------------------------------------------------------------------

# An escaped backslash, a pair of surrogates, or (the group) a lone surrogate. All alternatives begin with the same
# byte, so a text without it is searched at the speed of memchr(3); otherwise 16 MB would hold the interpreter for half
# a second.
_surrogates = re.compile(
    rb"\\(?:\\|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2}))"
)


def is_json_line(text: bytes) -> bool:
    """Return whether the bytes are one JSON value on one line, in UTF-8."""
    return is_json(text) and is_utf8(text) and b"\n" not in text and b"\r" not in text


def is_json_object(text: bytes) -> bool:
    """Return whether the bytes are a JSON object on one line, in UTF-8, from the first byte on: an event as stored."""
    return text[:1] == b"{" and is_json_line(text)


def is_json(text: bytes) -> bool:
    """Return whether the bytes are one JSON value; the encoding of its strings is not checked."""
    try:
        _raw.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def is_utf8(text: bytes) -> bool:
    """Return whether the bytes are UTF-8; the decoder skips values without checking their encoding."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def json_words(text: bytes, error: Exception) -> str:
    """Say why a text is not JSON that can be forwarded; `error` is the decoder's."""
    if text.startswith(codecs.BOM_UTF8):
        return BYTE_ORDER_MARK
    if isinstance(error, RecursionError):
        return TOO_DEEP
    lone = next(filter(_is_alone, _surrogates.finditer(text)), None)
    # Blame a lone surrogate only if the text would be JSON without any.
    if lone is not None and is_json(_whole(text)):
        what = lone[0].decode()
        return f"{what} at byte {lone.start()} is half of a surrogate pair, which UTF-8 cannot say; send both halves"
    words = str(error).removeprefix("JSON is malformed: ").replace("Input data was truncated", "it ends too early")
    return f"not JSON: {words}"


def _is_alone(found: re.Match[bytes]) -> bool:
    return found[1] is not None


def _whole(text: bytes) -> bytes:
    """Replace each lone surrogate with the escape of U+FFFD, which is as long, so that no offset changes."""
    return _surrogates.sub(lambda found: b"\\ufffd" if _is_alone(found) else found[0], text)


# An array with fewer bytes per comma may have so many small elements that decoding all at once takes too much memory.
_FEWEST_BYTES: Final = 10


def split_array(array: bytes) -> Iterable[bytes | msgspec.Raw]:
    """Return the text of each element of a JSON array. Raises msgspec.DecodeError or RecursionError."""
    if array.count(b",") * _FEWEST_BYTES < len(array):
        return _raws.decode(array)
    # Make sure that the whole array is JSON before the first element is used.
    _raw.decode(array)
    return _one_by_one(array)


def _one_by_one(array: bytes) -> Iterator[bytes]:
    # Latin-1 decodes each byte to one character, so positions in the string are byte offsets.
    chars = array.decode("latin-1")
    at = _skip_space(chars, 1)
    while chars[at] != "]":
        _value, end = _scan(chars, at)
        yield array[at:end]
        at = _skip_space(chars, end)
        if chars[at] == ",":
            at = _skip_space(chars, at + 1)


def elements(text: bytes) -> Iterator[bytes]:
    """Return the text of each element of a JSON array, or of a single JSON object, each on one line.

    Lone surrogates are tolerated here, so that one of them does not spoil the elements beside it.
    Raises msgspec.DecodeError or RecursionError, the latter also during the iteration.
    """
    whole = text if is_json(text) else _whole(text)
    return _as_written(text, whole, split_array(whole) if whole[:1] == b"[" else [_raw.decode(whole)])


def _as_written(text: bytes, whole: bytes, raws: Iterable[bytes | msgspec.Raw]) -> Iterator[bytes]:
    # A newline within JSON is always white space between two tokens, as a string cannot contain one.
    lines, end = text.replace(b"\r", b" ").replace(b"\n", b" "), 0
    for raw in raws:
        # Only white space and commas separate two elements, so the first match is the element itself.
        start = whole.index(bytes(raw), end)
        end = start + len(raw)
        yield lines[start:end]
