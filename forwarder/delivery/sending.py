"""One request to the destination: counted, paid for, and what is learned from its answer."""

from __future__ import annotations

import time
from typing import NamedTuple

import structlog

from forwarder.delivery.health import Health
from forwarder.delivery.policy import Policy
from forwarder.destination.base import Answer, Destination
from forwarder.model import Batch, Burial, Outcome
from forwarder.queue.base import Outbox

log = structlog.get_logger(__name__)


class Result(NamedTuple):
    """The answer to one attempt, and the number of failures in a row when it began."""

    answer: Answer
    failures_before: int

    @property
    def outcome(self) -> Outcome:
        return self.answer.outcome


class Sending:
    """Sends requests to one destination, and judges what their answers say about events, sizes and servers."""

    def __init__(self, name: str, policy: Policy, destination: Destination, health: Health) -> None:
        self.name = name
        self.policy = policy
        self.health = health
        self.prepare = destination.prepare
        self._destination = destination

    async def attempt(self, batch: Batch, body: bytes, *, fresh: bool = False) -> Result:
        """Send a body that the gate has let through, and note what came of it."""
        # Counted once: a batch may have a thousand slices.
        health, before, events = self.health, self.health.failures, batch.events
        health.attempts += 1
        health.rate.sent(events, len(body), time.monotonic())
        answer = await self._destination.send(body, fresh=fresh)
        if answer.outcome is Outcome.DELIVERED:
            self._taken(events, len(batch.data))
        else:
            health.failed(answer)
        return Result(answer, before)

    def _taken(self, events: int, size: int) -> None:
        health = self.health
        health.batch_size.passed(events, size + 1)
        recovered, set_aside = health.succeeded(events, size)
        if recovered:
            log.info("destination.recovered", destination=self.name)
        if set_aside:
            log.warning(
                "events.set_aside",
                destination=self.name,
                events=set_aside,
                in_all=len(health.suspects),
                hint="they were refused or failed alone; others are delivered meanwhile, and they are tried again",
            )
        log.debug("batch.delivered", destination=self.name, events=events, bytes=size)

    def contradicted(self) -> None:
        """Note that something was taken that had been refused: refusals are not believed for a while."""
        if self.health.suspects.contradicted(time.monotonic()):
            log.warning(
                "destination.distrusted",
                destination=self.name,
                reason="it took what it had refused, as one of several servers may that refuses everything",
                hint="its refusals count as failures for a while; look for the server that answers so",
            )

    def taken_in_parts(self, events: int, size: int) -> None:
        """Learn from a batch that was refused as a whole, by whatever status, and then taken in parts.

        It was too large. But if as much was taken before, it was probably one of several servers that refused it.
        """
        if events <= self.health.most_events and size <= self.health.largest + 1:
            # The limit may also have become lower: forget what was taken, so that the next time counts as too large.
            self.health.most_events = 0
            self.contradicted()
        else:
            self.health.batch_size.too_large(events, size)

    def is_believed(self) -> bool:
        """Whether a refusal counts as one."""
        return self.health.suspects.believes(time.monotonic())

    def is_too_large_alone(self, result: Result, batch: Batch) -> bool:
        """Whether a single event can never be taken: it was called too large, and is larger than all that was taken."""
        is_single = result.outcome is Outcome.TOO_LARGE and batch.events == 1
        return is_single and 0 < self.health.largest < len(batch.data)

    def may_be_cut(self, result: Result) -> bool:
        """Whether a batch that was not taken is worth trying in parts: one event, or the size, may be to blame."""
        return self.policy.retry.isolate and (result.answer.is_about_events or result.outcome is not Outcome.DEFERRED)

    def too_large(self, batch: Batch, answer: Answer) -> None:
        """Send less at a time: a batch of several events was too large."""
        self.health.batch_size.too_large(batch.events, len(batch.data) + 1)
        limits = self.health.batch_size.limits
        log.info(
            "batch.too_large",
            destination=self.name,
            events=batch.events,
            bytes=len(batch.data),
            status=answer.status,
            next_events=limits.max_events,
            next_bytes=limits.max_bytes,
        )

    def learn(self, batch: Batch, result: Result) -> None:
        """Send less at a time if there was no answer in time: the batch may have been too large to be dealt with."""
        if result.answer.timed_out and batch.events > 1:
            self.too_large(batch, result.answer)

    def is_trial(self, batch: Batch, result: Result) -> bool:
        """Whether a batch that was made larger on trial got no answer in time."""
        return result.answer.timed_out and batch.events > 1 and self.health.batch_size.is_trial

    def reason(self, result: Result) -> str:
        """Return the reason that a dead letter would have after such an answer."""
        if result.outcome is Outcome.DEFERRED:
            return "failing"
        return "too_large" if result.outcome is Outcome.TOO_LARGE else "rejected"

    async def bury(self, queue: Outbox, batch: Batch, burial: Burial) -> None:
        """Settle events as dead."""
        log.warning(
            "event.dead",
            destination=self.name,
            events=batch.events,
            reason=burial.reason,
            status=burial.status,
            detail=burial.detail,
            hint="see forwarder dead list",
        )
        await queue.settle(batch, burial)

    def log(self, what: str, batch: Batch, answer: Answer, **more: object) -> None:
        """Say what a batch was answered."""
        log.warning(
            what, destination=self.name, events=batch.events, status=answer.status, detail=answer.detail, **more
        )
