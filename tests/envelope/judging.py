"""What the envelope makes of bytes, held against a slow second opinion (`tests.reference`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from forwarder.envelope import Checked, Envelope, Refused
from forwarder.errors import RequestError
from forwarder.problems import problem_type
from tests.events import loads
from tests.reference import Good, RefusedError, Rules

T = TypeVar("T")

ZERO_ID: Final = "00000000-0000-4000-8000-000000000000"
DEFAULTS: Final[list[dict[str, str]]] = [
    {},
    {},
    {"eventSourceId": "mé"},
    {"eventObjectId": "7"},
    {"eventObjectType": "user", "eventObjectId": "7", "version": "1", "eventKeyId": 'k"\\'},
    {"eventType": "t", "eventSourceId": "s"},
]
ROUTES: Final[list[dict[str, dict[str, list[str]]]]] = [
    {"main": {}},
    {"main": {}},
    {"all": {}, "apps": {"eventSourceId": ["app-*", "[st]"], "version": ["t"]}, "typed": {"eventType": ["?"]}},
    {"apps": {"eventSourceId": ["app-?"]}, "users": {"eventObjectType": ["user", "t"]}},
]


def envelope(wanted: Rules) -> Envelope:
    """Return the envelope of these rules, whose new ids are all zeros."""
    return Envelope(
        routes=wanted.routes,
        defaults=wanted.defaults,
        max_event_bytes=wanted.max_event_bytes,
        random_bytes=bytes,
    )


def check_stored(checked: Checked, wanted: Sequence[Good]) -> None:
    """Check that exactly these events are to be stored, as written, and for the right destinations."""
    lines = checked.data.split(b"\n")
    assert lines.pop() == b""
    assert checked.events == len(lines) == len(wanted)
    stored = [loads(line.decode()) for line in lines]
    for good, found in zip(wanted, stored, strict=True):
        filled = {**good.filled, **({"eventId": ZERO_ID} if good.needs_id else {})}
        added = len(found) - len(good.written)
        names = [name for name, _ in good.written]
        assert dict(found[:added]) == {name: value for name, value in filled.items() if name not in names}
        assert found[added:] == [(name, filled.get(name) if value is None else value) for name, value in good.written]
    assert checked.event_ids() == [dict(found)["eventId"] for found in stored]
    check_routes(checked, wanted, lines)


def check_routes(checked: Checked, wanted: Sequence[Good], lines: Sequence[bytes]) -> None:
    """Check that each destination gets its events in order, and nobody else's."""
    routed: dict[str, list[bytes]] = {}
    for good, line in zip(wanted, lines, strict=True):
        for name in good.destinations:
            routed.setdefault(name, []).append(line)
    found: dict[str, list[bytes]] = {}
    for segment in checked.segments:
        held = segment.data.split(b"\n")[:-1]
        assert segment.events == len(held)
        found.setdefault(segment.destination, []).extend(held)
    assert found == routed


def attempt(parse: Callable[[bytes], T], body: bytes) -> T | int:
    """Return what is made of a body, or the status with which it is refused."""
    try:
        return parse(body)
    except RequestError as error:
        return problem_type(type(error)).status
    except RefusedError as error:
        return error.status


def check_request(parse: Callable[[bytes], Checked], judge: Callable[[bytes], list[Good]], body: bytes) -> None:
    """Check that a request is accepted or refused as it has to be, with the right status."""
    found, wanted = attempt(parse, body), attempt(judge, body)
    if isinstance(found, Checked) and isinstance(wanted, list):
        check_stored(found, wanted)
        return
    # Of very many errors not all are looked for.
    is_close = isinstance(found, int) and isinstance(wanted, int) and body.count(b"\n") > 20
    assert found == wanted or is_close


def check_stream(judge: Rules, data: bytes) -> None:
    """Check that of many lines exactly the right ones are refused, each with the right status."""
    checked, refused, rest = envelope(judge).sift(data)
    assert rest == b""
    check_verdicts(checked, refused, judge.lines(data))


def check_verdicts(checked: Checked, refused: Sequence[Refused], judged: Sequence[Good | int]) -> None:
    """Check that of many events exactly the right ones are refused, each with its status and a reason."""
    assert [(found.index, found.status) for found in refused] == [
        (index, status) for index, status in enumerate(judged) if isinstance(status, int)
    ]
    assert all(found.detail for found in refused)
    check_stored(checked, [found for found in judged if isinstance(found, Good)])


def check_elements(judge: Rules, body: bytes) -> None:
    """Check that of a JSON body's events exactly the right ones are refused, or all of it where it is no JSON."""
    found, wanted = attempt(envelope(judge).examine, body), attempt(judge.elements, body)
    if isinstance(found, tuple) and isinstance(wanted, list):
        check_verdicts(*found, wanted)
        return
    assert found == wanted
