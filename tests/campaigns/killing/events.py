"""The events of a campaign: each is known, byte for byte, from its source and its number alone.

So nothing has to be remembered to tell an event that arrived as it was sent from one that was
lost, changed or made up. A source is one producer; it numbers its events from 1 on.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache

Key = tuple[str, int]
"""A source and a number: one event."""

HTTP_SINGLE = "http-single"
HTTP_ARRAY = "http-array"
STREAM_UNIX = "stream-unix"
STREAM_TCP = "stream-tcp"
# Brings what drains a chain: good events that go everywhere.
LAST = "stream-last"

_TYPES = ("login", "usage", "logout")
# The sources that leave the eventId to the forwarder.
_WITHOUT_ID = frozenset({HTTP_ARRAY, STREAM_TCP})
_with_id = re.compile(rb'\{"eventId":"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})",(.*)', re.DOTALL).fullmatch


@dataclass(frozen=True, slots=True)
class Route:
    """A destination: which events it takes, and how many batches are under way at the same time."""

    name: str
    match: tuple[tuple[str, str], ...]
    in_flight: int


ROUTES = (
    Route("all", (), 1),
    Route("logins", (("eventType", "log*"),), 1),
    Route("streams", (("eventSourceId", "stream-*"),), 3),
)


@cache
def _routes_of(source: str, kind: str) -> tuple[str, ...]:
    fields = {"eventSourceId": source, "eventType": kind}
    return tuple(
        route.name for route in ROUTES if all(fnmatchcase(fields[name], pattern) for name, pattern in route.match)
    )


class Events:
    """All events of one chain; `seed` decides which are large, which are bad, and for whom."""

    def __init__(self, seed: str) -> None:
        self._seed = seed

    def routes(self, source: str, number: int) -> tuple[str, ...]:
        """Return the destinations that an event goes to."""
        return _routes_of(source, self._type(source, number))

    def is_valid(self, source: str, number: int) -> bool:
        """Whether the intake is to take the event: one that it refuses has no eventType."""
        # Rare in arrays, which are refused as a whole.
        return source == LAST or self._chance("valid", source, number) % (500 if source == HTTP_ARRAY else 60) > 0

    def is_poison(self, source: str, number: int, route: str) -> bool:
        """Whether a destination rejects the event."""
        if source == LAST:
            return False
        # Now and then more in a row than are believed at once.
        if number % 600 < 14 and self._chance("streak", source, number // 600) % 3 == 0:
            return route == "all"
        found = self._chance("poison", source, number)
        return found % 97 == 0 and ROUTES[found // 97 % len(ROUTES)].name == route

    def text(self, source: str, number: int) -> bytes:
        """Return an event as its producer writes it."""
        if not self.is_valid(source, number):
            return b'{"eventSourceId":"%s","data":{"n":%d}}' % (source.encode(), number)
        words = f'"eventSourceId":"{source}","eventType":"{self._type(source, number)}"'
        if source not in _WITHOUT_ID:
            name = zlib.crc32(source.encode())
            words = f'"eventId":"{name:08x}-0000-4000-8000-{number:012x}",{words}'
        found = self._chance("size", source, number)
        size = 20_000 if found % 500 == 7 else found % 400
        return f'{{{words},"data":{{"n":{number},"fill":"{"x" * size}"}}}}'.encode()

    def id_of_arrived(self, source: str, number: int, arrived: bytes) -> bytes | None:
        """Return the eventId under which an event arrived, or None where it is not the event that was written."""
        found = _with_id(arrived)
        written = self.text(source, number)
        if found is None:
            return None
        if source in _WITHOUT_ID:
            return found[1] if found[2] == written[1:] else None
        return found[1] if arrived == written else None

    def _type(self, source: str, number: int) -> str:
        return "login" if source == LAST else _TYPES[number % len(_TYPES)]

    def _chance(self, what: str, source: str, number: int) -> int:
        return zlib.crc32(f"{self._seed}/{what}/{source}/{number}".encode())
