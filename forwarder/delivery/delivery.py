"""One batch on its way to the destination, in parts where it has to be.

The parts that are not settled are kept in order, the oldest on top: a batch that is rejected or too
large is halved, and the left half goes first, so events are delivered in order but for those that
die. Whatever is not settled when a delivery ends goes back to the queue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import assert_never

import structlog

from forwarder.config import DestinationConfig
from forwarder.delivery.attempt import Answer, Client
from forwarder.delivery.batching import events_within
from forwarder.delivery.guard import Verdict
from forwarder.delivery.link import Link
from forwarder.delivery.responses import outcome_of
from forwarder.model import Batch, Burial, Limits, Outcome
from forwarder.queue.base import Queue

log = structlog.get_logger(__name__)


class Delivery:
    """The way of one batch. `sign` returns the signed payload of a batch."""

    def __init__(
        self,
        batch: Batch,
        body: bytes,
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
        self._suspects: list[tuple[Batch, Burial]] = []
        self._signed = (batch, body)
        self._was_too_large = False

    async def run(self) -> bool:
        """Send until all is settled; return False if something was given back to the queue."""
        try:
            while self._work and await self._link.gate.may_send():
                part = self._next_part()
                answer = await self._send(part)
                if not await self._act(part, answer):
                    break
        finally:
            left = [*self._work, *(suspect for suspect, _ in self._suspects)]
            for batch in left:
                self._queue.release(batch)
        return not left

    def _next_part(self) -> Batch:
        """Return the oldest part, cut to the size that the destination is known to take."""
        part = self._work[-1]
        count = events_within(part.data, self._link.limits()) if self._was_too_large else part.events
        if count < part.events:
            self._work[-1:] = reversed(part.split(count))
        return self._work[-1]

    async def _send(self, part: Batch) -> Answer:
        if self._signed[0] is not part:
            self._signed = (part, await self._sign(part))
        self._link.attempts += 1
        with self._link.gate.sending():
            return await self._client.send(self._signed[1])

    async def _act(self, part: Batch, answer: Answer) -> bool:
        """Do what the answer asks for; return whether to go on with this batch."""
        outcome = outcome_of(answer.status, self._config.responses)
        if outcome is not Outcome.DELIVERED:
            self._link.failed(answer)
        match outcome:
            case Outcome.DELIVERED:
                await self._delivered(part)
            case Outcome.DEFERRED:
                self._log("batch.deferred", part, answer, retry_in=round(self._link.defer(answer), 3))
                await self._give_up_old()
            case Outcome.HELD:
                self._log("batch.held", part, answer, retry_in=self._link.hold())
                await self._give_up_old()
            case Outcome.TOO_LARGE:
                self._was_too_large = True
                await self._halve_or(part, answer, "too_large")
            case Outcome.REJECTED:
                return await self._rejected(part, answer)
            case _:
                assert_never(outcome)
        return True

    async def _delivered(self, part: Batch) -> None:
        if self._was_too_large:
            self._link.remember_size(Limits(part.events, len(part.data) + 1))
        self._link.guard.delivered()
        if self._link.succeeded():
            log.info("destination.recovered", destination=self._name)
        log.debug("batch.delivered", destination=self._name, events=part.events, bytes=len(part.data))
        self._work.pop()
        # Something behind them went through, so those that were rejected were bad.
        suspects, self._suspects = self._suspects, []
        await asyncio.gather(
            *(self._queue.settle(suspect, burial) for suspect, burial in suspects), self._queue.settle(part)
        )

    async def _rejected(self, part: Batch, answer: Answer) -> bool:
        if part.events > 1:
            await self._halve_or(part, answer, "rejected")
            return True
        verdict = self._link.guard.rejected()
        if verdict is Verdict.BURY:
            await self._bury(part, answer, "rejected")
            return True
        if verdict is Verdict.SUSPECT:
            self._suspects.append((self._work.pop(), Burial("rejected", answer.status, answer.detail)))
            if self._work:
                return True
        self._link.guard.held()
        hint = "mend the destination, then: forwarder queue resume"
        self._log("batch.held", part, answer, retry_in=self._link.hold(), reason="everything is rejected", hint=hint)
        return False

    async def _halve_or(self, part: Batch, answer: Answer, reason: str) -> None:
        """Halve a part; a single event is buried."""
        if part.events == 1:
            await self._bury(part, answer, reason)
            return
        log.debug("batch.halved", destination=self._name, events=part.events, status=answer.status)
        self._work[-1:] = reversed(part.split(part.events // 2))

    async def _bury(self, part: Batch, answer: Answer, reason: str) -> None:
        self._log("event.dead", part, answer, reason=reason)
        self._work.pop()
        await self._queue.settle(part, Burial(reason, answer.status, answer.detail))

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
        expired += await self._queue.expire(self._name, before, burial)
        if expired:
            log.error("events.expired", destination=self._name, events=expired, hint="see forwarder dead list")

    def _log(self, what: str, part: Batch, answer: Answer, **more: object) -> None:
        log.warning(
            what, destination=self._name, events=part.events, status=answer.status, detail=answer.detail, **more
        )


def _accepted_before(batch: Batch, before: float) -> int:
    """Return how many of the first events of a batch were accepted before a time."""
    count = 0
    for part in batch.slices:
        if part.accepted_at >= before:
            break
        count += part.events
    return count
