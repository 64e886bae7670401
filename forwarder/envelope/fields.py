"""The fields of the envelope and their types (Event API)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from forwarder.envelope.text import Member
from forwarder.errors import InvalidEventsError, RequestError

_ABSENT: Final = msgspec.Raw(b"")


class Fields(msgspec.Struct, gc=False, omit_defaults=True):
    """The fields of the envelope (Event API); each except `data` is None if it is absent or null.

    Its encoding contains only the fields that are not None, in the shortest form.
    """

    eventSourceId: str | None = None  # noqa: N815 - the names are the Event API's
    eventType: str | None = None  # noqa: N815
    eventId: str | None = None  # noqa: N815
    eventObjectType: str | None = None  # noqa: N815
    eventObjectId: str | None = None  # noqa: N815
    version: str | None = None
    eventKeyId: str | None = None  # noqa: N815
    data: msgspec.Raw = _ABSENT
    """The text of `data`; the decoder has checked that it is JSON, but not that it is an object."""
    eventReceived: None = None  # noqa: N815


ENVELOPE: Final = frozenset(Fields.__struct_fields__)


class RefusedError(Exception):
    """What is wrong with one event, as found on the exact path."""

    def __init__(self, field: str, message: str, error: type[RequestError] = InvalidEventsError) -> None:
        super().__init__(message)
        self.field = field
        self.message = message
        self.error = error


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


def too_large_words(size: int, limit: int) -> str:
    """Return the words for an event over the limit; both are in bytes."""
    return f"the event has {size:,} bytes, the limit is {limit:,} (ingest.max_event_bytes)"
