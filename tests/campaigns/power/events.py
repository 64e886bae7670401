"""The events of the power campaign: each can be told, byte for byte, from its producer and its number."""

from __future__ import annotations

import json
from collections.abc import Iterable

UNWANTED = "unwanted"
"""The type of the few events that the receiver rejects."""

Run = tuple[str, int, int]
"""Consecutive events of a producer: its name, the first number, how many."""


def event(producer: str, number: int) -> bytes:
    """Return one event. Its length varies, so that events lie at all places of a page."""
    kind = UNWANTED if number % 500 == 499 else "power"
    text = "x" * (number * 7919 % 701)
    return (
        f'{{"eventSourceId":"{producer}","eventType":"{kind}","eventId":"{event_id(producer, number)}",'
        f'"data":{{"n":{number},"text":"{text}"}}}}'
    ).encode()


def event_id(producer: str, number: int) -> str:
    """Return a UUID that holds the name (of eight characters at most) and the number."""
    name = producer.encode().hex().zfill(16)
    return f"{name[:8]}-{name[8:12]}-4{name[12:15]}-8{name[15]}00-{number:012d}"


def identify(text: bytes) -> tuple[str, int] | None:
    """Return the producer and the number of an event, or None where it is not what was sent."""
    try:
        found = json.loads(text)
        producer, number = str(found["eventSourceId"]), int(found["data"]["n"])
    except (ValueError, KeyError, TypeError):
        return None
    return (producer, number) if text == event(producer, number) else None


def runs(texts: Iterable[bytes]) -> tuple[list[Run], int]:
    """Fold events into runs; return them and how many of the texts are not what was sent."""
    found: list[Run] = []
    altered = 0
    # Producers take turns, so the run that an event goes on is not always the last one.
    open_runs: dict[str, int] = {}
    for text in texts:
        known = identify(text)
        if known is None:
            altered += 1
            continue
        producer, number = known
        at = open_runs.get(producer)
        if at is not None and number == found[at][1] + found[at][2]:
            found[at] = (producer, found[at][1], found[at][2] + 1)
        else:
            open_runs[producer] = len(found)
            found.append((producer, number, 1))
    return found, altered
