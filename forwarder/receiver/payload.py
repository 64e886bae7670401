"""Read a payload of the Event API: one event object or an array of them.

This shares no code with the forwarder's own intake, so that a mistake there is found here and not
repeated. Events are kept as the bytes that were received.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

Text = Annotated[str, msgspec.Meta(min_length=1)]


class Body(msgspec.Struct, gc=False):
    """Any JSON object; its members are ignored."""


class Envelope(msgspec.Struct, gc=False):
    """The fields of an event that the Event API defines; other fields are allowed and ignored."""

    eventSourceId: Text  # noqa: N815 - the names are the Event API's
    eventType: Text  # noqa: N815
    eventId: Text | None = None  # noqa: N815
    eventObjectType: Text | None = None  # noqa: N815
    eventObjectId: Text | None = None  # noqa: N815
    version: str | None = None
    eventKeyId: str | None = None  # noqa: N815
    data: Body | None = None
    # Only the server may set this; a null counts as absent, so it is allowed.
    eventReceived: msgspec.UnsetType | None = msgspec.UNSET  # noqa: N815


class PayloadError(ValueError):
    """A payload breaks the rules; the message is sent in the answer."""


_envelope = msgspec.json.Decoder(Envelope)
_envelopes = msgspec.json.Decoder(list[Envelope])
_raws = msgspec.json.Decoder(list[msgspec.Raw])


def read(payload: bytes) -> list[Envelope]:
    """Return the envelopes of all events, in order; raises PayloadError if one breaks the rules."""
    try:
        if not payload.isascii():
            # msgspec skips the strings of unknown fields without checking their encoding.
            payload.decode()
        envelopes = _envelopes.decode(payload) if _is_array(payload) else [_envelope.decode(payload)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PayloadError(str(error)) from None
    if not envelopes:
        raise PayloadError("the array holds no event")
    for index, envelope in enumerate(envelopes):
        if (envelope.eventObjectType is None) != (envelope.eventObjectId is None):
            raise PayloadError(f"event {index}: eventObjectType and eventObjectId come together or not at all")
    return envelopes


def split(payload: bytes) -> list[bytes]:
    """Return each event of a payload that passed `read`, as it was written."""
    return [bytes(raw) for raw in _raws.decode(payload)] if _is_array(payload) else [payload.strip()]


def one_line(event: bytes) -> bytes:
    """Return an event with its line breaks replaced by spaces; valid JSON has them only between tokens."""
    return event.replace(b"\r", b" ").replace(b"\n", b" ") if b"\n" in event or b"\r" in event else event


def with_received(event: bytes, received: int, *, is_set: bool) -> bytes:
    """Return an event with its `eventReceived` in nanoseconds; `is_set` says that it already has one, a null."""
    if is_set:
        members = msgspec.json.decode(event, type=dict[str, msgspec.Raw])
        del members["eventReceived"]
        event = msgspec.json.encode(members)
    return b'%s,"eventReceived":%d}' % (event[:-1], received)


def _is_array(payload: bytes) -> bool:
    return payload.lstrip()[:1] == b"["
