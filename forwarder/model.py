"""The values that the stages pass to each other: segment, batch, outcome, state, dead letter, counters.

The events of a destination are numbered in the order in which they were queued; this number is the event's
*position*. A segment holds consecutive positions. A batch is a list of slices, each a run of positions from
one segment, together with the bytes of exactly these events.
"""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Final, Literal, NamedTuple

INVALID: Final = "invalid"
"""The account of invalid events that were kept, and their reason as dead letters; no destination may have this name."""


@dataclass(frozen=True, slots=True)
class Address:
    """An address to listen at or to connect to: `unix:PATH` or `tcp:HOST:PORT`."""

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
        """Whether the address can be reached only from this machine."""
        if self.is_unix or self.host == "localhost":
            return True
        try:
            host = ipaddress.ip_address(self.host or "")
        except ValueError:
            # It is a name, which may resolve to anything, even if it looks like 127.example.
            return False
        # ::ffff:127.0.0.1 is 127.0.0.1, but Python knows that only from 3.13 on.
        mapped = host.ipv4_mapped if isinstance(host, ipaddress.IPv6Address) else None
        return (mapped or host).is_loopback


@dataclass(frozen=True, slots=True)
class Segment:
    """Consecutive events that were accepted together for one destination; the unit that the queue stores.

    `data` is compact JSON, one event a line, each line ended by a newline. No event is empty or contains
    a newline, so `data.count(b"\\n") == events`.
    """

    destination: str
    events: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that a batch may contain: events, and bytes of their JSON array."""

    max_events: int
    max_bytes: int


class Slice(NamedTuple):
    """The events from `position` up to, but not including, `position + events`, all from one segment."""

    position: int
    events: int
    accepted_at: float
    """When the segment was accepted: seconds since the epoch, for people and for `give_up_after`."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Events that are delivered together. The pump that took a batch holds it until it is settled or released."""

    destination: str
    slices: tuple[Slice, ...]
    data: bytes
    """The events, in the form of `Segment.data`."""

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
        """The positions as runs, from the first up to, but not including, the second; adjacent slices are merged."""
        found: list[tuple[int, int]] = []
        first = until = self.position
        for part in self.slices:
            if part.position != until:
                found.append((first, until))
                first = part.position
            until = part.position + part.events
        return [*found, (first, until)]

    def split(self, events: int) -> tuple[Batch, Batch]:
        """Return the first `events` events and the rest, each as a batch; neither may be empty."""
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


def nth_line(data: bytes, count: int, offset: int = 0) -> int:
    """Return the offset after the `count`-th line of `data`, counted from the line that begins at `offset`."""
    for _ in range(count):
        offset = data.index(b"\n", offset) + 1
    return offset


def count_lines(data: bytes) -> int:
    """Return the number of lines in `data`, each of which ends with a newline."""
    return len(whole_lines(data))


def whole_lines(data: bytes) -> list[bytes]:
    """Return the lines of `data`, each with its newline."""
    # `bytes.count` and `bytes.split` compare byte by byte. `readlines` searches for each newline with memchr(3), which
    # takes a fifth of the time.
    return BytesIO(data).readlines()


def has_more(data: bytes, what: bytes, times: int) -> bool:
    """Return whether `data` contains the byte `what` more than `times` times."""
    # With a count, `replace` searches quickly and stops early, while `bytes.count` would look at every byte.
    return len(data) - len(data.replace(what, b"", times + 1)) > times


def lines_within(data: bytes, limit: int) -> bool:
    """Return whether no line is longer than `limit` bytes, without looking at each line."""
    # From the start of a line, look back from the furthest place where its newline may be. The last newline found
    # there ends a line, and all the lines up to it are within the limit.
    start = 0
    while len(data) - start > limit:
        start = data.rfind(b"\n", start, start + limit + 1) + 1
        if start == 0:
            return False
    return True


class Outcome(enum.Enum):
    """The result of an attempt; each attempt has exactly one."""

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
    """The last attempt was deferred, and the next one is due later."""
    HOLDING = "holding"
    """The destination is misconfigured or does not know our key. Nothing is dropped."""
    PAUSED = "paused"
    REMOVED = "removed"
    """The destination is no longer configured, but the queue still has events or dead letters of it."""
    INVALID = "invalid"
    """Not a destination, but the account of invalid events that were kept."""


@dataclass(frozen=True, slots=True)
class LastError:
    """The last attempt that did not deliver; `at` is in seconds since the epoch."""

    at: float
    status: int | None
    """The HTTP status, or None if there was no answer."""
    detail: str
    hint: str = ""
    """What to look at where there was none."""


class Obstacle(NamedTuple):
    """What keeps a destination from taking everything, although it answers."""

    kind: Literal["distrusted", "all_refused", "set_aside", "rate"]
    seconds: float = 0.0
    """How long its refusals are not believed, or until the next request may go."""
    detail: str = ""
    """Of one event that is set aside: what the destination said of it."""
    has_failed: bool = False
    """Whether that one failed; otherwise it was refused."""


@dataclass(frozen=True, slots=True)
class Burial:
    """Why events become dead letters: `reason` is one word, `detail` the beginning of the answer."""

    reason: str
    """`rejected`, `too_large`, `failing`, `expired`, `damaged` or `invalid`."""
    status: int | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class DeadSegment:
    """Events that become dead letters as soon as they are accepted; `data` is as in `Segment`, but need not be JSON."""

    destination: str
    events: int
    data: bytes
    burial: Burial


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that was given up, kept until it is replayed or purged. Times are in seconds since the epoch."""

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
    """Selects queued events; a field that is None does not restrict the selection."""

    source: str | None = None
    """Events with this `eventSourceId`."""
    object: tuple[str, str] | None = None
    """Events with this `eventObjectType` and `eventObjectId`."""
    type: str | None = None
    """Events with this `eventType`."""
    text: str | None = None
    """Events that have this text anywhere, in capitals or not."""


EVERY_EVENT = EventFilter()


@dataclass(frozen=True, slots=True)
class DeadFilter:
    """Selects dead letters; a field that is None or empty does not restrict the selection."""

    destination: str | None = None
    ids: tuple[str, ...] = ()
    """Numbers of dead letters, or event ids."""
    reason: str | None = None
    died_before: float | None = None
    """Seconds since the epoch."""
    source: str | None = None
    """Events with this `eventSourceId`."""
    object: tuple[str, str] | None = None
    """Events with this `eventObjectType` and `eventObjectId`."""
    last: int | None = None
    """Dead letters with a number up to and including this one."""
    type: str | None = None
    """Events with this `eventType`."""
    text: str | None = None
    """Events that have this text anywhere, in capitals or not."""
    status: int | None = None
    """Those that this status was the answer to; 0 stands for no answer."""
    detail: str | None = None
    """Those that died with exactly these words."""
    after: int = 0
    """Dead letters with a number above this one."""

    @property
    def about(self) -> EventFilter:
        """What is asked of the event itself."""
        return EventFilter(self.source, self.object, self.type, self.text)

    def takes_burial(self, burial: Burial) -> bool:
        """Say whether letters that died for this reason can be wanted."""
        return (
            self.reason in {None, burial.reason}
            and self.status in {None, burial.status or 0}
            and self.detail in {None, burial.detail}
        )


@dataclass(frozen=True, slots=True)
class DeadGroup:
    """Dead letters of one destination that died for the same reason; times are in seconds since the epoch."""

    destination: str
    reason: str
    status: int | None
    detail: str | None
    """The words that they have in common; None where several groups were put together, as there were too many."""
    events: int
    first: float
    """When the first of them died."""
    last: float


@dataclass(frozen=True, slots=True)
class Counters:
    """The account of a destination, in which `accepted == queued + delivered + dead + dropped` always holds."""

    accepted: int = 0
    queued: int = 0
    delivered: int = 0
    dead: int = 0
    dropped: int = 0
    queued_bytes: int = 0
    dead_bytes: int = 0
    oldest_accepted_at: float | None = None
    """Seconds since the epoch; None if nothing is queued."""
    paused: bool = False
    died: int = 0
    """How many ever became dead letters. It only grows, while `dead` falls with a replay and a purge."""
    replayed: int = 0
    """How many dead letters were ever sent again."""


@dataclass(frozen=True, slots=True)
class QueueStats:
    """The state of the queue; sizes are in bytes."""

    backend: str
    bytes: int
    """How much of `max_bytes` is in use: all of it when there is room for nothing more.

    Where a part of it is kept for something else, as for a log, that part counts as used in proportion. So this is a
    measure of the room that is left, and may be more than the events take on the disk.
    """
    max_bytes: int
    failing: str | None = None
    """The storage's error message if it is failing, else None."""
    destinations: Mapping[str, Counters] = field(default_factory=dict)
    path: str | None = None
    """Where it is on a disk of this machine; None where it is not."""
    disk_free_bytes: int | None = None
    """What this user may still write to that disk; None where there is none, or it cannot be told."""
    last_letter: int = 0
    """The highest number that a dead letter was ever given. While it and every `dead` stay, so do the letters."""
