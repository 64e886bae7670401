"""What is known of a destination between two attempts: its gate, its record, and the size it takes."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from forwarder.config import DestinationConfig
from forwarder.delivery.attempt import Answer
from forwarder.delivery.backoff import Backoff
from forwarder.delivery.batching import smaller
from forwarder.delivery.gate import Gate
from forwarder.delivery.guard import Guard
from forwarder.delivery.responses import parse_retry_after
from forwarder.model import Limits

# Seconds for which the size that passed after a 413 is remembered; then larger batches are tried again.
_REMEMBER_SIZE = 3600.0


@dataclass(frozen=True, slots=True)
class LastError:
    """The last attempt that failed; `at` in seconds since the epoch, `status` None without an answer."""

    at: float
    status: int | None
    detail: str


class Link:
    """The shared state of all deliveries to one destination."""

    def __init__(self, config: DestinationConfig, *, wake: Callable[[], None], paused: bool) -> None:
        self.gate = Gate(wake, paused=paused)
        self.guard = Guard()
        self.attempts = 0
        self.failures = 0
        self.last_success: float | None = None
        self.last_error: LastError | None = None
        self._retry = config.retry
        self._backoff = Backoff(config.retry.initial, config.retry.max, config.retry.multiplier)
        self._limits = Limits(config.batch.max_events, config.batch.max_bytes)
        self._passed: Limits | None = None
        self._passed_until = 0.0
        self._wall_offset = time.time() - time.monotonic()

    def limits(self) -> Limits:
        """Return the most that a batch may hold now."""
        if self._passed is not None and time.monotonic() > self._passed_until:
            self._passed = None
        return smaller(self._limits, self._passed)

    def remember_size(self, passed: Limits) -> None:
        """Keep batches to a size that the destination took after it had called one too large."""
        self._passed = passed
        self._passed_until = time.monotonic() + _REMEMBER_SIZE

    def succeeded(self) -> bool:
        """Take note of a delivery; return whether it ended a row of failures."""
        recovered = self.failures > 0
        self.failures = 0
        self.last_success = time.time()
        self.gate.open()
        return recovered

    def failed(self, answer: Answer) -> None:
        """Take note of what the destination said instead of taking a batch."""
        self.last_error = LastError(time.time(), answer.status, answer.detail)

    def defer(self, answer: Answer) -> float:
        """Close the gate for a back-off; return its length in seconds."""
        self.failures += 1
        retry_after = parse_retry_after(answer.retry_after, time.time())
        seconds = self._backoff.delay(
            self.failures,
            retry_after=retry_after,
            random=random.random(),  # noqa: S311 - jitter is no secret
        )
        self.gate.close_for(seconds, held=False)
        return seconds

    def hold(self) -> float:
        """Close the gate until `retry.max` has passed or somebody mends the destination; return the seconds."""
        self.failures += 1
        self.gate.close_for(self._retry.max, held=True)
        return self._retry.max

    def expires_before(self) -> float | None:
        """Return the time of acceptance before which events are given up, or None.

        A wall clock that jumps forward must not make events old, so the time that has passed since
        the start is taken from the monotonic clock where that is less.
        """
        if self._retry.give_up_after is None:
            return None
        now = min(time.time(), self._wall_offset + time.monotonic())
        return now - self._retry.give_up_after
