"""One batch on its way to the destination, in parts where it has to be.

The parts that are not settled are kept in order, the oldest on top: a batch that is rejected is
halved, one that is too large is cut to a size that may pass, and the first part goes first, so
events are delivered in order but for those that die. A part that was tried stays as it is until it
is settled, so a retry sends the same bytes. Whatever is not settled in the end goes back to the
queue.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import assert_never

import structlog

from forwarder.config import DestinationConfig
from forwarder.delivery.attempt import Answer, Client
from forwarder.delivery.batching import events_within
from forwarder.delivery.guard import Verdict
from forwarder.delivery.link import Link
from forwarder.delivery.responses import outcome_of
from forwarder.errors import DiskFullError, StorageError
from forwarder.model import Batch, Burial, Outcome
from forwarder.queue.base import Queue

log = structlog.get_logger(__name__)


class Delivery:
    """The way of one batch: `prepare` it, `run` it, and in any case `give_back` what is left.

    `sign` returns the signed payload of a batch.
    """

    def __init__(
        self,
        batch: Batch,
        *,
        config: DestinationConfig,
        queue: Queue,
        client: Client,
        link: Link,
        sign: Callable[[Batch], Awaitable[bytes]],
    ) -> None:
        self._name = batch.destination
        self._config = config
        self._queue = queue
        self._client = client
        self._link = link
        self._sign = sign
        self._work = [batch]
        self._limits = link.limits()
        self._suspects: list[Batch] = []
        # Positions of events that were rejected before something behind them went through.
        self._doubted: set[int] = set()
        self._signed: tuple[Batch, bytes] | None = None
        self._failures_before = 0
        self.has_begun = False
        """Whether it has been given a slot."""
        self.is_answered = False
        """Whether all of it was answered, and only settlements are left."""

    async def prepare(self) -> bytes:
        """Sign the first part, unless that is done; return what is to be sent."""
        part = self._next_part()
        if self._signed is None or self._signed[0] is not part:
            self._signed = (part, await self._sign(part))
        return self._signed[1]

    async def run(self) -> None:
        """Send until all is settled, or until the rest is to be given back."""
        # Others have been answered since it was prepared: it may be known by now what is too large.
        self._limits = self._link.limits()
        while self._work:
            body = await self.prepare()
            if not await self._link.gate.may_send():
                return
            if not await self._act(self._work[-1], await self._send(body)):
                return

    def give_back(self) -> bool:
        """Give what is not settled back to the queue; return whether there was any."""
        self._clear_suspects()
        for part in self._work:
            self._queue.release(part)
        had_any = bool(self._work)
        self._work.clear()
        return had_any

    def _next_part(self) -> Batch:
        """Return the oldest part, cut to what the destination is thought to take."""
        part, limits = self._work[-1], self._limits
        if part.events > 1 and (part.events > limits.max_events or len(part.data) >= limits.max_bytes):
            count = events_within(part.data, limits)
            if count < part.events:
                self._work[-1:] = reversed(part.split(count))
        return self._work[-1]

    async def _send(self, body: bytes) -> Answer:
        self._failures_before = self._link.failures
        self._link.attempts += 1
        with self._link.gate.sending():
            return await self._client.send(body)

    # --- what the answers ask for --------------------------------------------------------------

    async def _act(self, part: Batch, answer: Answer) -> bool:
        """Do what an answer asks for; return whether to go on with this batch."""
        outcome = outcome_of(answer.status, self._config.responses)
        if outcome is not Outcome.DELIVERED:
            self._link.failed(answer)
        match outcome:
            case Outcome.DELIVERED:
                await self._delivered(part)
            case Outcome.DEFERRED:
                seconds = self._link.defer(answer, self._failures_before)
                self._log("batch.deferred", part, answer, retry_in=round(seconds, 3))
                await self._give_up_old()
            case Outcome.HELD:
                # What it says of events after that wait may have another reason.
                self._doubted.clear()
                self._log("batch.held", part, answer, retry_in=self._link.hold(self._failures_before))
                await self._give_up_old()
            case Outcome.TOO_LARGE:
                return self._cut(part, answer) or await self._refused(part, answer, "too_large")
            case Outcome.REJECTED:
                return self._halve(part, answer) or await self._refused(part, answer, "rejected")
            case _:
                assert_never(outcome)
        return True

    async def _delivered(self, part: Batch) -> None:
        self._link.capacity.passed(part.events, len(part.data) + 1)
        if self._link.succeeded():
            log.info("destination.recovered", destination=self._name)
        log.debug("batch.delivered", destination=self._name, events=part.events, bytes=len(part.data))
        self._work.pop()
        self._try_suspects_again()
        if not self._work:
            self.is_answered = True
            self._link.gate.answered()
        await self._queue.settle(part)

    def _try_suspects_again(self) -> None:
        """Send those that were rejected once more: something behind them went through.

        Either they are bad, or the destination was mended while they were being tried, which may
        take long. What is rejected now is bad.
        """
        if self._suspects:
            self._doubted = {suspect.position for suspect in self._suspects}
            self._work.append(_joined(self._suspects))
            self._suspects.clear()

    def _cut(self, part: Batch, answer: Answer) -> bool:
        """Learn from a part that was too large; return False for a single event, which cannot be cut."""
        if part.events == 1:
            return False
        self._link.capacity.too_large(part.events, len(part.data) + 1)
        self._limits = self._link.limits()
        log.info(
            "batch.too_large",
            destination=self._name,
            events=part.events,
            bytes=len(part.data),
            status=answer.status,
            next_events=self._limits.max_events,
            next_bytes=self._limits.max_bytes,
        )
        return True

    def _halve(self, part: Batch, answer: Answer) -> bool:
        """Halve a part; return False for a single event."""
        if part.events == 1:
            return False
        log.debug("batch.halved", destination=self._name, events=part.events, status=answer.status)
        self._work[-1:] = reversed(part.split(part.events // 2))
        return True

    async def _refused(self, part: Batch, answer: Answer, reason: str) -> bool:
        """Bury a single event that was refused, if that is to be believed; return whether to go on."""
        verdict = Verdict.BURY if part.position in self._doubted else self._link.guard.rejected()
        match verdict:
            case Verdict.BURY:
                self._log("event.dead", part, answer, reason=reason)
                self._work.pop()
                await self._queue.settle(part, Burial(reason, answer.status, answer.detail))
                return True
            case Verdict.SUSPECT:
                self._suspects.append(self._work.pop())
                if self._work:
                    return True
            case Verdict.HOLD:
                pass
        self._link.guard.held()
        hint = "mend the destination, then: forwarder queue resume"
        seconds = self._link.hold(self._failures_before)
        self._log("batch.held", part, answer, retry_in=seconds, reason="everything is refused", hint=hint)
        self._clear_suspects()
        await self._give_up_old()
        return False

    def _clear_suspects(self) -> None:
        """Put those that were rejected back to where they were: it is not known that they are bad."""
        self._work += reversed(self._suspects)
        self._suspects.clear()

    # --- age -----------------------------------------------------------------------------------

    async def _give_up_old(self) -> None:
        """Bury what is older than `give_up_after`: here, and what waits in the queue behind it."""
        before = self._link.expires_before()
        if before is None:
            return
        error = self._link.last_error
        burial = Burial("expired", error.status if error else None, error.detail if error else "")
        expired = 0
        while self._work and (count := _accepted_before(self._work[-1], before)):
            if count < self._work[-1].events:
                self._work[-1:] = reversed(self._work[-1].split(count))
            await self._queue.settle(self._work.pop(), burial)
            expired += count
        try:
            expired += await self._queue.expire(self._name, before, burial)
        except (DiskFullError, StorageError) as failure:
            # They expire with the next attempt after the storage works again.
            log.warning("events.not_expired", destination=self._name, reason=failure.message, hint=failure.hint)
        if expired:
            log.error("events.expired", destination=self._name, events=expired, hint="see forwarder dead list")

    def _log(self, what: str, part: Batch, answer: Answer, **more: object) -> None:
        log.warning(
            what, destination=self._name, events=part.events, status=answer.status, detail=answer.detail, **more
        )


def _joined(parts: Sequence[Batch]) -> Batch:
    """Return parts of one batch as one."""
    slices = tuple(run for part in parts for run in part.slices)
    return Batch(parts[0].destination, slices, b"".join(part.data for part in parts))


def _accepted_before(batch: Batch, before: float) -> int:
    """Return how many of the first events of a batch were accepted before a time."""
    count = 0
    for part in batch.slices:
        if part.accepted_at >= before:
            break
        count += part.events
    return count
