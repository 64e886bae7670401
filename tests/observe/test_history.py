"""Rates over the last minute, and an hour and a day in steps, from readings that come when they come."""

from __future__ import annotations

import itertools
import math
import tracemalloc
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.model import Counters, QueueStats
from forwarder.observe.history import SPANS, History, Pace

# A process may start at any monotonic time, hardly ever at the begin of a step.
START = 12_345.6


class Account:
    """A destination whose events come and go at fixed rates, seen every two seconds."""

    def __init__(self) -> None:
        self.now = START
        self.came = self.went = self.dropped = 0.0
        self.history = History(lambda: self.now)
        self.look()

    def look(self) -> None:
        accepted, delivered, dropped = int(self.came), int(self.went), int(self.dropped)
        counters = Counters(accepted, accepted - delivered - dropped, delivered, 0, dropped)
        self.history.look(QueueStats("memory", 0, 0, destinations={"main": counters}))

    def live(self, seconds: float, *, rate_in: float = 0.0, rate_out: float = 0.0, every: float = 2.0) -> None:
        end = self.now + seconds
        while self.now < end:
            passed = min(every, end - self.now)
            self.now += passed
            self.came += rate_in * passed
            self.went += rate_out * passed
            self.look()

    @property
    def pace(self) -> Pace:
        return self.history.pace("main")


@pytest.fixture
def account() -> Account:
    return Account()


def test_nothing_is_known_at_first(account: Account) -> None:
    """A rate takes two readings; of a destination that was never read there is none."""
    assert account.pace == Pace()
    assert account.history.pace("other") == Pace()
    account.look()
    assert account.pace == Pace()


def test_rates_are_those_of_the_last_minute(account: Account) -> None:
    """What was before the last minute does not count, and before a minute has passed, what there is does."""
    account.live(4, rate_in=100, rate_out=50)
    assert account.pace[:2] == pytest.approx((100, 50), rel=0.02)
    account.live(60, rate_in=1000, rate_out=500)
    account.live(60, rate_in=10, rate_out=20)
    assert account.pace[:2] == pytest.approx((10, 20), rel=0.02)


def test_rates_after_a_gap(account: Account) -> None:
    """While the queue cannot say, nothing is read; afterwards rates are spread over the whole gap."""
    account.live(120, rate_in=100)
    account.history.look(None)
    account.now += 600
    account.came += 6000
    account.look()
    assert account.pace.rate_in == pytest.approx(10, rel=0.1)


def test_a_backlog_that_shrinks(account: Account) -> None:
    """Soon after an outage the time to drain is that of the pace since then, not of the outage."""
    account.live(600, rate_in=1000)
    account.live(31, rate_in=1000, rate_out=6000)
    left = account.came - account.went
    assert account.pace.drain_seconds == pytest.approx(left / 5000, rel=0.1)


@pytest.mark.parametrize(
    "steady", [{"rate_in": 1000, "rate_out": 1000}, {"rate_in": 1001, "rate_out": 1000}, {"rate_in": 10}, {}]
)
def test_no_backlog_that_shrinks(account: Account, steady: dict[str, float]) -> None:
    """There is no time to drain while the backlog stands or grows."""
    account.live(10, rate_in=1000)
    account.live(60, **steady)
    assert account.pace.drain_seconds is None


def test_what_is_under_way_is_no_backlog(account: Account) -> None:
    """A queue that holds what is delivered in a moment makes no estimate, however it goes up and down."""
    account.live(10, rate_in=300)
    account.live(60, rate_in=1000, rate_out=1000)
    account.live(2, rate_in=900, rate_out=1000)
    assert account.pace.drain_seconds is None


def test_a_purge_is_no_delivery(account: Account) -> None:
    """What is dropped makes the backlog smaller, and says nothing of how fast it is delivered."""
    account.live(60, rate_in=1000)
    account.dropped = 30_000
    account.live(4, rate_in=1000, rate_out=900)
    assert account.pace.drain_seconds is None


def test_an_account_that_begins_anew(account: Account) -> None:
    """Counters that fall, as after a file was set aside, are no negative rates."""
    account.live(60, rate_in=1000, rate_out=500)
    account.came, account.went = 10, 10
    account.look()
    account.live(2)
    assert account.pace == Pace(0.0, 0.0, None)
    assert min(account.history.series("hour").destinations["main"].accepted) >= 0


@pytest.mark.parametrize("every", [2.0, 1.7, 2.3, 31.0])
def test_steps_of_a_steady_stream_are_alike(account: Account, every: float) -> None:
    """However the readings fall, a steady stream is a straight line."""
    account.live(3600, rate_in=1000, rate_out=1000, every=every)
    steps = account.history.series("hour").destinations["main"]
    assert len(steps.accepted) == 359
    assert set(steps.accepted[1:]) <= {9999, 10000, 10001}
    assert set(steps.delivered[1:]) <= {9999, 10000, 10001}


@pytest.mark.parametrize("span", SPANS)
def test_only_whole_steps(account: Account, span: str) -> None:
    """There is nothing until a step has been seen whole; then there are ever more, up to the whole span."""
    step, steps = SPANS[span]
    account.live(step * 0.5, rate_in=10)
    assert account.history.series(span).destinations["main"] == ([], [], [])
    account.live(step * 2, rate_in=10)
    whole = math.floor(account.now / step) - math.ceil(START / step)
    assert len(account.history.series(span).destinations["main"].accepted) == whole in (1, 2)
    account.live(step * steps, rate_in=10, every=20)
    found = account.history.series(span)
    assert len(found.destinations["main"].queued) == steps
    assert step * steps <= found.age_seconds < step * (steps + 1)


def test_where_a_step_stands(account: Account) -> None:
    """A burst is in the step in which it happened, and what was queued at the end of each is known."""
    account.live(100)
    burst = account.now
    account.live(2, rate_in=50)
    account.live(98)
    found = account.history.series("hour")
    steps = found.destinations["main"]
    first = account.now - found.age_seconds
    assert steps.accepted.index(max(steps.accepted)) == int((burst + 1 - first) // found.step_seconds)
    assert sum(steps.accepted) == 100
    assert steps.queued[0] == 0
    assert steps.queued[-1] == 100


def test_a_destination_that_comes_later_and_goes() -> None:
    """All have as many steps; before it was known nothing happened to it. One that has gone is forgotten."""
    times = itertools.count(0.0, 2.0)
    moment = 0.0
    history = History(lambda: moment)

    def look(names: Iterable[str], times_looked: int) -> None:
        nonlocal moment
        for _ in range(times_looked):
            moment = next(times)
            accounts = {name: Counters(1000, 1000) for name in names}
            history.look(QueueStats("memory", 0, 0, destinations=accounts))

    look(["old"], 50)
    look(["old", "new"], 50)
    found = history.series("hour").destinations
    assert len(found["old"].accepted) == len(found["new"].accepted) == 19
    assert set(found["new"].accepted) == {0}
    assert found["new"].queued == [0] * 10 + [1000] * 9
    look(["old"], 1)
    assert history.series("hour").destinations.keys() == {"old"}


def test_a_history_that_has_seen_nothing() -> None:
    """Before the first reading there is an empty answer."""
    found = History(lambda: START).series("day")
    assert (found.step_seconds, found.destinations) == (300.0, {})
    assert 0 <= found.age_seconds < 300


def test_the_space_is_fixed(account: Account) -> None:
    """After two days a destination takes as much as after one."""

    account.live(90_000, rate_in=1, every=60)
    tracemalloc.start()
    try:
        account.live(90_000, rate_in=1, every=60)
        held, _peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 4096


@given(st.lists(st.tuples(st.floats(0.001, 5000), st.integers(0, 10**6), st.floats(0, 1)), min_size=1, max_size=50))
def test_nothing_is_counted_twice(lives: list[tuple[float, int, float]]) -> None:
    """However readings fall, the steps tell of no more than what happened, and of nothing less than nothing."""
    account = Account()
    for seconds, came, share in lives:
        account.now += seconds
        account.came += came
        account.went += int((account.came - account.went) * share)
        account.look()
    for span in SPANS:
        steps = account.history.series(span).destinations["main"]
        assert 0 <= sum(steps.accepted) <= account.came
        assert 0 <= sum(steps.delivered) <= account.went
        assert all(0 <= queued <= account.came for queued in steps.queued)
