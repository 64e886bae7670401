"""Store checked events durably: the one way into the queue, for HTTP and the stream alike.

If the operator or the request wants it, events that are refused as invalid are kept as dead letters.
These have an account of their own, and are stored in the same transaction as the events beside them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from time import monotonic, time

from forwarder.envelope import Checked, Envelope, Refused, burials
from forwarder.errors import (
    NoRoomForInvalidError,
    QueueFullError,
    RequestError,
    ShareFullError,
    ShuttingDownError,
    TooLargeError,
    UnavailableError,
)
from forwarder.model import INVALID
from forwarder.observe import facts
from forwarder.observe.base import Observer
from forwarder.observe.facts import Peer, Way
from forwarder.problems import problem_type
from forwarder.queue.base import Appended, Inbox
from forwarder.queue.fullness import Fullness


def accepted(checked: Checked, invalid: Sequence[Refused], *, with_ids: bool = False) -> bytes:
    """Return the answer to a request that was stored; ids are in its order, with null for an invalid event."""
    answer: dict[str, object] = {"accepted": checked.events}
    if invalid:
        answer["invalid"] = len(invalid)
    if with_ids:
        ids, places = iter(checked.event_ids()), {refused.index for refused in invalid}
        count = checked.events + len(invalid)
        answer["eventIds"] = [None if place in places else next(ids) for place in range(count)]
    return json.dumps(answer).encode() if invalid or with_ids else b'{"accepted": %d}' % checked.events


class Intake:
    """Accepts events; `envelope` and `keeps_invalid` may be replaced at any time, by a reload."""

    def __init__(self, inbox: Inbox, envelope: Envelope, observer: Observer, *, keeps_invalid: bool = False) -> None:
        self._inbox = inbox
        self.wait_space = inbox.wait_space
        self.fullness = Fullness(monotonic, time)
        self.observer = observer
        self.envelope = envelope
        self.keeps_invalid = keeps_invalid
        """Whether invalid events are kept as dead letters, unless a request says otherwise."""
        self.wants_traces = False
        """Whether the `traceparent` of a request is looked at."""
        self._is_open = True

    def close(self) -> None:
        """Accept nothing more; storing that is under way is finished."""
        self._is_open = False

    async def accept(
        self, way: Way, checked: Checked, invalid: Sequence[Refused] = (), *, traceparent: str | None = None
    ) -> None:
        """Store events, and the `invalid` ones as dead letters; they are durable when this returns.

        A `traceparent` is the header of a request that belongs to a trace.

        Raises UnavailableError or TooLargeError, or NoRoomForInvalidError if only the dead letters do not fit. In
        all these cases nothing is stored.
        """
        if not self._is_open:
            raise ShuttingDownError("the forwarder is shutting down")
        began = monotonic()
        if invalid:
            places = await self._append(checked, invalid)
        else:
            places = await self._inbox.append(checked.segments)
        seconds = monotonic() - began
        if self.fullness:
            names = {segment.destination for segment in checked.segments}
            self.fullness.took(names | {INVALID} if invalid else names)
        self.observer.saw(facts.Accepted(way, checked.events, len(invalid), len(checked.data), seconds))
        if traceparent is not None:
            for place in places:
                self.observer.saw(facts.Traced(traceparent, *place))

    async def _append(self, checked: Checked, invalid: Sequence[Refused]) -> Sequence[Appended]:
        try:
            places = await self._inbox.append(checked.segments, burials(invalid, self.envelope.max_event_bytes))
        except (ShareFullError, TooLargeError) as error:
            if isinstance(error, ShareFullError) and error.destination != INVALID:
                raise
            if isinstance(error, ShareFullError):
                self.fullness.refused(error)
            raise NoRoomForInvalidError(error.message) from None
        return places

    def refused(self, way: Way, error: RequestError | UnavailableError, peer: Peer) -> None:
        """Record that a request, or a stream, was refused."""
        if isinstance(error, QueueFullError):
            self.fullness.refused(error)
        self.observer.saw(facts.Refused(way, problem_type(type(error)).name, 1, peer, error.message))

    async def accept_or(
        self,
        way: Way,
        checked: Checked,
        invalid: Sequence[Refused],
        refuse: Callable[[], object],
        *,
        traceparent: str | None = None,
    ) -> None:
        """Store as `accept` does; if the dead letters do not fit, `refuse` raises what is wrong with the request."""
        try:
            await self.accept(way, checked, invalid, traceparent=traceparent)
        except NoRoomForInvalidError:
            refuse()
            raise

    def stopped(self, error: UnavailableError, *, again: bool) -> None:
        """Record that a stream is not read from for now; `again` if it has been waiting since an earlier call."""
        if isinstance(error, QueueFullError):
            self.fullness.stopped(error, again=again)
