"""From checked events to durable ones: the one way into the queue, for HTTP and the stream alike.

What is refused for its own sake can be kept instead, where the operator or the request wants that:
as dead letters of an account of its own, stored in the same transaction as the events beside it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import structlog

from forwarder.envelope import Checked, Envelope, Refused, burials
from forwarder.errors import NoRoomForInvalidError, ShareFullError, ShuttingDownError, TooLargeError
from forwarder.model import INVALID
from forwarder.queue.base import Inbox

log = structlog.get_logger(__name__)


def accepted(checked: Checked, invalid: Sequence[Refused], *, with_ids: bool = False) -> bytes:
    """Return what a client is told whose request was stored; in its order, null is the id of what is invalid."""
    answer: dict[str, object] = {"accepted": checked.events}
    if invalid:
        answer["invalid"] = len(invalid)
    if with_ids:
        ids, places = iter(checked.event_ids()), {refused.index for refused in invalid}
        count = checked.events + len(invalid)
        answer["eventIds"] = [None if place in places else next(ids) for place in range(count)]
    return json.dumps(answer).encode() if invalid or with_ids else b'{"accepted": %d}' % checked.events


class Intake:
    """Accepts events for one configuration; `envelope` and `keeps_invalid` may be replaced while it runs."""

    def __init__(self, inbox: Inbox, envelope: Envelope, *, keeps_invalid: bool = False) -> None:
        self._inbox = inbox
        self.envelope = envelope
        self.keeps_invalid = keeps_invalid
        """Whether what is no event is kept as a dead letter, unless a request says otherwise."""
        self._is_open = True
        self._has_told = False

    def close(self) -> None:
        """Accept nothing more; what is being stored is finished."""
        self._is_open = False

    async def accept(self, checked: Checked, invalid: Sequence[Refused] = ()) -> None:
        """Store events, and what is `invalid` as dead letters; durable on return.

        Raises UnavailableError or TooLargeError, NoRoomForInvalidError where only the dead letters do not fit; then
        nothing is stored.
        """
        if not self._is_open:
            raise ShuttingDownError("the forwarder is shutting down")
        if not invalid:
            await self._inbox.append(checked.segments)
            return
        try:
            await self._inbox.append(checked.segments, burials(invalid, self.envelope.max_event_bytes))
        except (ShareFullError, TooLargeError) as error:
            if isinstance(error, ShareFullError) and error.destination != INVALID:
                raise
            self._tell(error)
            raise NoRoomForInvalidError(error.message) from None
        self._has_told = False

    async def accept_or(self, checked: Checked, invalid: Sequence[Refused], refuse: Callable[[], object]) -> None:
        """Store as `accept` does; where the dead letters do not fit, `refuse` raises what is wrong with the request."""
        try:
            await self.accept(checked, invalid)
        except NoRoomForInvalidError:
            refuse()
            raise

    def _tell(self, error: ShareFullError | TooLargeError) -> None:
        """Say, once, that what is invalid is refused for want of room."""
        if not self._has_told:
            self._has_told = True
            hint = "what is invalid is refused; replay or purge the dead letters of the account invalid"
            log.warning("invalid.full", reason=error.message, hint=hint)

    async def wait_space(self, timeout: float) -> None:
        """Return when the queue may have space again, or after `timeout` seconds."""
        await self._inbox.wait_space(timeout)
