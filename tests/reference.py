"""What the envelope has to answer, found the slow way: each event alone, each member looked at.

Nothing of the forwarder is used here. JSON is what the standard library takes for it, less what
RFC 8259 does not know (NaN), less strings that no UTF-8 can say (lone surrogates), and less events that are
nested too deeply.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from tests.events import ENVELOPE, Number, Pairs

_is_uuid = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}").fullmatch
_PAIR: Final = ("eventObjectType", "eventObjectId")
_BLANK: Final = b" \t\r"
MAX_DEPTH: Final = 512


class RefusedError(Exception):
    """Says with which status an event, or a request, has to be refused."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@dataclass(frozen=True)
class Good:
    """An event that has to be accepted."""

    written: Pairs
    """What the producer wrote."""
    filled: Mapping[str, str]
    """The defaults that it lacks; an id where `needs_id`."""
    needs_id: bool
    destinations: tuple[str, ...]


@dataclass(frozen=True)
class Rules:
    """The rules of one configuration."""

    defaults: Mapping[str, str]
    routes: Mapping[str, Mapping[str, Sequence[str]]]
    max_event_bytes: int = 256 * 1024

    def line(self, line: bytes) -> Good:
        """Judge one line, the white space around it gone. Raises RefusedError."""
        if len(line) > self.max_event_bytes:
            raise RefusedError(413)
        return self._event(read(line))

    def lines(self, body: bytes) -> list[Good | int]:
        """Judge each line of a stream: an event, or the status with which it is refused."""
        found: list[Good | int] = []
        for line in body.split(b"\n"):
            if stripped := line.strip(_BLANK):
                try:
                    found.append(self.line(stripped))
                except RefusedError as refused:
                    found.append(refused.status)
        return found

    def stream(self, stream: bytes, max_line_bytes: int) -> list[int | None]:
        """Judge each line of a connection: None for one that is stored, else its status.

        A line over `max_line_bytes` is too large before anybody looks at it, white space included.
        """
        found: list[Good | int] = []
        for line in stream.removesuffix(b"\n").split(b"\n"):
            found += [413] if len(line) > max_line_bytes else self.lines(line)
        return [one if isinstance(one, int) else None for one in found]

    def request_of_lines(self, body: bytes) -> list[Good]:
        """Judge the lines of a request as a whole. Raises RefusedError."""
        check_text(body)
        return _all_good(self.lines(body))

    def elements(self, body: bytes) -> list[Good | int]:
        """Judge each event of a JSON body, an array or an object. Raises RefusedError where it is neither."""
        found = parse(body)
        if type(found) is not list and not isinstance(found, Pairs):
            raise RefusedError(400)
        judged: list[Good | int] = []
        for value in [found] if isinstance(found, Pairs) else found:
            try:
                judged.append(self._event(value))
            except RefusedError as refused:
                judged.append(refused.status)
        return judged

    def request(self, body: bytes) -> list[Good]:
        """Judge a JSON body as a whole. Raises RefusedError."""
        check_text(body)
        read(body)
        return _all_good(self.elements(body))

    def _event(self, value: Any) -> Good:
        if depth(value) > MAX_DEPTH or not _is_text(value):
            raise RefusedError(400)
        if not isinstance(value, Pairs):
            raise RefusedError(422)
        names = [name for name, _ in value]
        if any(names.count(name) > 1 for name in ENVELOPE):
            raise RefusedError(422)
        fields = {name: text for name, text in value if name in ENVELOPE and text is not None}
        for name, text in fields.items():
            if not (isinstance(text, Pairs) if name == "data" else type(text) is str) or name == "eventReceived":
                raise RefusedError(422)
        filled = self._filled(fields)
        whole = {**filled, **fields}
        if not whole.get("eventSourceId") or not whole.get("eventType"):
            raise RefusedError(422)
        if "eventId" in whole and not _is_uuid(whole["eventId"]):
            raise RefusedError(422)
        if len([name for name in _PAIR if name in whole]) == 1:
            raise RefusedError(422)
        destinations = tuple(name for name, match in self.routes.items() if _matches(match, whole))
        if not destinations:
            raise RefusedError(422)
        return Good(value, filled, "eventId" not in whole, destinations)

    def _filled(self, fields: Mapping[str, Any]) -> dict[str, str]:
        filled = {name: text for name, text in self.defaults.items() if name not in fields}
        if all(name in fields or name in filled for name in _PAIR):
            return filled
        return {name: text for name, text in filled.items() if name not in _PAIR}


def _matches(match: Mapping[str, Sequence[str]], fields: Mapping[str, Any]) -> bool:
    return all(
        name in fields and any(fnmatchcase(fields[name], pattern) for pattern in patterns)
        for name, patterns in match.items()
    )


def _all_good(judged: list[Good | int]) -> list[Good]:
    """Return the events where all are good; what is not JSON or too large is said before what breaks a rule."""
    statuses = [found for found in judged if isinstance(found, int)]
    if statuses:
        raise RefusedError(next((status for status in statuses if status != 422), 422))
    return [found for found in judged if isinstance(found, Good)]


def check_text(body: bytes) -> None:
    """Refuse what is not UTF-8, or begins with a byte order mark."""
    if body.startswith(codecs.BOM_UTF8):
        raise RefusedError(400)
    try:
        body.decode()
    except UnicodeDecodeError:
        raise RefusedError(400) from None


def read(text: bytes) -> Any:
    """Read JSON and lose nothing of it. Raises RefusedError."""
    found = parse(text)
    if not _is_text(found):
        raise RefusedError(400)
    return found


def parse(text: bytes) -> Any:
    """Read JSON, strings that no UTF-8 can say included. Raises RefusedError."""
    try:
        return json.loads(
            text.decode(), object_pairs_hook=Pairs, parse_int=Number, parse_float=Number, parse_constant=_refuse
        )
    except (ValueError, RecursionError):
        raise RefusedError(400) from None


def depth(value: Any) -> int:
    """Return how many levels of objects and arrays a value has."""
    levels, level = 0, [value]
    while any(isinstance(one, list) for one in level):
        levels, level = levels + 1, _inside(level)
    return levels


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _is_text(value: Any) -> bool:
    """Say whether no string and no key in a value holds half of a surrogate pair."""
    level = [value]
    while level:
        strings = [one for one in level if isinstance(one, str)]
        strings += [name for one in level if isinstance(one, Pairs) for name, _ in one]
        if any("\ud800" <= char <= "\udfff" for char in "".join(strings)):
            return False
        level = _inside(level)
    return True


def _inside(level: list[Any]) -> list[Any]:
    """Return the values inside of these."""
    lists = [one for one in level if isinstance(one, list)]
    return [inner[1] if isinstance(one, Pairs) else inner for one in lists for inner in one]
