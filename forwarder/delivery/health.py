"""The health of a destination: what is known of it between two attempts, and shown to people.

All deliveries of a destination share it. A failure that one of them meets makes all of them wait, and is
counted once, however many were under way: four requests that fail together are one failure.
"""

from __future__ import annotations

import asyncio
import random
import time

from forwarder.delivery.backoff import Backoff
from forwarder.delivery.batch_size import BatchSize
from forwarder.delivery.clock import Clock
from forwarder.delivery.gate import ANY_TAKEN, BACKOFF, MENDING, RETRY_AFTER, Gate
from forwarder.delivery.outage import Outage
from forwarder.delivery.pipeline import Pipeline
from forwarder.delivery.policy import Policy
from forwarder.delivery.rate import Rate
from forwarder.delivery.suspects import Suspects
from forwarder.delivery.triage import Triage
from forwarder.destination.base import Answer
from forwarder.model import LastError, Limits, Obstacle
from forwarder.observe.base import Observer

# While something is set aside, what waits is sent in so many parts: each part that is taken makes a refusal count.
_PARTS = 4


class Health:
    """The gate, the record of successes and failures, the suspects, the triage and the size of a batch."""

    def __init__(
        self,
        policy: Policy,
        clock: Clock,
        pipeline: Pipeline,
        observer: Observer,
        *,
        paused: bool,
        outage: Outage | None = None,
    ) -> None:
        self.observer = observer
        self.outage = Outage() if outage is None else outage
        self.rate = Rate(policy.max_rate.events, policy.max_rate.bytes)
        self.gate = Gate(pipeline, self.rate, paused=paused)
        self.attempts = 0
        self.failures = 0
        self.last_success: float | None = None
        self.last_error: LastError | None = None
        self.key_refused: int | None = None
        """The status by which the key was refused last, if nothing has been taken since."""
        self.sent_again = 0
        """Batches that may have been taken but were not answered, and were sent again."""
        self.largest = 0
        """Bytes of the events of the largest request that was taken since the start."""
        self.most_events = 0
        """The most events of a request that was taken, since the start or since as many were refused without reason."""
        self._retry = policy.retry
        self._holds = 0
        self.backoff = Backoff(policy.retry.initial, policy.retry.max, policy.retry.multiplier)
        self.suspects = Suspects(self.backoff)
        self.triage = Triage(self.suspects)
        self.set_aside = asyncio.Event()
        """Set when something is set aside."""
        self._clock = clock
        clock.observe(time.time(), time.monotonic())
        self.batch_size = BatchSize(self.rate.within(Limits(policy.batch.max_events, policy.batch.max_bytes)))

    def limits(self, waiting: int) -> Limits:
        """Return the most that a batch may hold that is leased now, while so many events wait."""
        limits = self.batch_size.limits
        if not self.suspects:
            return limits
        return Limits(min(limits.max_events, max(1, waiting // _PARTS)), limits.max_bytes)

    def distrust(self, events: int, *, failed: bool) -> None:
        """Begin a triage: a batch was refused, or goes on failing, so one request goes at a time, in parts."""
        self.triage.begin(events, failed=failed)
        self.gate.narrow(True)

    def succeeded(self, events: int, size: int) -> int:
        """Note a success; return how many events are set aside because of it.

        The gate stays as it is: if another delivery has closed it meanwhile, that wait still counts.
        """
        self.failures = self._holds = 0
        self.last_success = time.time()
        self.key_refused = None
        self.largest = max(self.largest, size)
        self.most_events = max(self.most_events, events)
        set_aside = self.suspects.taken(time.monotonic())
        if self.suspects:
            self.set_aside.set()
        return set_aside

    def failed(self, answer: Answer) -> None:
        """Note what the destination said instead of taking a batch."""
        self.last_error = LastError(time.time(), answer.status, answer.detail, answer.hint)
        if answer.refuses_key:
            self.key_refused = answer.status

    def defer(self, answer: Answer, failures_before: int) -> float:
        """Close the gate for a back-off; return its length in seconds."""
        self.count(failures_before)
        seconds = self.backoff.delay(
            self.failures,
            retry_after=answer.retry_after,
            random=random.random(),  # noqa: S311 - jitter is no secret
        )
        asked = answer.retry_after is not None and seconds <= answer.retry_after and seconds > 0.0
        self.gate.close_for(seconds, held=False, waiting_for=RETRY_AFTER if asked else BACKOFF)
        return seconds

    def hold(self, failures_before: int) -> float:
        """Hold the destination until somebody mends it, or until the next attempt; return the seconds until then."""
        if self.count(failures_before):
            self._holds += 1
        seconds = self.backoff.hold(max(0, self._holds - 1))
        self.gate.close_for(seconds, held=True, waiting_for=ANY_TAKEN if self.triage.is_held else MENDING)
        return seconds

    def resume(self) -> None:
        """Try again at once: somebody says that the destination is mended."""
        self._holds = 0
        self.gate.resume()

    def count(self, failures_before: int) -> bool:
        """Count a failure, unless another attempt that was under way at the same time has been counted already.

        `failures_before` is the number of failures when the attempt began. Return whether it was counted.
        """
        if self.failures > failures_before:
            return False
        self.failures += 1
        return True

    def expires_before(self) -> float | None:
        """Return the time before which an event must have been accepted to be given up now, or None."""
        if self._retry.give_up_after is None:
            return None
        self._clock.observe(time.time(), time.monotonic())
        return self._clock.accepted_before(self._retry.give_up_after, time.monotonic())

    @property
    def obstacle(self) -> Obstacle | None:
        """What keeps it from taking everything, although it answers."""
        now, suspect = time.monotonic(), self.suspects.any_of()
        if (seconds := self.suspects.distrusted_for(now)) > 0:
            return Obstacle("distrusted", seconds)
        if self.triage.is_held:
            return Obstacle("all_refused")
        if suspect is not None:
            return Obstacle("set_aside", detail=suspect.burial.detail, has_failed=suspect.failures > 0)
        # Shorter waits are what a limit is for.
        if (seconds := self.rate.ready_at - now) > 1.0:
            return Obstacle("rate", seconds)
        return None
