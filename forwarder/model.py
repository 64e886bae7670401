"""The nouns that the stages hand to each other: segment, batch, outcome, state, dead letter, counters.

Events of one destination are numbered in the order in which they were queued; the number is the
event's *position*. A segment holds consecutive positions. A batch is a list of slices, each a run
of positions out of one segment, with the bytes of exactly those events.
"""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Final, NamedTuple

INVALID: Final = "invalid"
"""The account, and the reason, of what was accepted though it is no event; no destination may have the name."""


@dataclass(frozen=True, slots=True)
class Address:
    """A place to listen at or to connect to: `unix:PATH` or `tcp:HOST:PORT`."""

    path: str | None = None
    host: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        host = f"[{self.host}]" if self.host and ":" in self.host else self.host
        return f"tcp:{host}:{self.port}"

    @property
    def is_unix(self) -> bool:
        return self.path is not None

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.is_unix or self.host == "localhost":
            return True
        try:
            host = ipaddress.ip_address(self.host or "")
        except ValueError:
            # Another name, even one such as 127.example.
            return False
        # ::ffff:127.0.0.1 is 127.0.0.1, which Python knows from 3.13 on.
        mapped = host.ipv4_mapped if isinstance(host, ipaddress.IPv6Address) else None
        return (mapped or host).is_loopback


@dataclass(frozen=True, slots=True)
class Segment:
    """Consecutive events accepted together for one destination: what the queue stores.

    `data` is compact JSON, one event a line, every line ended by a newline; no event is empty and
    none contains a newline, so `data.count(b"\\n") == events`.
    """

    destination: str
    events: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that one batch may hold: events, and bytes of its JSON array."""

    max_events: int
    max_bytes: int


class Slice(NamedTuple):
    """The events at `position` up to `position + events`, all of one segment."""

    position: int
    events: int
    accepted_at: float
    """When the segment was accepted: seconds since the epoch, for people and for `give_up_after`."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Events that travel together. Held by whoever took it until it is settled or released."""

    destination: str
    slices: tuple[Slice, ...]
    data: bytes
    """The events as in `Segment.data`."""

    @property
    def events(self) -> int:
        return sum(part.events for part in self.slices)

    @property
    def position(self) -> int:
        return self.slices[0].position

    @property
    def oldest(self) -> float:
        """When the oldest event was accepted, in seconds since the epoch."""
        return min(part.accepted_at for part in self.slices)

    @property
    def runs(self) -> list[tuple[int, int]]:
        """The positions as runs, first and behind the last: those of neighbouring slices are one."""
        found: list[tuple[int, int]] = []
        first = until = self.position
        for part in self.slices:
            if part.position != until:
                found.append((first, until))
                first = part.position
            until = part.position + part.events
        return [*found, (first, until)]

    def split(self, events: int) -> tuple[Batch, Batch]:
        """Return the first `events` events and the rest, each a batch; both must be non-empty."""
        cut = nth_line(self.data, events)
        head: list[Slice] = []
        tail: list[Slice] = []
        left = events
        for part in self.slices:
            taken = min(left, part.events)
            left -= taken
            if taken:
                head.append(part._replace(events=taken))
            if taken < part.events:
                tail.append(part._replace(position=part.position + taken, events=part.events - taken))
        return (
            Batch(self.destination, tuple(head), self.data[:cut]),
            Batch(self.destination, tuple(tail), self.data[cut:]),
        )


def nth_line(data: bytes, count: int) -> int:
    """Return the offset behind the `count`-th line of `data`."""
    offset = 0
    for _ in range(count):
        offset = data.index(b"\n", offset) + 1
    return offset


def count_lines(data: bytes) -> int:
    """Return how many lines `data` has; the last one ends with a newline, too."""
    return len(whole_lines(data))


def whole_lines(data: bytes) -> list[bytes]:
    """Return the lines of `data`, each with its newline; the last one has one, too."""
    # `bytes.count` and `bytes.split` compare byte by byte. This leaps from newline to newline, in a fifth of the time.
    return BytesIO(data).readlines()


def has_more(data: bytes, what: bytes, times: int) -> bool:
    """Say whether `data` has a byte more often than so many times."""
    # It leaps from one to the next and stops there; `bytes.count` looks at each byte of all of it.
    return len(data) - len(data.replace(what, b"", times + 1)) > times


def lines_within(data: bytes, limit: int) -> bool:
    """Say whether no line is longer than `limit` bytes, without looking at each."""
    start = 0
    while len(data) - start > limit:
        start = data.rfind(b"\n", start, start + limit + 1) + 1
        if start == 0:
            return False
    return True


class Outcome(enum.Enum):
    """What came of one attempt; each attempt has exactly one."""

    DELIVERED = "delivered"
    DEFERRED = "deferred"
    HELD = "held"
    TOO_LARGE = "too_large"
    REJECTED = "rejected"


class State(enum.StrEnum):
    """What a destination is doing."""

    IDLE = "idle"
    DELIVERING = "delivering"
    BACKING_OFF = "backing_off"
    """The last attempt was deferred; the next one waits for its time."""
    HOLDING = "holding"
    """The destination is misconfigured or does not know the key; nothing is dropped."""
    PAUSED = "paused"
    REMOVED = "removed"
    """No longer configured, but the queue still keeps events or dead letters of it."""
    INVALID = "invalid"
    """No destination, but the account of what was accepted though it is no event."""


@dataclass(frozen=True, slots=True)
class LastError:
    """The last attempt that did not deliver; `at` in seconds since the epoch."""

    at: float
    status: int | None
    """The HTTP status, or None where no answer came."""
    detail: str


@dataclass(frozen=True, slots=True)
class Burial:
    """Why events go to the dead letters: `reason` is one word, `detail` the start of the answer."""

    reason: str
    """`rejected`, `too_large`, `failing`, `expired`, `damaged` or `invalid`."""
    status: int | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class DeadSegment:
    """Events that die as they are accepted, with their account; `data` as in `Segment`, but it need not be JSON."""

    destination: str
    events: int
    data: bytes
    burial: Burial


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that was given up, kept until somebody replays or purges it. Times: seconds since the epoch."""

    id: int
    destination: str
    event_id: str
    reason: str
    status: int | None
    detail: str
    accepted_at: float
    died_at: float
    event: bytes


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events; a field that is None does not restrict."""

    source: str | None = None
    """Those with this `eventSourceId`."""
    object: tuple[str, str] | None = None
    """Those with this `eventObjectType` and `eventObjectId`."""


EVERY_EVENT = EventFilter()


@dataclass(frozen=True, slots=True)
class DeadFilter:
    """Which dead letters; a field that is None or empty does not restrict."""

    destination: str | None = None
    ids: tuple[str, ...] = ()
    """Numbers of dead letters, or event ids."""
    reason: str | None = None
    died_before: float | None = None
    """Seconds since the epoch."""
    source: str | None = None
    """Those with this `eventSourceId`."""
    object: tuple[str, str] | None = None
    """Those with this `eventObjectType` and `eventObjectId`."""
    last: int | None = None
    """Those with a number up to this one."""


@dataclass(frozen=True, slots=True)
class Counters:
    """The account of one destination. `accepted == queued + delivered + dead + dropped`, always."""

    accepted: int = 0
    queued: int = 0
    delivered: int = 0
    dead: int = 0
    dropped: int = 0
    queued_bytes: int = 0
    dead_bytes: int = 0
    oldest_accepted_at: float | None = None
    """Seconds since the epoch; None where nothing is queued."""
    paused: bool = False


@dataclass(frozen=True, slots=True)
class QueueStats:
    """The state of the queue; sizes in bytes on disk."""

    backend: str
    bytes: int
    max_bytes: int
    full: bool
    failing: str | None = None
    """What the storage says when it fails, or None."""
    destinations: Mapping[str, Counters] = field(default_factory=dict)
