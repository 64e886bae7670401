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

    @property
    def is_open(self) -> bool:
        """Whether no filter is set."""
        return all(
            value is None
            for value in (self.destination, self.ids, self.reason, self.older_than, self.source, self.object)
        )


# Each id is looked up both as a number and as an event id, and a statement takes some 32,000 values.
_MAX_IDS = 10_000
_QUERY = frozenset({"destination", "id", "reason", "older_than", "source", "object", "limit"})
_EVENTS = frozenset({"source", "object"})
_encoder = msgspec.json.Encoder()


def parse_body(body: bytes, now: float) -> DeadFilter:
    """Read the filters of a replay or a purge; `now` is in seconds since the epoch. Raises MalformedError."""
    try:
        wanted = msgspec.json.decode(body or b"{}", type=Wanted)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(
            f"the filters cannot be read: {error}",
            hint='send a JSON object with "destination", "ids", "reason", "older_than" (seconds), "source",'
            ' "object" ("TYPE:ID"), or "all": true',
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
    wanted = Wanted(
        destination=values.get("destination"),
        ids=ids or None,
        reason=values.get("reason"),
        older_than=_number("older_than", values["older_than"]) if "older_than" in values else None,
        source=values.get("source"),
        object=values.get("object"),
    )
    return _filter(wanted, now), parse_limit(values)


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
    text = values.get("limit")
    if text is None:
        return None
    # Eighteen digits fit into the 64 bits of every store.
    if not (text.isascii() and text.isdigit() and len(text) <= 18 and int(text) > 0):
        raise MalformedError(f"limit must be a number from 1 on, not {text!r}")
    return int(text)


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise MalformedError(f"{name} must be a number of seconds, not {text!r}") from None


def _filter(wanted: Wanted, now: float) -> DeadFilter:
    ids = tuple(map(str, wanted.ids or ()))
    empty = {"destination": wanted.destination == "", "reason": wanted.reason == ""}
    empty["id"] = (wanted.ids is not None and not ids) or "" in ids
    empty["source"] = wanted.source == ""
    _refuse_empty(empty)
    if len(ids) > _MAX_IDS:
        raise MalformedError(f"{len(ids):,} ids are too many for one request, the limit is {_MAX_IDS:,}")
    age = wanted.older_than
    if age is not None and not (math.isfinite(age) and age >= 0):
        raise MalformedError("older_than must be a number of seconds from 0 on")
    died_before = None if age is None else now - age
    return DeadFilter(wanted.destination, ids, wanted.reason, died_before, wanted.source, _object(wanted.object))


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
