"""What happened, as data: tuples with names, in plain units.

Facts about events come once a request, a commit or a batch, never once an event; they are named tuples because
those cost the least to make. No fact holds an event's content, a token or a JWS. What a fact is called in the
log, and how bad it is, is the business of whoever observes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from forwarder.errors import ForwarderError
from forwarder.model import Burial, Outcome, Slice, State

Way = Literal["http", "stream"]
"""Where events come in."""


class Peer(NamedTuple):
    """Who is at the other end of a connection, as far as the kernel knows."""

    name: str
    """`uid 1000` over a unix socket, the IP address over TCP; `unknown` where the connection has gone."""
    pid: int | None = None
    """The process that connected, over a unix socket."""

    def __str__(self) -> str:
        return self.name if self.pid is None else f"{self.name}, pid {self.pid}"


UNKNOWN: Final = Peer("unknown")


class Accepted(NamedTuple):
    """Events that came together are durable: those of one request, of requests that came at once, or of a stream."""

    way: Way
    events: int
    invalid: int
    """What broke the rules and was kept as dead letters; it is not among the `events`."""
    bytes: int
    """Of the events, as they were stored for one destination."""
    seconds: float
    """From the end of the checks until all of it was durable."""


class Traced(NamedTuple):
    """Events of one request that belongs to a trace are durable; told only while traces are wanted."""

    traceparent: str
    """The header of the request (W3C Trace Context), as it came: it may be anything."""
    destination: str
    position: int
    """Of the first of them, in the queue of the destination."""
    events: int


class Leased(NamedTuple):
    """A batch was taken from the queue, to be delivered."""

    destination: str
    slices: Sequence[Slice]
    """The positions of its events, and when they were accepted."""
    seconds: float
    """How long the queue took to hand it out, with others that were taken together."""


class Prepared(NamedTuple):
    """A batch is signed: it is in the form in which it travels."""

    destination: str
    position: int
    """Of the first of its events, as in `Leased`: the batch is known by it until it is settled."""
    seconds: float


class Refused(NamedTuple):
    """Nothing of these was stored, and the client was told why."""

    way: Way
    problem: str
    """The last part of the problem type, such as `queue-full` (see `forwarder.errors`)."""
    number: int
    """Requests over HTTP, lines over the stream."""
    peer: Peer = UNKNOWN
    detail: str = ""
    """What the client was told, of one of them; it names fields and sizes, and repeats no value of an event."""


class Committed(NamedTuple):
    """One transaction of the queue is durable."""

    events: int
    """How many events it accepted."""
    bytes: int
    """Of these events, once for each destination; 0 for a transaction that only settled others."""
    seconds: float
    """From its beginning until it was synced to disk."""


class Attempted(NamedTuple):
    """A destination was sent a batch, and it answered or failed to."""

    destination: str
    position: int
    """Of the first of the events."""
    outcome: Outcome
    events: int
    bytes: int
    """Of the events, before they were signed."""
    seconds: float
    """From the first byte that was sent, or the attempt to connect, until the answer."""
    status: int | None
    """The HTTP status; None where no answer came."""


class Settled(NamedTuple):
    """Events have left the queue for good: delivered, or dead for the reason in `burial`."""

    destination: str
    events: int
    burial: Burial | None = None
    waited: bool = False
    """Whether they died of old age while they waited, in no batch."""
    ids: tuple[str, ...] = ()
    """The `eventId` of each that is dead, where they are known."""
    position: int | None = None
    """Of the first of the events, where they were a batch."""
    seconds: float = 0.0
    """How long the queue took to record it."""


class StateChanged(NamedTuple):
    """A destination begins to wait, waits again, or takes events again."""

    destination: str
    state: State
    """BACKING_OFF or HOLDING where it waits from now on, DELIVERING where it works again."""
    events: int | None = None
    """Of the batch that was not taken, None where everything that waits is refused; or, where it works again, how many
    had gathered by then."""
    status: int | None = None
    detail: str = ""
    """What the destination said, or what went wrong on the way to it."""
    retry_in: float = 0.0
    """Seconds until the next attempt."""
    seconds: float = 0.0
    """Since it has taken nothing; where it works again, for how long it did not."""
    attempts: int = 0
    """How many attempts failed in that time."""
    is_news: bool = True
    """Whether an operator is told: of a beginning and its end, of another kind of wait; else it just goes on."""


class ConditionChanged(NamedTuple):
    """Something that an operator should look at has begun, or has ended (see `forwarder.observe.conditions`)."""

    key: str
    """One of the keys of `forwarder.observe.catalogue`, such as `certificate.expires`."""
    destination: str | None
    """The destination that it is about; None where it is about the forwarder as a whole."""
    active: bool
    """Whether it has begun."""
    detail: str
    """What exactly is so, or was, in words for people."""
    seconds: float = 0.0
    """How long it lasted, where it has ended."""


class Condition(NamedTuple):
    """Something that is so just now, and should not stay so."""

    key: str
    """One of the keys of `forwarder.observe.catalogue`, which has its level, its meaning and the next step."""
    destination: str | None
    """The destination that it is about; None where it is about the forwarder as a whole."""
    since: float
    """When it began, in seconds since the epoch."""
    detail: str
    """What exactly is so, in words for people: numbers and names that the key does not tell."""


class Acted(NamedTuple):
    """Somebody steered the daemon, or changed what is stored."""

    act: str
    """A verb, such as `pause`."""
    who: Mapping[str, Any]
    """`uid` and `pid` of the peer of a unix socket, or the address of a TCP `peer`."""
    what: Mapping[str, Any]
    """What it was done to: a destination, a filter."""
    result: Mapping[str, Any]
    """What came of it, such as how many events were dropped."""
    failure: str | None = None
    """Why the act failed; a part of it may be done."""


class Notice(NamedTuple):
    """Something that an operator may want to know, and no other fact says."""

    key: str
    """One of the keys of `forwarder.observe.catalogue`, such as `queue.storage_failing`."""
    details: Mapping[str, Any]
    """What there is to know; a `hint` among it stands in place of that of the catalogue."""
    error: BaseException | None = None
    """A bug that came to light: its traceback tells where."""


def failure_details(destination: str, error: ForwarderError) -> dict[str, Any]:
    """Return the details of a notice that something could not be done for a destination."""
    return {"destination": destination, "reason": error.message, "hint": error.hint}


Fact = (
    Accepted
    | Traced
    | Refused
    | Committed
    | Leased
    | Prepared
    | Attempted
    | Settled
    | StateChanged
    | ConditionChanged
    | Acted
    | Notice
)
