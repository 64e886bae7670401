"""The receiver's account of what it has seen: counters, a record of each request, and the ids of events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from forwarder.receiver.payload import Envelope

Keep = Literal["events", "ids", "counts"]


@dataclass(slots=True)
class Record:
    """One request to `/put`."""

    at: float
    """Seconds since the epoch."""
    fault: str
    """The step of the script that was applied to it: `ok`, `503`, …"""
    status: int | None = None
    """The status of the answer; None if there was none, or not yet."""
    detail: str = ""
    """The reason for a refusal."""
    events: int = 0
    """The number of events stored."""
    duplicates: int | None = 0
    """How many of these had been stored before; None if ids are not kept."""
    size: int = 0
    """The length of the body in bytes."""
    checksum: int = 0
    """CRC-32 of the body: equal for a retry that repeats itself."""
    alg: str = ""
    header: dict[str, Any] = field(default_factory=dict)
    feeds: tuple[str, ...] = ()
    """The event sources, sorted."""


@dataclass(slots=True)
class Stats:
    """Counters since the start. `distinct` and `duplicates` are None if ids are not kept."""

    requests: int = 0
    verified: int = 0
    stored: int = 0
    """Events, duplicates included."""
    distinct: int | None = 0
    """Distinct event ids."""
    duplicates: int | None = 0
    """Events whose id had been stored before."""
    refused: int = 0
    """Requests that were refused on their merits: 4xx that no script asked for."""
    bad_signatures: int = 0
    """Refused requests that were not signed by a known key."""
    faults: int = 0
    """Requests to which a step other than `ok` was applied."""
    redirects_followed: int = 0


class Account:
    """Counters and, unless `keep` is `counts`, the ids of all stored events (about 150 bytes of memory each)."""

    def __init__(self, keep: Keep) -> None:
        self.stats = Stats()
        self.ids: set[str] = set()
        if keep == "counts":
            self.stats.distinct = self.stats.duplicates = None

    def add(self, envelopes: Sequence[Envelope]) -> int | None:
        """Count events as stored; return how many of them had been stored before, or None if ids are not kept."""
        self.stats.stored += len(envelopes)
        if self.stats.distinct is None or self.stats.duplicates is None:
            return None
        ids = [envelope.eventId for envelope in envelopes if envelope.eventId is not None]
        self.ids.update(ids)
        duplicates = len(ids) - (len(self.ids) - self.stats.distinct)
        self.stats.distinct = len(self.ids)
        self.stats.duplicates += duplicates
        return duplicates
