"""Read the filters of requests for dead letters, and write dead letters as JSON.

The event is embedded byte for byte as it is stored. A damaged event, which would break the line that it
is written in, is given as `event_base64` instead, with `event` null.

A filter that is empty by accident must not select everything. So unknown names, empty values and an
empty list of ids are refused, and a request for all dead letters has to say so.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import msgspec

from forwarder.admin.status import utc
from forwarder.envelope import is_json_line
from forwarder.errors import MalformedError
from forwarder.model import DeadFilter, DeadLetter, EventFilter


class DeadLine(msgspec.Struct, omit_defaults=True):
    """One dead letter as a line of JSON; times are RFC 3339 in UTC."""

    id: int
    destination: str
    event_id: str
    reason: str
    status: int | None
    detail: str
    accepted_at: datetime
    died_at: datetime
    event: msgspec.Raw
    event_base64: str | None = None


class Wanted(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The filters of a request; `older_than` is in seconds since the event became a dead letter."""

    destination: str | None = None
    ids: list[str | int] | None = None
    reason: str | None = None
    older_than: float | None = None
    source: str | None = None
    object: str | None = None
    all: bool = False
    type: str | None = None
    text: str | None = None
    status: int | float | str | None = None
    detail: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether no filter is set."""
        return all(getattr(self, name) is None for name in self.__struct_fields__ if name != "all")


# Each id is looked up both as a number and as an event id, and a statement takes some 32,000 values.
_MAX_IDS = 10_000
_TEXTS = ("destination", "reason", "source", "object", "type", "text", "status", "detail")
_QUERY = frozenset({*_TEXTS, "id", "older_than", "after", "limit"})
_EVENTS = frozenset({"source", "object"})
_encoder = msgspec.json.Encoder()


def parse_body(body: bytes, now: float) -> DeadFilter:
    """Read the filters of a replay or a purge; `now` is in seconds since the epoch. Raises MalformedError."""
    try:
        wanted = msgspec.json.decode(body or b"{}", type=Wanted)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(
            f"the filters cannot be read: {error}",
            hint='send a JSON object with "destination", "ids", "reason", "status", "detail", "source", "type",'
            ' "object" ("TYPE:ID"), "text", "older_than" (seconds), or "all": true',
        ) from None
    if wanted.is_open and not wanted.all:
        raise MalformedError('no filter is given; to mean all dead letters, send "all": true')
    return _filter(wanted, now)


def parse_query(query: Sequence[tuple[str, str]], now: float) -> tuple[DeadFilter, int | None]:
    """Read the filters and the limit of a listing; `query` has names and values. Raises MalformedError."""
    values: dict[str, str] = {}
    ids: list[str | int] = []
    for name, value in query:
        if name not in _QUERY:
            raise MalformedError(f"{name!r} is not a filter; the filters are {', '.join(sorted(_QUERY))}")
        if name == "id":
            ids.append(value)
        elif name in values:
            raise MalformedError(f"{name} is given twice; only id may be repeated")
        else:
            values[name] = value
    older_than = _number("older_than", values["older_than"]) if "older_than" in values else None
    wanted = Wanted(ids=ids or None, older_than=older_than)
    for name in _TEXTS:
        setattr(wanted, name, values.get(name))
    found = _filter(wanted, now)
    return replace(found, after=_count("after", values.get("after"), 0) or 0), parse_limit(values)


def parse_events(query: Sequence[tuple[str, str]]) -> EventFilter:
    """Read the filters for queued events; without any, all events are meant. Raises MalformedError."""
    values = dict(query)
    if unknown := sorted(values.keys() - _EVENTS):
        raise MalformedError(f"{unknown[0]!r} is not a filter; the filters are {', '.join(sorted(_EVENTS))}")
    if len(values) < len(query):
        raise MalformedError("a filter is given twice")
    _refuse_empty({name: value == "" for name, value in values.items()})
    return EventFilter(values.get("source"), _object(values.get("object")))


def _object(text: str | None) -> tuple[str, str] | None:
    """Return the type and the id from `TYPE:ID`; the id may contain colons itself."""
    if text is None:
        return None
    kind, colon, number = text.partition(":")
    if not (kind and colon and number):
        raise MalformedError(f"object must be TYPE:ID, the eventObjectType and the eventObjectId, not {text!r}")
    return kind, number


def parse_limit(values: Mapping[str, str]) -> int | None:
    """Return the `limit` of a query, or None if it has none. Raises MalformedError."""
    return _count("limit", values.get("limit"), 1)


def _count(name: str, text: str | None, least: int) -> int | None:
    if text is None:
        return None
    # Eighteen digits fit into the 64 bits of every store.
    if not (text.isascii() and text.isdigit() and len(text) <= 18 and int(text) >= least):
        raise MalformedError(f"{name} must be a number from {least} on, not {text!r}")
    return int(text)


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise MalformedError(f"{name} must be a number of seconds, not {text!r}") from None


def _filter(wanted: Wanted, now: float) -> DeadFilter:
    ids = tuple(map(str, wanted.ids or ()))
    # The words of an answer may be none.
    empty = {name: getattr(wanted, name) == "" for name in _TEXTS if name != "detail"}
    empty["id"] = (wanted.ids is not None and not ids) or "" in ids
    _refuse_empty(empty)
    if len(ids) > _MAX_IDS:
        raise MalformedError(f"{len(ids):,} ids are too many for one request, the limit is {_MAX_IDS:,}")
    age = wanted.older_than
    if age is not None and not (math.isfinite(age) and age >= 0):
        raise MalformedError("older_than must be a number of seconds from 0 on")
    died_before = None if age is None else now - age
    return DeadFilter(
        destination=wanted.destination,
        ids=ids,
        reason=wanted.reason,
        died_before=died_before,
        source=wanted.source,
        object=_object(wanted.object),
        type=wanted.type,
        text=wanted.text,
        status=_status(wanted.status),
        detail=wanted.detail,
    )


def _status(wanted: int | float | str | None) -> int | None:
    """Return the status of an answer; 0 stands for `none`, no answer."""
    if wanted is None or wanted == "none":
        return None if wanted is None else 0
    # To JSON, 503.0 is the number 503.
    text = str(int(wanted)) if isinstance(wanted, float) and wanted.is_integer() else str(wanted)
    if not (text.isascii() and text.isdigit() and len(text) == 3):
        raise MalformedError(f"status must be that of an answer, or none, not {text!r}")
    return int(text)


def _refuse_empty(empty: Mapping[str, bool]) -> None:
    for name, is_empty in empty.items():
        if is_empty:
            raise MalformedError(f"{name} is empty; leave it out, or name what is wanted")


def encode_letter(letter: DeadLetter) -> bytes:
    """Return a dead letter as one line of JSON, without the newline."""
    readable = is_json_line(letter.event)
    return _encoder.encode(
        DeadLine(
            id=letter.id,
            destination=letter.destination,
            event_id=letter.event_id,
            reason=letter.reason,
            status=letter.status,
            detail=letter.detail,
            accepted_at=utc(letter.accepted_at),
            died_at=utc(letter.died_at),
            event=msgspec.Raw(letter.event if readable else b"null"),
            event_base64=None if readable else base64.b64encode(letter.event).decode(),
        )
    )
