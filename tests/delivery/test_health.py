"""What is known of a destination between two attempts."""

from __future__ import annotations

import time
from typing import Any

import pytest

from forwarder.config import BatchConfig, RetryConfig
from forwarder.config.schema import RateConfig
from forwarder.delivery.clock import Aging
from forwarder.delivery.health import Link
from forwarder.delivery.suspects import Suspect
from forwarder.destination.base import Answer
from forwarder.model import Limits, Outcome, Slice, State
from tests.delivery.conftest import destination, idle_pipeline

BUSY = Answer(Outcome.DEFERRED, "503 Busy", status=503)


def new_link(**settings: Any) -> Link:
    return Link(destination(**settings), Aging(), idle_pipeline(), paused=False)


class TestFailures:
    def test_each_round_counts(self) -> None:
        """Failures after each other lengthen the back-off up to its maximum."""
        link = new_link(retry=RetryConfig(initial=1.0, max=8.0))
        for count in range(1, 100):
            assert 0 <= link.defer(BUSY, link.failures) <= min(8.0, 2.0 ** (count - 1))
            assert link.failures == count

    def test_attempts_that_fail_together_count_once(self) -> None:
        """Four attempts in flight that fail together are one failure of the destination."""
        link = new_link()
        for _ in range(4):
            link.defer(BUSY, 0)
        assert link.failures == 1
        link.hold(1)
        assert link.failures == 2

    def test_a_delivery_forgets_them(self) -> None:
        """A delivery ends a row of failures, and says so once."""
        link = new_link()
        assert link.succeeded(1, 10) == (False, 0)
        link.defer(BUSY, 0)
        assert link.succeeded(1, 10) == (True, 0)
        assert link.failures == 0
        assert link.last_success == pytest.approx(time.time(), abs=60)
        link.defer(BUSY, 5)
        assert link.failures == 1

    def test_a_delivery_opens_nothing(self) -> None:
        """What was on its way when another attempt was told to wait does not shorten that wait."""
        link = new_link(retry=RetryConfig(max=1000.0))
        link.defer(Answer(Outcome.DEFERRED, retry_after=600.0), 0)
        link.succeeded(1, 10)
        assert link.gate.state is State.BACKING_OFF
        assert link.gate.next_attempt_in == pytest.approx(600, abs=10)

    def test_last_error(self) -> None:
        """The last failure is kept for the status, with its time."""
        link = new_link()
        assert link.last_error is None
        link.failed(BUSY)
        assert link.last_error is not None
        assert (link.last_error.status, link.last_error.detail) == (503, "503 Busy")
        assert link.last_error.at == pytest.approx(time.time(), abs=60)


class TestRetryAfter:
    @pytest.mark.parametrize(
        ("asked", "least", "most"), [(20.0, 20, 20.1), (1e9, 60, 60), (0.0, 0, 0.1), (None, 0, 0.1)]
    )
    def test_is_honoured_and_capped(self, asked: float | None, least: float, most: float) -> None:
        """The destination may ask for more time, up to `retry.max`."""
        link = new_link(retry=RetryConfig(initial=0.1, max=60.0))
        assert least <= link.defer(Answer(Outcome.DEFERRED, retry_after=asked), 0) <= most

    def test_holds_come_back_soon_at_first(self) -> None:
        """A destination that must be mended is tried again soon, then every `retry.max`; soon again after a success."""
        link = new_link(retry=RetryConfig(max=60.0))
        assert [link.hold(link.failures) for _ in range(4)] == [5.0, 30.0, 60.0, 60.0]
        assert link.gate.state is State.HOLDING
        link.succeeded(1, 10)
        assert link.hold(link.failures) == 5.0

    def test_a_hold_is_never_longer_than_configured(self) -> None:
        """`retry.max` bounds the first waits, too."""
        assert new_link(retry=RetryConfig(initial=1.0, max=2.0)).hold(0) == 2.0


class TestSizes:
    def test_as_configured(self) -> None:
        """At first a batch may be as large as configured."""
        link = new_link(batch=BatchConfig(max_events=7, max_bytes=1000))
        assert link.limits(3) == Limits(7, 1000)

    def test_parts_while_something_is_set_aside(self) -> None:
        """While something is set aside, little that waits is sent in several parts: each says something about it."""
        link = new_link(batch=BatchConfig(max_events=100, max_bytes=1000))
        link.suspects.doubt(Suspect(Slice(5, 1, 0.0), "rejected", 400, "no"), 0.0, failed=False)
        assert [link.limits(waiting).max_events for waiting in (0, 1, 8, 40, 400, 10_000)] == [1, 1, 2, 10, 100, 100]

    def test_no_more_than_the_rate_allows(self) -> None:
        """A batch is no larger than what one second allows."""
        link = new_link(max_rate=RateConfig(events=50, bytes=4096))
        assert link.limits(1000) == Limits(50, 3072)


class TestAge:
    def test_never_by_default(self) -> None:
        """Without a setting no event is too old."""
        assert new_link().expires_before() is None

    def test_as_old_as_configured(self) -> None:
        """Events expire by the time at which they were accepted."""
        link = new_link(retry=RetryConfig(give_up_after=3600.0))
        assert link.expires_before() == pytest.approx(time.time() - 3600, abs=60)

    @pytest.mark.parametrize("jump", [1e8, -1e8])
    def test_a_clock_that_jumps_makes_nothing_old(self, monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
        """A wall clock that is set forward, or back, does not make events expire before their time."""
        link = new_link(retry=RetryConfig(give_up_after=3600.0))
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + jump)
        before = link.expires_before()
        assert before is not None
        assert before <= now - 3600 + 60
