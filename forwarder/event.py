"""One event as text: its envelope's members and where they stand, its rules, its id.

msgspec decides what JSON is, but takes a key that stands twice and forgets the first. So members
are looked up in two ways. Where the members that it found account for every byte of the text,
none was forgotten, none is written with escapes, and there is no white space between them: that
is the plain way. Whatever it does not account for is read member by member. Places are offsets
into the bytes of the text.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from json.decoder import scanstring  # type: ignore[attr-defined]
from operator import itemgetter
from struct import Struct
from struct import error as StructError  # noqa: N812 - it is a class
from typing import Final, NamedTuple, cast

import msgspec

from forwarder.errors import IntakeError, InvalidEventsError, MalformedError
from forwarder.model import whole_lines

_ABSENT: Final = msgspec.Raw(b"")


class Fields(msgspec.Struct, gc=False, omit_defaults=True):
    """The fields of the envelope (Event API); None where absent or null, but for `data`.

    Encoded, it has the fields that are not None, in the shortest form.
    """

    eventSourceId: str | None = None  # noqa: N815 - the names are the Event API's
    eventType: str | None = None  # noqa: N815
    eventId: str | None = None  # noqa: N815
    eventObjectType: str | None = None  # noqa: N815
    eventObjectId: str | None = None  # noqa: N815
    version: str | None = None
    eventKeyId: str | None = None  # noqa: N815
    data: msgspec.Raw = _ABSENT
    """Its text, which is checked to be JSON, but not to be an object."""
    eventReceived: None = None  # noqa: N815


ENVELOPE: Final = frozenset(Fields.__struct_fields__)
is_uuid: Final = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}").fullmatch

# What a value is, by its first byte; anything else begins a number.
_KINDS: Final = {
    ord('"'): "a string",
    ord("{"): "an object",
    ord("["): "an array",
    ord("t"): "a boolean",
    ord("f"): "a boolean",
    ord("n"): "null",
}
# The high bits of two bytes of a UUID are set to its version and its variant (RFC 9562 §4.1, §4.2).
_VERSION_4: Final = bytes(0x40 | byte & 0x0F for byte in range(256))
_VARIANT: Final = bytes(0x80 | byte & 0x3F for byte in range(256))
# The places of the 32 digits in the 36 characters.
_DIGITS: Final = [place for place in range(36) if place not in {8, 13, 18, 23}]
# Bytes in which a habit of the producer shows.
_SAMPLE: Final = 4096
# What the first byte of a body is, unpacked.
_BODIES: Final = frozenset({(ord("{"),), (ord("n"),)})
_first_byte = Struct("B").unpack_from
_NEWLINE: Final = ord("\n")
_OPENS: Final = ord("{")
_CLOSES: Final = ord("}")
_encode_lines = msgspec.json.Encoder().encode_lines
_raw = msgspec.json.Decoder(msgspec.Raw)
_array = msgspec.json.Decoder(list[Fields])
_parts = msgspec.json.Decoder(dict[str, msgspec.Raw])
_HEXADECIMAL: Final = b"0123456789abcdefABCDEF"
_space = re.compile(r"[ \t\r\n]*").match


def _skip(_digits: str) -> float:
    """Stand for a number: its value is of no interest, and it may be longer than int() takes."""
    return 0.0


_scan = json.JSONDecoder(parse_float=_skip, parse_int=_skip, parse_constant=_skip).scan_once  # type: ignore[attr-defined]


class Member(NamedTuple):
    """Where the value of a member stands: `text[start:end]`."""

    start: int
    end: int

    def kind(self, text: bytes) -> str:
        """Name the kind of the value, for people."""
        return _KINDS.get(text[self.start], "a number")


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


def are_complete(events: list[Fields]) -> bool:
    """Say whether these keep all rules of the envelope."""
    # Column by column: a comprehension over one field takes no time.
    sources = [event.eventSourceId for event in events]
    types = [event.eventType for event in events]
    return (
        all(sources)
        and all(types)
        and _are_uuids([event.eventId for event in events])
        and [event.eventObjectType is None for event in events] == [event.eventObjectId is None for event in events]
        and _are_bodies([event.data for event in events])
    )


def are_plain(lines: bytes, events: list[Fields]) -> bool:
    """Say whether no line has an envelope key twice, or white space outside of `data`; no is no verdict.

    The lines must be UTF-8, each ended by a newline, and have no carriage return, and `events` be what
    the decoder found in them: as many as there are lines.
    """
    encoded = _encode_lines(events)
    if encoded == lines:
        return True
    # A forgotten member, one that is no field, a null, an escape that need not be, white space and an empty line
    # each make the text larger than what was found in it. All that could make up for a newline between two tokens
    # is one that is missing between two events.
    return (len(encoded) == len(lines) or _account_for(lines)) and _are_objects(lines)


def _are_objects(lines: bytes) -> bool:
    """Say whether each line begins and ends as an object does.

    Within an event a comma stands between the end of one object and the beginning of the next: so no
    newline stands in an event, and between two events there is one.
    """
    found = whole_lines(lines)
    return set(map(itemgetter(0), found)) == {_OPENS} and set(map(itemgetter(-2), found)) == {_CLOSES}


def read_array(array: bytes) -> tuple[bytes, list[Fields]] | None:
    """Return the elements of an array as plain lines, and what the decoder found in them; None where they are not.

    The array must be UTF-8 and have neither newline nor carriage return.
    """
    if _has_spaces(array):
        return None
    try:
        events = _array.decode(array)
    except (msgspec.DecodeError, RecursionError):
        return None
    # Each element is as long as its encoding: see `are_plain`.
    encoded = _encode_lines(events)
    if len(encoded) != len(array) - 1:
        return None
    if encoded.replace(b"\n", b",").startswith(memoryview(array)[1:-1]):
        return encoded, events
    # Their members are in another order.
    lines, end = bytearray(memoryview(array)[1:]), -1
    while (end := encoded.find(b"\n", end + 1)) >= 0:
        lines[end] = _NEWLINE
    return bytes(lines), events


def _account_for(lines: bytes) -> bool:
    """Say whether the members that the decoder finds make up all of the bytes, whatever their names."""
    events = _parts.decode_lines(lines)
    names, values = chain.from_iterable(events), b"".join(chain.from_iterable(map(dict.values, events)))
    # Around each member there are two quotes, a colon and a comma.
    size = 2 * len(events) + 4 * sum(map(len, events)) + len("".join(names).encode()) + len(values)
    return size == len(lines) and b"\n" not in values


def _are_bodies(bodies: list[msgspec.Raw]) -> bool:
    """Say whether each of these is an object, null or nothing, and none has a newline in it."""
    try:
        kinds = set(map(_first_byte, bodies))
    except StructError:
        kinds = {_first_byte(body) for body in bodies if len(body)}
    # White space inside `data` is left in place, but for the one that ends a line.
    return kinds <= _BODIES and b"\n" not in b"".join(bodies)


def compacted(lines: bytes) -> bytes:
    """Return lines without white space between tokens, where it seems to be the habit of their producer.

    Raises msgspec.DecodeError where one is no JSON, RecursionError where it is nested too deeply.
    """
    if not _has_spaces(lines):
        return lines
    return b"\n".join([*[msgspec.json.format(line, indent=-1) for line in lines.split(b"\n")[:-1]], b""])


def _has_spaces(text: bytes) -> bool:
    """Say whether white space between tokens seems to be the habit of who wrote this."""
    head = text[:_SAMPLE]
    return b'": ' in head or b', "' in head


def _are_uuids(values: list[str | None]) -> bool:
    """Say whether all of these are UUIDs: 36 characters, hyphens in four places, hexadecimal digits elsewhere."""
    if not all(values) or set(map(len, ids := cast("list[str]", values))) != {36}:
        return False
    # A character that is not ASCII takes more than one byte, and none of them is a digit.
    joined, hyphens = "".join(ids).encode(), b"-" * len(ids)
    others = joined.translate(None, _HEXADECIMAL)
    return joined[8::36] == joined[13::36] == joined[18::36] == joined[23::36] == hyphens and others == 4 * hyphens


def new_ids(random_bytes: Callable[[int], bytes], count: int) -> list[str]:
    """Return `count` random UUIDs (RFC 9562 §5.4, version 4)."""
    random = bytearray(random_bytes(16 * count))
    random[6::16] = bytes(random[6::16]).translate(_VERSION_4)
    random[8::16] = bytes(random[8::16]).translate(_VARIANT)
    digits = random.hex().encode()
    # Column by column through all of them at once: that is three times as quick as one id after the other.
    text = bytearray(b"-" * (36 * count))
    for to, start in zip(_DIGITS, range(32), strict=True):
        text[to::36] = digits[start::32]
    joined = text.decode()
    return [joined[start : start + 36] for start in range(0, len(joined), 36)]


def is_json_line(text: bytes) -> bool:
    """Say whether the bytes are one JSON value on one line, in UTF-8."""
    try:
        _raw.decode(text)
        text.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return b"\n" not in text and b"\r" not in text


class RefusedError(Exception):
    """Carries what is wrong with one event out of the exact way."""

    def __init__(self, field: str, message: str, error: type[IntakeError] = InvalidEventsError) -> None:
        super().__init__(message)
        self.field = field
        self.message = message
        self.error = error

    def words(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


def read_envelope(line: bytes) -> tuple[bytes, dict[str, Member]]:
    """Find the envelope's members of one event; return it without white space between tokens, and them.

    Raises RefusedError where it is no event, or has a member of the envelope twice.
    """
    try:
        if not line.isascii():
            line.decode()
        if (found := _plain(line)) is not None:
            return line, found
        compact = msgspec.json.format(line, indent=-1)
        if (found := _plain(compact)) is not None:
            return compact, found
        return compact, _exact(compact)
    except UnicodeDecodeError as error:
        raise RefusedError("", f"not UTF-8: {error.reason} at byte {error.start}", MalformedError) from None
    except msgspec.ValidationError:
        raise _no_object(line) from None
    except msgspec.DecodeError as error:
        raise RefusedError("", json_words(line, error), MalformedError) from None
    except RecursionError:
        raise RefusedError("", "the JSON is nested too deeply", MalformedError) from None


def _plain(line: bytes) -> dict[str, Member] | None:
    """Find the members by adding up the parts of the line; None where they do not make up all of it."""
    found: dict[str, Member] = {}
    at = 1
    for name, value in _parts.decode(line).items():
        start = at + len(name.encode()) + 3
        at = start + len(value) + 1
        if name in ENVELOPE:
            found[name] = Member(start, at - 1)
    return found if at == len(line) else None


def _exact(line: bytes) -> dict[str, Member]:
    """Find the members one by one."""
    found = [(name, member) for name, member in members(line) if name in ENVELOPE]
    for name, count in Counter(name for name, _ in found).items():
        if count > 1:
            raise RefusedError(name, f"stands {count} times in one event; keep one")
    return dict(found)


def _no_object(line: bytes) -> RefusedError:
    """Tell JSON that is no object from what only begins like it."""
    try:
        _raw.decode(line)
    except msgspec.DecodeError as error:
        return RefusedError("", json_words(line, error), MalformedError)
    except RecursionError:
        return RefusedError("", "the JSON is nested too deeply", MalformedError)
    return RefusedError("", "an event must be a JSON object")


def check_kinds(line: bytes, envelope: Mapping[str, Member]) -> None:
    """Refuse an envelope field of the wrong type; null counts as absent."""
    for name, member in envelope.items():
        kind = member.kind(line)
        if kind == "null":
            continue
        if name == "eventReceived":
            raise RefusedError(name, "must not be sent; the destination sets it")
        wanted = "an object" if name == "data" else "a string"
        if kind != wanted:
            raise RefusedError(name, f"must be {wanted}, not {kind}")


def check_rules(fields: Fields) -> None:
    """Refuse an event whose envelope is not complete."""
    for name in ("eventSourceId", "eventType"):
        if not getattr(fields, name):
            raise RefusedError(name, "is required: a string that is not empty")
    if fields.eventId is not None and not is_uuid(fields.eventId):
        raise RefusedError("eventId", "must be a UUID such as 6f1c2f7e-7d9e-4f6a-9d0a-1c2d3e4f5a6b, or be left out")
    if fields.eventObjectType is None and fields.eventObjectId is not None:
        raise RefusedError("eventObjectType", "is required beside eventObjectId")
    if fields.eventObjectId is None and fields.eventObjectType is not None:
        raise RefusedError("eventObjectId", "is required beside eventObjectType")


def put_in(line: bytes, envelope: Mapping[str, Member], filled: Mapping[str, str]) -> bytes:
    """Put members into an event: in place of a null, else in front of the others."""
    nulls = sorted(((envelope[name], name) for name in filled if name in envelope), reverse=True)
    for member, name in nulls:
        line = line[: member.start] + json.dumps(filled[name]).encode() + line[member.end :]
    return put_in_front(line, "".join(as_member(name, filled[name]) for name in filled if name not in envelope))


def put_in_front(line: bytes, front: str) -> bytes:
    """Put members, each with the comma behind it, in front of the others of an event."""
    if not front:
        return line
    rest = line[1:]
    if rest == b"}":
        front = front.removesuffix(",")
    return b"{" + front.encode() + rest


def as_member(name: str, value: str) -> str:
    """Return a member as text, with the comma behind it."""
    return f"{json.dumps(name)}:{json.dumps(value)},"


def json_words(text: bytes, error: Exception) -> str:
    """Say where a text stops being JSON, in the decoder's words."""
    words = str(error).removeprefix("JSON is malformed: ").replace("Input data was truncated", "it ends too early")
    return f"not JSON: {words}" if text else "empty"


class _Identity(msgspec.Struct, gc=False):
    eventId: str = ""  # noqa: N815


_identity = msgspec.json.Decoder(_Identity)


def event_id(event: bytes) -> str:
    """Return the id of a stored event, or an empty string where it cannot be read."""
    try:
        return _identity.decode(event).eventId
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
