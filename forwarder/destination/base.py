"""The contract of a destination: a batch is prepared, and sent until it is taken.

Delivery decides what to do by the outcome of each attempt and by nothing else; what an answer means is known to
the kind of destination that got it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from forwarder.model import Batch, Outcome


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one attempt. `detail` says why a batch was not taken, on one line and without secrets."""

    outcome: Outcome
    detail: str = ""
    retry_after: float | None = None
    """The seconds for which the destination asks to be left alone; untrusted, so whoever waits caps them."""
    status: int | None = None
    """The number by which people know such an answer; None if there is none."""
    timed_out: bool = False
    """Whether the time ran out before there was an answer."""
    is_about_events: bool = False
    """Whether a deferred attempt may have failed because of the events: they were sent, and nobody said "later"."""
    refuses_key: bool = False
    """Whether the answer speaks of who we are: the key may be unknown."""
    is_repeated: bool = False
    """Whether it had been sent once before in this attempt, and may have been taken then."""
    hint: str = field(default="", compare=False)
    """What to look at where no answer came, as a sentence without its full stop."""


class Certificate(NamedTuple):
    """A certificate without which nothing can be delivered."""

    what: str
    """What it is, in words for people, such as `the client certificate /etc/forwarder/client.pem`."""
    ends: float
    """In seconds since the epoch."""
    is_exact: bool = True
    """Whether it ended at that moment, and not at some time before."""


class Outlook(NamedTuple):
    """What a destination knows of trouble to come."""

    certificates: tuple[Certificate, ...] = ()
    clock_ahead: float | None = None
    """By how many seconds our clock is ahead of that of the destination; None if that is unknown."""


class Destination(Protocol):
    """A place to which batches are delivered."""

    @property
    def description(self) -> Mapping[str, str]:
        """What the log says of it when it starts, such as the name of its key."""

    @property
    def outlook(self) -> Outlook:
        """What is known just now of trouble to come; this costs no I/O."""

    async def prepare(self, batch: Batch) -> bytes:
        """Return a batch in the form in which it travels.

        It is done ahead, while another batch is being sent, and only once: a repetition sends the same bytes.
        """

    async def send(self, body: bytes, *, fresh: bool = False) -> Answer:
        """Send what was prepared; never raises for what the network or the destination does.

        `fresh` sends it over a new connection, which may lead to another of several servers.
        """

    def renew(self) -> None:
        """Send what comes next over new connections, to the address that the destination has now."""

    async def aclose(self) -> None:
        """End all connections."""
