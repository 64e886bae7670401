"""One event as text: its members in order, its envelope fields, its id.

The exact reader below finds every member of the root object with its place in the text, also
those that stand twice or whose key is written with escapes. It relies on msgspec having accepted
the text as JSON first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any, Final

import msgspec

from forwarder.errors import IntakeError, InvalidEventsError, MalformedError


class Body(msgspec.Struct, gc=False):
    """Any JSON object, read over without being kept."""


class Fields(msgspec.Struct, gc=False):
    """The fields of the envelope (Event API); None where absent or null."""

    eventSourceId: str | None = None  # noqa: N815 - the names are the Event API's
    eventType: str | None = None  # noqa: N815
    eventId: str | None = None  # noqa: N815
    eventObjectType: str | None = None  # noqa: N815
    eventObjectId: str | None = None  # noqa: N815
    version: str | None = None
    eventKeyId: str | None = None  # noqa: N815
    data: Body | None = None
    eventReceived: None = None  # noqa: N815


ENVELOPE: Final = frozenset(Fields.__struct_fields__)
is_uuid: Final = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}").fullmatch

_KINDS = {
    dict: "an object",
    str: "a string",
    list: "an array",
    float: "a number",
    bool: "a boolean",
}
# The variant bits of RFC 9562 §4.1: the first digit of the fourth group is 8, 9, a or b.
_VARIANT: Final = "89ab" * 4
_raw = msgspec.json.Decoder(msgspec.Raw)
_space = re.compile(r"[ \t\r\n]*").match


def _skip(_digits: str) -> float:
    """Stand for a number: its value is of no interest, and it may be longer than int() takes."""
    return 0.0


_scan = json.JSONDecoder(parse_float=_skip, parse_int=_skip, parse_constant=_skip).scan_once  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Member:
    """A member of the root object; `start` and `end` are the place of its value in the text.

    The value of a number is not kept: it is always 0.0.
    """

    name: str
    value: Any
    start: int
    end: int


def members(text: str) -> Iterator[Member]:
    """Yield the members of the object that `text` is, in order; `text` must be valid JSON.

    Raises RecursionError where the nesting is too deep for the reader.
    """
    at = _skip_space(text, text.index("{") + 1)
    while text[at] != "}":
        name, at = scanstring(text, at + 1, True)
        start = _skip_space(text, text.index(":", at) + 1)
        value, end = _scan(text, start)
        yield Member(name, value, start, end)
        at = _skip_space(text, end)
        if text[at] == ",":
            at = _skip_space(text, at + 1)


def _skip_space(text: str, at: int) -> int:
    found = _space(text, at)
    return found.end() if found else at


def new_ids(random_bytes: Callable[[int], bytes], count: int) -> list[str]:
    """Return `count` random UUIDs (RFC 9562 §5.4, version 4)."""
    digits = random_bytes(16 * count).hex()
    return [
        f"{d[:8]}-{d[8:12]}-4{d[13:16]}-{_VARIANT[int(d[16], 16)]}{d[17:20]}-{d[20:]}"
        for d in (digits[i : i + 32] for i in range(0, len(digits), 32))
    ]


class RefusedError(Exception):
    """Carries what is wrong with one event out of the exact way."""

    def __init__(self, field: str, message: str, error: type[IntakeError] = InvalidEventsError) -> None:
        super().__init__(message)
        self.field = field
        self.message = message
        self.error = error

    def words(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


def read_members(line: bytes) -> tuple[str, list[Member]]:
    try:
        text = line.decode()
        _raw.decode(line)
        if line[:1] != b"{":
            raise RefusedError("", "an event must be a JSON object")
        return text, list(members(text))
    except UnicodeDecodeError as error:
        raise RefusedError("", f"not UTF-8: {error.reason} at byte {error.start}", MalformedError) from None
    except msgspec.DecodeError as error:
        raise RefusedError("", json_words(line, error), MalformedError) from None
    except RecursionError:
        raise RefusedError("", "the JSON is nested too deeply", MalformedError) from None


def check_member(member: Member) -> None:
    """Refuse an envelope field of the wrong type."""
    value = member.value
    if value is None:
        return
    if member.name == "eventReceived":
        raise RefusedError(member.name, "must not be sent; the destination sets it")
    wanted = dict if member.name == "data" else str
    if not isinstance(value, wanted):
        raise RefusedError(member.name, f"must be {_KINDS[wanted]}, not {_KINDS[type(value)]}")


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


def put_in(text: str, envelope: Mapping[str, Member], filled: Mapping[str, str]) -> str:
    """Put members into the text of an event: in place of a null, else in front of the others."""
    nulls = sorted((envelope[name] for name in filled if name in envelope), key=lambda member: -member.start)
    for member in nulls:
        text = text[: member.start] + json.dumps(filled[member.name]) + text[member.end :]
    front = ",".join(f"{json.dumps(name)}:{json.dumps(filled[name])}" for name in filled if name not in envelope)
    rest = text[1:].lstrip(" \t\r")
    return "{" + front + ("," if front and rest != "}" else "") + rest


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
    except (msgspec.DecodeError, RecursionError):
        return ""
