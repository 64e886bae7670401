"""What is known of a destination between two attempts: its gate, its record, its guard, and the size it takes."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from forwarder.config import DestinationConfig
from forwarder.delivery.aging import Aging
from forwarder.delivery.attempt import Answer
from forwarder.delivery.backoff import Backoff
from forwarder.delivery.capacity import Capacity
from forwarder.delivery.gate import Gate
from forwarder.delivery.guard import Guard
from forwarder.delivery.responses import parse_retry_after
from forwarder.model import LastError, Limits

# Bytes of events that may be taken at once while a long run of bad events is suspected: bounds memory.
_REACH_BYTES = 16 * 1024 * 1024


class Link:
    """The shared state of all deliveries to one destination."""

    def __init__(self, config: DestinationConfig, aging: Aging, *, wake: Callable[[], None], paused: bool) -> None:
        self.gate = Gate(wake, paused=paused)
        self.guard = Guard()
        self.attempts = 0
        self.failures = 0
        self.last_success: float | None = None
        self.last_error: LastError | None = None
        self._retry = config.retry
        self._backoff = Backoff(config.retry.initial, config.retry.max, config.retry.multiplier)
        self._aging = aging
        aging.observe(time.time(), time.monotonic())
        self.capacity = Capacity(Limits(config.batch.max_events, config.batch.max_bytes))

    def limits(self) -> Limits:
        """Return the most that a batch may hold that is sent now."""
        return self.capacity.limits

    def reach(self) -> Limits:
        """Return the most that may be taken from the queue for one delivery, which sends it in parts.

        It is more than `limits` only while bad events are suspected: to clear up what they are, the
        destination must take an event behind them, which may be batches away.
        """
        limits = self.limits()
        if not self.guard.budget:
            return limits
        return Limits(max(limits.max_events, self.guard.budget + 1), max(limits.max_bytes, _REACH_BYTES))

    def succeeded(self) -> bool:
        """Take note of a delivery; return whether it ended a row of failures.

        The gate stays as it is: if another delivery has closed it meanwhile, that wait still holds.
        """
        recovered = self.failures > 0
        self.failures = 0
        self.last_success = time.time()
        self.guard.delivered()
        return recovered

    def failed(self, answer: Answer) -> None:
        """Take note of what the destination said instead of taking a batch."""
        self.last_error = LastError(time.time(), answer.status, answer.detail)

    def defer(self, answer: Answer, failures_before: int) -> float:
        """Close the gate for a back-off; return its length in seconds."""
        self._count(failures_before)
        retry_after = parse_retry_after(answer.retry_after, time.time())
        seconds = self._backoff.delay(
            self.failures,
            retry_after=retry_after,
            random=random.random(),  # noqa: S311 - jitter is no secret
        )
        self.gate.close_for(seconds, held=False)
        return seconds

    def hold(self, failures_before: int) -> float:
        """Close the gate until `retry.max` has passed or somebody mends the destination; return the seconds."""
        self._count(failures_before)
        self.gate.close_for(self._retry.max, held=True)
        return self._retry.max

    def _count(self, failures_before: int) -> None:
        """Count a failure, but attempts that were under way together and failed together only once.

        `failures_before` is the number of failures when the attempt began.
        """
        if self.failures <= failures_before:
            self.failures += 1

    def expires_before(self) -> float | None:
        """Return the time of acceptance before which events are given up, or None."""
        if self._retry.give_up_after is None:
            return None
        self._aging.observe(time.time(), time.monotonic())
        return self._aging.accepted_before(self._retry.give_up_after, time.monotonic())
