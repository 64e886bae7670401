"""JSON as text: where members stand, how deep it is nested, what may be put in. Places are offsets into bytes.

msgspec decides what JSON is. How deep it reads depends on how much of the stack is in use, and on
the Python that runs it; so there is a limit of our own, lower than what any of its readers takes.
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

# What a value is, by its first byte; anything else begins a number.
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
    """Where the value of a member stands: `text[start:end]`."""

    start: int
    end: int

    def kind(self, text: bytes) -> str:
        """Name the kind of the value, for people."""
        return _KINDS.get(text[self.start], "a number")


def _skip(_digits: str) -> float:
    """Stand for a number: its value is of no interest, and it may be longer than int() takes."""
    return 0.0


_scan = json.JSONDecoder(parse_float=_skip, parse_int=_skip, parse_constant=_skip).scan_once  # type: ignore[attr-defined]


def members(text: bytes) -> Iterator[tuple[str, Member]]:
    """Yield the name and the place of each member of the object that `text` is, in order.

    `text` must be valid JSON. A name that is not ASCII comes out garbled; no field of the envelope
    is. Raises RecursionError where the nesting is too deep for the reader.
    """
    # One character a byte, so that the places are those of the bytes.
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
    """Put members into an event: in place of a null, else in front of the others."""
    nulls = sorted(((envelope[name], name) for name in filled if name in envelope), reverse=True)
    for member, name in nulls:
        line = line[: member.start] + json.dumps(filled[name]).encode() + line[member.end :]
    return put_in_front(line, "".join(as_member(name, filled[name]) for name in filled if name not in envelope))


def put_in_front(line: bytes, front: str) -> bytes:
    """Put members, each with the comma behind it, in front of the others of an event.

    Raises ValueError for a line that does not begin as an object does: what was vouched for is another text then.
    """
    if not line or line[0] != _BRACE:
        raise ValueError(f"an event begins with a brace, not with {line[:1]!r}")
    if line == b"{}":
        front = front.removesuffix(",")
    return b"{" + front.encode() + line[1:]


def as_member(name: str, value: str) -> str:
    """Return a member as text, with the comma behind it."""
    return f"{json.dumps(name)}:{json.dumps(value)},"


# --- nesting -----------------------------------------------------------------------------------

# All brackets alike, and of the rest only the quotes.
_ALIKE: Final = bytes.maketrans(b"[]", b"{}")
_OTHERS: Final = bytes(byte for byte in range(256) if byte not in b'{}[]"')
_STEPS: Final = {ord("{"): 1, ord("}"): -1}
# Levels that are taken off one by one, before brackets are counted one by one.
_PEELED: Final = 8


def are_shallow(values: Sequence[bytes | msgspec.Raw], levels: int) -> bool:
    """Say whether none of these JSON values is nested deeper than so many levels."""
    # A level takes two bytes at least, so most values need no closer look.
    if max(map(len, values), default=0) <= 2 * levels:
        return True
    return not any(is_deeper(bytes(value), levels) for value in values)


def is_deeper(text: bytes, levels: int) -> bool:
    """Say whether a JSON text is nested deeper than so many levels."""
    if len(text) <= 2 * levels:
        return False
    # Most large events are flat.
    if not has_more(text, b"{", levels // 2) and not has_more(text, b"[", levels // 2):
        return False
    brackets = _brackets(text)
    for _ in range(min(_PEELED, levels)):
        # What encloses nothing goes, everywhere at once: one level less.
        brackets = brackets.replace(b"{}", b"")
        levels -= 1
        if not brackets:
            return False
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > levels


def _brackets(text: bytes) -> bytes:
    """Return the brackets of a JSON text, those in strings left out, all of them written as braces."""
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Two quotes beside each other are an empty string, or the end of one and the begin of the next.
    brackets = text.translate(_ALIKE, _OTHERS).replace(b'""', b"")
    return b"".join(brackets.split(b'"')[::2])


# --- text that is no JSON ----------------------------------------------------------------------

# An escaped backslash, a pair of surrogates, or (the group) a surrogate that is alone. As all of them begin with the
# same byte, texts without it are searched at the speed of memchr(3): else 16 MB hold the interpreter for half a second.
_surrogates = re.compile(
    rb"\\(?:\\|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2}))"
)


def is_json_line(text: bytes) -> bool:
    """Say whether the bytes are one JSON value on one line, in UTF-8."""
    return is_json(text) and is_utf8(text) and b"\n" not in text and b"\r" not in text


def is_json(text: bytes) -> bool:
    """Say whether the bytes are one JSON value, whatever the bytes of its strings."""
    try:
        _raw.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def is_utf8(text: bytes) -> bool:
    """Say whether the bytes are UTF-8; the decoder skips values without looking at their encoding."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def json_words(text: bytes, error: Exception) -> str:
    """Say what keeps a text from being JSON that can be forwarded; `error` is the decoder's."""
    if text.startswith(codecs.BOM_UTF8):
        return BYTE_ORDER_MARK
    if isinstance(error, RecursionError):
        return TOO_DEEP
    lone = next(filter(_is_alone, _surrogates.finditer(text)), None)
    # Were it not for these, it would be JSON.
    if lone is not None and is_json(_whole(text)):
        what = lone[0].decode()
        return f"{what} at byte {lone.start()} is half of a surrogate pair, which UTF-8 cannot say; send both halves"
    words = str(error).removeprefix("JSON is malformed: ").replace("Input data was truncated", "it ends too early")
    return f"not JSON: {words}"


def _is_alone(found: re.Match[bytes]) -> bool:
    return found[1] is not None


def _whole(text: bytes) -> bytes:
    """Put U+FFFD in place of each surrogate that is alone; every place stays what it was."""
    return _surrogates.sub(lambda found: b"\\ufffd" if _is_alone(found) else found[0], text)


# An array with fewer bytes for each of its commas may have so many elements that all of them at once take too much.
_FEWEST_BYTES: Final = 10


def split_array(array: bytes) -> Iterable[bytes | msgspec.Raw]:
    """Return the text of each element of a JSON array. Raises msgspec.DecodeError or RecursionError."""
    if array.count(b",") * _FEWEST_BYTES < len(array):
        return _raws.decode(array)
    # That it is JSON is known before its first element is looked at.
    _raw.decode(array)
    return _one_by_one(array)


def _one_by_one(array: bytes) -> Iterator[bytes]:
    # One character a byte, so that the places are those of the bytes.
    chars = array.decode("latin-1")
    at = _skip_space(chars, 1)
    while chars[at] != "]":
        _value, end = _scan(chars, at)
        yield array[at:end]
        at = _skip_space(chars, end)
        if chars[at] == ",":
            at = _skip_space(chars, at + 1)


def elements(text: bytes) -> Iterator[bytes]:
    """Return the text of each element of a JSON array, or that of a JSON object, each on one line.

    Halves of surrogate pairs are let through, so that one of them does not hide the elements beside it.
    Raises msgspec.DecodeError or RecursionError, the latter also while they are iterated over.
    """
    whole = text if is_json(text) else _whole(text)
    return _as_written(text, whole, split_array(whole) if whole[:1] == b"[" else [_raw.decode(whole)])


def _as_written(text: bytes, whole: bytes, raws: Iterable[bytes | msgspec.Raw]) -> Iterator[bytes]:
    # A newline within JSON is white space between two tokens: a string cannot hold one.
    lines, end = text.replace(b"\r", b" ").replace(b"\n", b" "), 0
    for raw in raws:
        # Only white space and commas stand between two elements, so it is found where it stands.
        start = whole.index(bytes(raw), end)
        end = start + len(raw)
        yield lines[start:end]
