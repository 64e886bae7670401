"""One request: what is learned from each answer."""

from __future__ import annotations

import time
from typing import Any, cast

import pytest

from forwarder.config import BatchConfig, RetryConfig
from forwarder.config.schema import RateConfig
from forwarder.delivery.clock import Clock
from forwarder.delivery.health import Health
from forwarder.delivery.sending import Result, Sending
from forwarder.destination.base import Answer
from forwarder.model import Batch, Burial, Limits, Outcome, Segment, Slice, State
from forwarder.observe.base import Observer
from forwarder.observe.facts import Attempted, Settled, StateChanged
from forwarder.observe.logs import Logs
from forwarder.queue.base import Outbox, Share
from forwarder.queue.memory import MemoryQueue
from tests.delivery.conftest import destination, idle_pipeline
from tests.delivery.scripted import Scripted
from tests.observe.recording import Recording


def sending(*answers: Answer, observer: Observer | None = None, **settings: Any) -> Sending:
    config = destination(**settings)
    health = Health(config, Clock(), idle_pipeline(), observer or Logs(), paused=False)
    return Sending("main", config, Scripted(*answers), health, lambda: WAITING)


def batch(events: int = 1, size: int = 3) -> Batch:
    return Batch("main", (Slice(0, events, 0.0),), (b"x" * (size - 1) + b"\n") * events)


WAITING = 40
OK = Answer(Outcome.DELIVERED)
REFUSED = Answer(Outcome.REJECTED, "no", status=400)
TOO_LARGE = Answer(Outcome.TOO_LARGE, "no", status=413)
FAILED = Answer(Outcome.DEFERRED, status=500, is_about_events=True)
LATE = Answer(Outcome.DEFERRED, timed_out=True, is_about_events=True)


class TestAttempt:
    async def test_what_is_taken_is_remembered(self) -> None:
        """The largest size and number of events that passed are known, and what ended a row of failures."""
        found = sending(OK, OK)
        found.health.failures = 3
        result = await found.attempt(batch(7, 10), b"signed")
        await found.attempt(batch(2, 20), b"signed")
        assert (result.outcome, result.failures_before) == (Outcome.DELIVERED, 3)
        assert (found.health.failures, found.health.attempts) == (0, 2)
        assert (found.health.most_events, found.health.largest) == (7, 70)

    async def test_what_is_not_taken_is_told(self) -> None:
        """Status and detail of the last failure are kept for `status`."""
        found = sending(REFUSED)
        assert (await found.attempt(batch(), b"signed")).outcome is Outcome.REJECTED
        assert found.health.last_error is not None
        assert (found.health.last_error.status, found.health.last_error.detail) == (400, "no")

    async def test_is_paid_for(self) -> None:
        """A request counts against `max_rate`, whatever is answered."""
        found = sending(REFUSED, max_rate=RateConfig(events=10))
        await found.attempt(batch(20), b"signed")
        assert found.health.rate.ready_at - time.monotonic() == pytest.approx(2.0, abs=0.5)


class TestTooLarge:
    @pytest.mark.parametrize(("taken", "size", "is_bad"), [(0, 100, False), (100, 100, False), (99, 100, True)])
    def test_alone(self, taken: int, size: int, is_bad: bool) -> None:
        """A single event is bad by its size if it is larger than all that was taken, and something was taken."""
        found = sending()
        found.health.largest = taken
        result = Result(TOO_LARGE, 0)
        assert found.is_too_large_alone(result, batch(1, size)) is is_bad
        assert not found.is_too_large_alone(result, batch(2, size))
        assert not found.is_too_large_alone(Result(REFUSED, 0), batch(1, size))

    def test_no_answer_in_time_teaches_the_size(self) -> None:
        """A batch that is not answered in time is too large; one event is not, nor is a 500."""
        found = sending(batch=BatchConfig(max_events=100))
        found.learn(batch(1), Result(LATE, 0))
        found.learn(batch(100), Result(FAILED, 0))
        assert found.health.batch_size.limits.max_events == 100
        found.learn(batch(100), Result(LATE, 0))
        assert found.health.batch_size.limits.max_events == 50

    def test_taken_in_parts(self) -> None:
        """A refused batch that is taken in parts was too large, unless as much had been taken before."""
        found = sending(batch=BatchConfig(max_events=100))
        found.taken_in_parts(100, 300)
        assert found.health.batch_size.limits.max_events == 50
        assert found.is_believed()
        found.health.most_events, found.health.largest = 50, 150
        found.taken_in_parts(50, 151)
        assert found.health.batch_size.limits == Limits(50, found.health.batch_size.limits.max_bytes)
        assert not found.is_believed()
        # If it takes less than it did, the next time teaches the size.
        found.taken_in_parts(50, 151)
        assert found.health.batch_size.limits.max_events == 25


class TestMayBeCut:
    @pytest.mark.parametrize(
        ("answer", "may_be_cut"),
        [
            (FAILED, True),
            (LATE, True),
            (Answer(Outcome.DEFERRED), False),
            (REFUSED, True),
            (TOO_LARGE, True),
            (Answer(Outcome.HELD, status=401), True),
        ],
    )
    def test_only_what_may_be_about_the_events(self, answer: Answer, may_be_cut: bool) -> None:
        """What was deferred for a reason that has nothing to do with the events is not the fault of one of them."""
        result = Result(answer, 0)
        assert sending().may_be_cut(result) is may_be_cut
        assert not sending(retry=RetryConfig(isolate=False)).may_be_cut(result)


async def test_reasons() -> None:
    """A dead letter says whether an event was refused, too large, or made the destination fail."""
    found = sending()
    outcomes = [Outcome.DEFERRED, Outcome.TOO_LARGE, Outcome.REJECTED]
    burials = [found.burial(Result(Answer(outcome, "no", status=400), 0)) for outcome in outcomes]
    assert burials == [Burial(reason, 400, "no") for reason in ("failing", "too_large", "rejected")]


class Full:
    """A queue without room for a dead letter."""

    async def settle(self, _batch: Batch, _burial: Burial | None = None) -> bool:
        return False


class TestFacts:
    async def test_an_attempt_is_told_with_what_came_of_it(self) -> None:
        """Each attempt is a fact, with its outcome, size, status and seconds."""
        observer, began = Recording(), time.monotonic()
        found = sending(REFUSED, OK, observer=observer)
        await found.attempt(batch(2, 10), b"signed")
        await found.attempt(batch(3, 10), b"signed")
        refused, taken = observer.facts
        assert isinstance(refused, Attempted)
        assert isinstance(taken, Attempted)
        assert 0 <= refused.seconds <= time.monotonic() - began
        assert refused._replace(seconds=0.0) == Attempted("main", 0, Outcome.REJECTED, 2, 20, 0.0, 400)
        assert taken._replace(seconds=0.0) == Attempted("main", 0, Outcome.DELIVERED, 3, 30, 0.0, None)

    async def test_a_wait_is_told(self) -> None:
        """Whoever looks on hears for how long a destination is let alone, and what it said."""
        observer = Recording()
        found = sending(observer=observer, retry=RetryConfig(initial=4.0, max=4.0))
        found.defer(batch(2), Result(FAILED, 0))
        found.hold(batch(2), Result(REFUSED, 1))
        deferred, held = observer.facts
        assert isinstance(deferred, StateChanged)
        assert isinstance(held, StateChanged)
        assert deferred[:5] == ("main", State.BACKING_OFF, 2, 500, "")
        assert held[:5] == ("main", State.HOLDING, 2, 400, "no")
        assert 0 <= deferred.retry_in <= 4.0
        assert held.retry_in > 0

    async def test_an_outage_is_told_from_end_to_end(self) -> None:
        """Of its waits the first is news, and the first of another kind; its end says how long it was, and how many
        attempts and events it took.
        """
        observer = Recording()
        found = sending(OK, OK, observer=observer)
        for _ in range(3):
            found.defer(batch(2), Result(FAILED, 0))
        for _ in range(2):
            found.hold(batch(2), Result(REFUSED, 0))
        found.waits(State.HOLDING, None, 400, "no", 5.0)
        await found.attempt(batch(3, 10), b"signed")
        await found.attempt(batch(3, 10), b"signed")
        changes = [fact for fact in observer.facts if isinstance(fact, StateChanged)]
        assert [fact.is_news for fact in changes] == [True, False, False, True, False, True, True]
        assert [fact.attempts for fact in changes] == [1, 2, 3, 4, 5, 6, 6]
        assert [fact.seconds for fact in changes] == sorted(fact.seconds for fact in changes)
        assert (changes[-1].state, changes[-1].events) == (State.DELIVERING, 3 + WAITING)

    async def test_only_what_is_settled_is_told(self) -> None:
        """What the queue has recorded is a fact; what it has no room to bury, and queues again, is none."""
        observer = Recording()
        found = sending(observer=observer)
        async with MemoryQueue(1 << 20) as queue:
            await queue.configure({"main": Share()})
            await queue.append([Segment("main", 1, b"{}\n"), Segment("main", 1, b'{"eventId":"e-1"}\n')])
            first, second = await queue.take("main", Limits(1, 100), 2)
            await found.settle(queue, first)
            await found.settle(queue, second, Burial("rejected", 400, "no"))
        told = [fact._replace(seconds=0.0) for fact in observer.facts if isinstance(fact, Settled)]
        assert told == [
            Settled("main", 1, position=0),
            Settled("main", 1, Burial("rejected", 400, "no"), ids=("e-1",), position=1),
        ]
        await found.settle(cast("Outbox", Full()), batch(), Burial("rejected"))
        assert len(observer.facts) == 2
