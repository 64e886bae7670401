"""The fields of the envelope, and the rules that they keep (Event API)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from struct import Struct
from struct import error as StructError  # noqa: N812 - it is a class
from typing import Final, cast

import msgspec

from forwarder.envelope.text import MAX_DEPTH, Member, are_shallow
from forwarder.errors import InvalidEventsError, RequestError

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

# What the first byte of `data` is, unpacked.
_BODIES: Final = frozenset({(ord("{"),), (ord("n"),)})
_first_byte = Struct("B").unpack_from
_HEXADECIMAL: Final = b"0123456789abcdefABCDEF"


class RefusedError(Exception):
    """Carries what is wrong with one event out of the exact way."""

    def __init__(self, field: str, message: str, error: type[RequestError] = InvalidEventsError) -> None:
        super().__init__(message)
        self.field = field
        self.message = message
        self.error = error


# --- many events -------------------------------------------------------------------------------


def are_named(events: list[Fields]) -> bool:
    """Say whether each of these has a source and a type."""
    # Column by column: a comprehension over one field takes no time.
    sources = [event.eventSourceId for event in events]
    types = [event.eventType for event in events]
    return all(sources) and all(types)


def are_complete(events: list[Fields]) -> bool:
    """Say whether these keep the other rules of the envelope: each has an id, both or neither of a pair, and a body."""
    return (
        _are_uuids([event.eventId for event in events])
        and [event.eventObjectType is None for event in events] == [event.eventObjectId is None for event in events]
        and _are_bodies([event.data for event in events])
    )


def _are_bodies(bodies: list[msgspec.Raw]) -> bool:
    """Say whether each of these is an object, null or nothing, and none is nested too deeply."""
    try:
        kinds = set(map(_first_byte, bodies))
    except StructError:
        kinds = {_first_byte(body) for body in bodies if len(body)}
    return kinds <= _BODIES and are_shallow(bodies, MAX_DEPTH - 1)


def _are_uuids(values: list[str | None]) -> bool:
    """Say whether all of these are UUIDs: 36 characters, hyphens in four places, hexadecimal digits elsewhere."""
    if not all(values) or set(map(len, ids := cast("list[str]", values))) != {36}:
        return False
    # A character that is not ASCII takes more than one byte, and none of them is a digit.
    joined, hyphens = "".join(ids).encode(), b"-" * len(ids)
    others = joined.translate(None, _HEXADECIMAL)
    return joined[8::36] == joined[13::36] == joined[18::36] == joined[23::36] == hyphens and others == 4 * hyphens


# --- one event ---------------------------------------------------------------------------------


def check_kinds(line: bytes, envelope: Mapping[str, Member]) -> None:
    """Refuse an envelope field of the wrong type; null counts as absent. Raises RefusedError."""
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
    """Refuse an event whose envelope is not complete. Raises RefusedError."""
    for name in ("eventSourceId", "eventType"):
        if not getattr(fields, name):
            raise RefusedError(name, "is required: a string that is not empty")
    if fields.eventId is not None and not is_uuid(fields.eventId):
        raise RefusedError("eventId", "must be a UUID such as 6f1c2f7e-7d9e-4f6a-9d0a-1c2d3e4f5a6b, or be left out")
    if fields.eventObjectType is None and fields.eventObjectId is not None:
        raise RefusedError("eventObjectType", "is required beside eventObjectId")
    if fields.eventObjectId is None and fields.eventObjectType is not None:
        raise RefusedError("eventObjectId", "is required beside eventObjectType")


def too_large_words(size: int, limit: int) -> str:
    """Return what to say of an event over the limit; both in bytes."""
    return f"the event has {size:,} bytes, the limit is {limit:,} (ingest.max_event_bytes)"
