"""The events that people send: what they hold, and how their JSON is written.

`own` is an event of the destination's own schema, written compactly; the other shapes are the same event written or
filled in another way, or what the pages of the Event API show. What is compared with other forwarders, or from one
version to the next, is `own` over the stream, where each program writes lines as it likes, and `spaces` over HTTP,
where `json.dumps` and its like write a space after each separator. Every event of a shape differs from the next in
its ids and times, as events do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

Fields = dict[str, Any]


def _uuid(kind: int, number: int) -> str:
    """Return an id that is the same in each run, and differs from those of other kinds and numbers."""
    return f"{kind:08x}-5e71-4e56-81f9-{number:012x}"


def _authenticated(number: int) -> Fields:
    """Return the first example of the Event API's page."""
    user = _uuid(2, number % 1000)
    data = {
        "eventTime": 1_724_242_158_854 + number,
        "requestId": _uuid(1, number),
        "userId": user,
        "authenticatedId": _uuid(3, number),
        "remember": False,
        "authentications": ["password", "emailVerification", "acceptAgreements"],
    }
    return {"eventType": "UserAuthenticated", "eventSourceId": "example-idp", "data": data, "version": "1.8.0"}


def _request(number: int) -> Fields:
    """Return the second example of the Event API's page."""
    user = _uuid(2, number % 1000)
    data = {
        "eventTime": 1_724_242_158_904 + number,
        "requestId": _uuid(1, number),
        "clientIpAddress": "1.2.3.4",
        "userAgent": "Example Client App 1.2.3",
        "method": "GET",
        "url": "https://login.example.com/user/oauth20/authz",
        "status": 302,
        "userId": user,
        "technicalUser": False,
        "authenticatedSessionId": _uuid(4, number),
        "clientApplicationId": _uuid(5, number % 10),
        "clientApplicationType": "OAUTH20",
        "duration": number % 100,
    }
    envelope = {"eventType": "RequestProcessed", "eventObjectId": user, "eventObjectType": "user"}
    return {**envelope, "eventSourceId": "example-idp", "data": data, "version": "1.8.0"}


def _own(number: int) -> Fields:
    """Return an event of the schema: a licence that was consumed, with 12 fields of data."""
    user = _uuid(2, number % 1000)
    data = {
        "eventTime": 1_724_242_158_904 + number,
        "requestId": _uuid(1, number),
        "licenseOwnerUserId": user,
        "entitlementId": _uuid(6, number % 100),
        "licensedItemId": _uuid(7, number % 10),
        "licenseId": _uuid(8, number % 1000),
        "assignmentId": _uuid(9, number),
        "leaseId": _uuid(10, number),
        "consumptionMode": "checkout",
        "consumedVersion": "1.2.3",
        "grantedUntil": 1_724_328_558_904 + number,
        "userId": user,
    }
    envelope = {"eventSourceId": "my-application", "eventId": _uuid(0, number), "eventType": "LicenseConsumed"}
    return {**envelope, "eventObjectType": "user", "eventObjectId": user, "version": "1.19.0", "data": data}


def _without_id(number: int) -> Fields:
    fields = _own(number)
    del fields["eventId"]
    return fields


def _beside(number: int) -> Fields:
    """Return an event with fields beside the envelope, among those of the envelope."""
    tenant = {"tenant": "example", "traceId": _uuid(11, number), "labels": {"region": "eu", "host": "app-1"}}
    return {**tenant, **_own(number), "sequence": number}


def _text(number: int) -> Fields:
    fields = _own(number)
    fields["data"]["licensedItemName"] = "Grüße aus Jyväskylä, 東京で使われたライセンス, лицензия использована 🎉"
    return fields


def _numbers(number: int) -> Fields:
    fields = _own(number)
    fields["data"]["samples"] = [round((number + place) * 1.37, 3) for place in range(60)]
    return fields


def _large(number: int) -> Fields:
    fields = _own(number)
    line = "2024-08-21T12:09:18.904Z INFO example.licensing: lease granted; see the consumer's own log for the rest. "
    fields["data"]["log"] = (line * 200)[:20_000]
    return fields


def _reversed(number: int) -> Fields:
    """Return the event with the members of the envelope and of its data in the opposite order."""
    fields = _own(number)
    fields["data"] = dict(reversed(fields["data"].items()))
    return dict(reversed(fields.items()))


@dataclass(frozen=True)
class Shape:
    """One way of writing one kind of event."""

    about: str
    fields: Callable[[int], Fields]
    write: Callable[[Fields], str]

    def event(self, number: int) -> bytes:
        """Return an event as its producer writes it."""
        return self.write(self.fields(number)).encode()

    def lines(self, count: int) -> bytes:
        """Return events as the stream takes them, and the queue keeps them: each one a line."""
        return b"".join(self.event(number).replace(b"\n", b"") + b"\n" for number in range(count))

    def array(self, first: int, count: int) -> bytes:
        """Return events as an array, with the separator that belongs to their writer."""
        separator = b", " if self.write is _spaced else b","
        return b"[" + separator.join(self.event(number) for number in range(first, first + count)) + b"]"

    @property
    def one_line(self) -> bool:
        """Whether the stream takes such an event, which must be one line."""
        return b"\n" not in self.event(0)


_compact: Callable[[Fields], str] = partial(json.dumps, separators=(",", ":"), ensure_ascii=False)
_escaped: Callable[[Fields], str] = partial(json.dumps, separators=(",", ":"))
_indented: Callable[[Fields], str] = partial(json.dumps, indent=2, ensure_ascii=False)
_spaced: Callable[[Fields], str] = json.dumps

OWN, SPACES = "own", "spaces"
SHAPES: Mapping[str, Shape] = {
    OWN: Shape("an event of the schema, 12 fields of data, compact", _own, _compact),
    SPACES: Shape("the same, with the spaces of json.dumps", _own, _spaced),
    "indented": Shape("the same, indented by two", _own, _indented),
    "order": Shape("the same, its members in the opposite order", _reversed, _compact),
    "no-id": Shape("the same without eventId", _without_id, _compact),
    "beside": Shape("the same with four fields beside the envelope", _beside, _compact),
    "text": Shape("the same with 60 characters of text that is not ASCII", _text, _compact),
    "escaped": Shape("that text in escapes", _text, _escaped),
    "numbers": Shape("the same with 60 numbers", _numbers, _compact),
    "large": Shape("the same with 20 kB of text", _large, _compact),
    "authenticated": Shape("the Event API's page, first example, compact", _authenticated, _compact),
    "request": Shape("the Event API's page, second example, compact", _request, _compact),
}
