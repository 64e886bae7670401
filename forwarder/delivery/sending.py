"""One request to the destination: counted, paid for, and what is learned from its answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from forwarder.delivery.health import Health
from forwarder.delivery.policy import Policy
from forwarder.destination.base import Answer, Destination
from forwarder.envelope import event_id
from forwarder.model import Batch, Burial, Outcome, State, whole_lines
from forwarder.observe.facts import Attempted, Notice, Prepared, Settled, StateChanged
from forwarder.queue.base import Outbox

_REASONS = {Outcome.DEFERRED: "failing", Outcome.TOO_LARGE: "too_large", Outcome.REJECTED: "rejected"}


class Result(NamedTuple):
    """The answer to one attempt, and the number of failures in a row when it began."""

    answer: Answer
    failures_before: int

    @property
    def outcome(self) -> Outcome:
        return self.answer.outcome


class Sending:
    """Sends requests to one destination, and judges what their answers say about events, sizes and servers.

    `waiting` returns how many events wait in its queue.
    """

    def __init__(
        self, name: str, policy: Policy, destination: Destination, health: Health, waiting: Callable[[], int]
    ) -> None:
        self.name = name
        self.policy = policy
        self.health = health
        self._destination = destination
        self._observer = health.observer
        self._waiting = waiting

    async def prepare(self, batch: Batch) -> bytes:
        """Return a batch in the form in which it travels."""
        began = time.monotonic()
        body = await self._destination.prepare(batch)
        self._observer.saw(Prepared(self.name, batch.position, time.monotonic() - began))
        return body

    async def attempt(self, batch: Batch, body: bytes, *, fresh: bool = False) -> Result:
        """Send a body that the gate has let through, and note what came of it."""
        # Counted once: a batch may have a thousand slices.
        health, before, events = self.health, self.health.failures, batch.events
        health.attempts += 1
        health.rate.sent(events, len(body), time.monotonic())
        size, began = len(batch.data), time.monotonic()
        answer = await self._destination.send(body, fresh=fresh)
        seconds = time.monotonic() - began
        if answer.outcome is Outcome.DELIVERED:
            self._taken(events, size)
        else:
            health.failed(answer)
            # Whether it was taken is not known, and a batch is never given up for that.
            health.sent_again += answer.status is None and answer.is_about_events
        health.sent_again += answer.is_repeated
        self._observer.saw(Attempted(self.name, batch.position, answer.outcome, events, size, seconds, answer.status))
        return Result(answer, before)

    def _taken(self, events: int, size: int) -> None:
        health = self.health
        health.batch_size.passed(events, size + 1)
        set_aside = health.succeeded(events, size)
        if outage := health.outage:
            # A question about an event that is set aside has no place in the pipeline.
            gathered = max(events, health.gate.pipeline.events) + self._waiting()
            seconds = outage.seconds(time.monotonic())
            lasted = seconds, outage.attempts, outage.is_told
            ended = StateChanged(self.name, State.DELIVERING, gathered, None, "", 0.0, *lasted)
            self._observer.saw(ended)
            outage.end()
        if set_aside:
            details = {"destination": self.name, "events": set_aside, "in_all": len(health.suspects)}
            self._observer.saw(Notice("events.set_aside", details))

    def contradicted(self) -> None:
        """Note that something was taken that had been refused: refusals are not believed for a while."""
        if self.health.suspects.contradicted(time.monotonic()):
            reason = "it took what it had refused, as one of several servers may that refuses everything"
            self._observer.saw(Notice("destination.distrusted", {"destination": self.name, "reason": reason}))

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
        found = {"destination": self.name, "events": batch.events, "bytes": len(batch.data), "status": answer.status}
        following = {"next_events": limits.max_events, "next_bytes": limits.max_bytes}
        self._observer.saw(Notice("batch.too_large", found | following))

    def learn(self, batch: Batch, result: Result) -> None:
        """Send less at a time if there was no answer in time: the batch may have been too large to be dealt with."""
        if result.answer.timed_out and batch.events > 1:
            self.too_large(batch, result.answer)

    def is_trial(self, batch: Batch, result: Result) -> bool:
        """Whether a batch that was made larger on trial got no answer in time."""
        return result.answer.timed_out and batch.events > 1 and self.health.batch_size.is_trial

    def burial(self, result: Result) -> Burial:
        """Return why events would become dead letters after such an answer."""
        return Burial(_REASONS[result.outcome], result.answer.status, result.answer.detail)

    async def settle(self, queue: Outbox, batch: Batch, burial: Burial | None = None) -> None:
        """Settle events as delivered, or as dead; where there is no room for dead letters they are queued again."""
        began = time.monotonic()
        if await queue.settle(batch, burial):
            seconds = time.monotonic() - began
            ids = () if burial is None else tuple(map(event_id, whole_lines(batch.data)))
            self._observer.saw(Settled(self.name, batch.events, burial, False, ids, batch.position, seconds))

    def defer(self, batch: Batch, result: Result) -> None:
        """Let the destination alone for a back-off."""
        seconds = self.health.defer(result.answer, result.failures_before)
        answer = result.answer
        self.waits(State.BACKING_OFF, batch.events, answer.status, answer.detail, seconds)

    def hold(self, batch: Batch, result: Result) -> None:
        """Let the destination alone until somebody mends it, or for a while."""
        answer, seconds = result.answer, self.health.hold(result.failures_before)
        self.waits(State.HOLDING, batch.events, answer.status, answer.detail, seconds)

    def waits(self, state: State, events: int | None, status: int | None, detail: str, retry_in: float) -> None:
        """Tell that the destination is let alone; `events` is None where everything that waits is refused."""
        now, outage = time.monotonic(), self.health.outage
        is_news = outage.failed((state, events is None), now)
        lasts = outage.seconds(now), outage.attempts, is_news
        self._observer.saw(StateChanged(self.name, state, events, status, detail, retry_in, *lasts))
