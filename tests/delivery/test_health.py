"""What is known of a destination between two attempts."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest

from forwarder.config import BatchConfig, RetryConfig
from forwarder.config.schema import RateConfig
from forwarder.delivery.clock import Clock
from forwarder.delivery.gate import ANY_TAKEN, BACKOFF, MENDING, RETRY_AFTER
from forwarder.delivery.health import Health
from forwarder.delivery.suspects import Suspect
from forwarder.destination.base import Answer
from forwarder.model import Burial, Limits, Outcome, Slice, State
from forwarder.observe.logs import Logs
from tests.delivery.conftest import destination, idle_pipeline

BUSY = Answer(Outcome.DEFERRED, "503 Busy", status=503)


def new_health(**settings: Any) -> Health:
    return Health(destination(**settings), Clock(), idle_pipeline(), Logs(), paused=False)


class TestFailures:
    def test_each_round_counts(self) -> None:
        """Failures after each other lengthen the back-off up to its maximum."""
        health = new_health(retry=RetryConfig(initial=1.0, max=8.0))
        for count in range(1, 100):
            assert 0 <= health.defer(BUSY, health.failures) <= min(8.0, 2.0 ** (count - 1))
            assert health.failures == count

    def test_attempts_that_fail_together_count_once(self) -> None:
        """Four attempts in flight that fail together are one failure of the destination."""
        health = new_health()
        for _ in range(4):
            health.defer(BUSY, 0)
        assert health.failures == 1
        health.hold(1)
        assert health.failures == 2

    def test_a_delivery_forgets_them(self) -> None:
        """A delivery ends a row of failures."""
        health = new_health()
        health.defer(BUSY, 0)
        assert health.succeeded(1, 10) == 0
        assert health.failures == 0
        assert health.last_success == pytest.approx(time.time(), abs=60)
        health.defer(BUSY, 5)
        assert health.failures == 1

    def test_a_delivery_opens_nothing(self) -> None:
        """What was on its way when another attempt was told to wait does not shorten that wait."""
        health = new_health(retry=RetryConfig(max=1000.0))
        health.defer(Answer(Outcome.DEFERRED, retry_after=600.0), 0)
        health.succeeded(1, 10)
        assert health.gate.state is State.BACKING_OFF
        assert health.gate.next_attempt_in == pytest.approx(600, abs=10)

    def test_last_error(self) -> None:
        """The last failure is kept for the status, with its time."""
        health = new_health()
        assert health.last_error is None
        health.failed(BUSY)
        assert health.last_error is not None
        assert (health.last_error.status, health.last_error.detail) == (503, "503 Busy")
        assert health.last_error.at == pytest.approx(time.time(), abs=60)


class TestKey:
    def test_is_refused_until_something_is_taken(self) -> None:
        """That the key was refused is known, with the status, whatever other failures follow, until a success."""
        health = new_health()
        health.failed(BUSY)
        assert health.key_refused is None
        health.failed(Answer(Outcome.HELD, "403 No", status=403, refuses_key=True))
        health.failed(BUSY)
        assert health.key_refused == 403
        health.succeeded(1, 10)
        assert health.key_refused is None


class TestRetryAfter:
    @pytest.mark.parametrize(
        ("asked", "least", "most"), [(20.0, 20, 20.1), (1e9, 60, 60), (0.0, 0, 0.1), (None, 0, 0.1)]
    )
    def test_is_honoured_and_capped(self, asked: float | None, least: float, most: float) -> None:
        """The destination may ask for more time, up to `retry.max`."""
        health = new_health(retry=RetryConfig(initial=0.1, max=60.0))
        assert least <= health.defer(Answer(Outcome.DEFERRED, retry_after=asked), 0) <= most

    def test_holds_come_back_soon_at_first(self) -> None:
        """A destination that must be mended is tried again soon, then every `retry.max`; soon again after a success."""
        health = new_health(retry=RetryConfig(max=60.0))
        assert [health.hold(health.failures) for _ in range(4)] == [5.0, 30.0, 60.0, 60.0]
        assert health.gate.state is State.HOLDING
        health.succeeded(1, 10)
        assert health.hold(health.failures) == 5.0

    def test_a_hold_is_never_longer_than_configured(self) -> None:
        """`retry.max` bounds the first waits, too."""
        assert new_health(retry=RetryConfig(initial=1.0, max=2.0)).hold(0) == 2.0


class TestWaitingFor:
    @pytest.mark.parametrize(
        ("asked", "expected"), [(20.0, RETRY_AFTER), (1e9, RETRY_AFTER), (0.0, BACKOFF), (None, BACKOFF)]
    )
    def test_a_back_off(self, monkeypatch: pytest.MonkeyPatch, asked: float | None, expected: str) -> None:
        """What is waited for is the back-off, or the Retry-After where that is longer."""
        monkeypatch.setattr(random, "random", lambda: 0.5)
        health = new_health(retry=RetryConfig(initial=1.0, max=60.0))
        health.defer(Answer(Outcome.DEFERRED, retry_after=asked), 0)
        assert health.gate.waiting_for == expected

    def test_a_hold(self) -> None:
        """A destination that is held waits to be mended; one that refuses everything, for anything that it takes."""
        health = new_health()
        health.hold(0)
        assert health.gate.waiting_for == MENDING
        health.triage.hold()
        health.hold(1)
        assert health.gate.waiting_for == ANY_TAKEN


class TestSizes:
    def test_as_configured(self) -> None:
        """At first a batch may be as large as configured."""
        health = new_health(batch=BatchConfig(max_events=7, max_bytes=1000))
        assert health.limits(3) == Limits(7, 1000)

    def test_parts_while_something_is_set_aside(self) -> None:
        """While something is set aside, little that waits is sent in several parts: each says something about it."""
        health = new_health(batch=BatchConfig(max_events=100, max_bytes=1000))
        health.suspects.doubt(Suspect(Slice(5, 1, 0.0), Burial("rejected", 400, "no")), 0.0, failed=False)
        assert [health.limits(waiting).max_events for waiting in (0, 1, 8, 40, 400, 10_000)] == [1, 1, 2, 10, 100, 100]

    def test_no_more_than_the_rate_allows(self) -> None:
        """A batch is no larger than what one second allows."""
        health = new_health(max_rate=RateConfig(events=50, bytes=4096))
        assert health.limits(1000) == Limits(50, 3072)


class TestAge:
    def test_never_by_default(self) -> None:
        """Without a setting no event is too old."""
        assert new_health().expires_before() is None

    def test_as_old_as_configured(self) -> None:
        """Events expire by the time at which they were accepted."""
        health = new_health(retry=RetryConfig(give_up_after=3600.0))
        assert health.expires_before() == pytest.approx(time.time() - 3600, abs=60)

    @pytest.mark.parametrize("jump", [1e8, -1e8])
    def test_a_clock_that_jumps_makes_nothing_old(self, monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
        """A wall clock that is set forward, or back, does not make events expire before their time."""
        health = new_health(retry=RetryConfig(give_up_after=3600.0))
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + jump)
        before = health.expires_before()
        assert before is not None
        assert before <= now - 3600 + 60
