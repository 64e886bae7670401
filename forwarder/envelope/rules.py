"""The rules of the envelope (Event API), each written once, for one event and for many alike.

A rule checks one field of many events together, which is many times faster than checking one event after
another; a single event is a list of one. `refuse` names the first rule that an event breaks.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, cast

import msgspec

from forwarder.envelope.fields import Fields, RefusedError
from forwarder.envelope.text import MAX_DEPTH, are_shallow

# The first byte of an object and of null, as `_first_byte` returns it.
_BODIES: Final = frozenset({(ord("{"),), (ord("n"),)})
_first_byte = struct.Struct("B").unpack_from
_HEXADECIMAL: Final = b"0123456789abcdefABCDEF"
_REQUIRED: Final = "is required: a string that is not empty"


class Rule(NamedTuple):
    """A rule, and what to tell a producer who breaks it."""

    field: str
    holds: Callable[[list[Fields]], bool]
    """Returns whether all of these events keep the rule."""
    message: str


# A comprehension over one field is the fastest way through many events.


def _have_sources(events: list[Fields]) -> bool:
    sources = [event.eventSourceId for event in events]
    return all(sources)


def _have_types(events: list[Fields]) -> bool:
    types = [event.eventType for event in events]
    return all(types)


def _are_uuids(events: list[Fields]) -> bool:
    """Return whether each event has a UUID: 36 characters, hyphens in four places, hexadecimal digits elsewhere."""
    values = [event.eventId for event in events]
    if not all(values) or set(map(len, ids := cast("list[str]", values))) != {36}:
        return False
    # All ids are checked as one text, in which the same column of each id is 36 bytes apart. A character that is not
    # ASCII would shift the columns, but none of its bytes is a digit or a hyphen, so it is found out all the same.
    joined, hyphens = "".join(ids).encode(), b"-" * len(ids)
    others = joined.translate(None, _HEXADECIMAL)
    return joined[8::36] == joined[13::36] == joined[18::36] == joined[23::36] == hyphens and others == 4 * hyphens


def _have_no_lone_type(events: list[Fields]) -> bool:
    return [event.eventObjectId for event in events if event.eventObjectType is not None].count(None) == 0


def _have_no_lone_id(events: list[Fields]) -> bool:
    return [event.eventObjectType for event in events if event.eventObjectId is not None].count(None) == 0


NAMES: Final = (
    Rule("eventSourceId", _have_sources, _REQUIRED),
    Rule("eventType", _have_types, _REQUIRED),
)
# These concern fields that may be filled in first: the id, and defaults.
REST: Final = (
    Rule("eventId", _are_uuids, "must be a UUID such as 6f1c2f7e-7d9e-4f6a-9d0a-1c2d3e4f5a6b, or be left out"),
    Rule("eventObjectType", _have_no_lone_id, "is required beside eventObjectId"),
    Rule("eventObjectId", _have_no_lone_type, "is required beside eventObjectType"),
)


def are_kept(rules: Iterable[Rule], events: list[Fields]) -> bool:
    """Return whether all of these events keep all of these rules."""
    return all(rule.holds(events) for rule in rules)


def refuse(rules: Iterable[Rule], event: Fields) -> None:
    """Raise RefusedError for the first of these rules that the event breaks."""
    for rule in rules:
        if not rule.holds([event]):
            raise RefusedError(rule.field, rule.message)


def are_bodies(events: list[Fields]) -> bool:
    """Return whether the `data` of each event is an object, null or absent, and not nested too deeply.

    The exact path checks this on the text of the member, and can say what it is instead.
    """
    bodies: list[msgspec.Raw] = [event.data for event in events]
    try:
        kinds = set(map(_first_byte, bodies))
    except struct.error:
        kinds = {_first_byte(body) for body in bodies if len(body)}
    return kinds <= _BODIES and are_shallow(bodies, MAX_DEPTH - 1)
