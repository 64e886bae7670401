"""The pump against scripts of everything that can happen to it, in simulated time.

A script says what a destination answers to each attempt, what producers append meanwhile, and what
people and the machine do: pause, resume, flush, reload, purge, replay, stop, crash. When it has
ended the destination takes everything, and what came of each event is compared with what is
promised.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, replace
from itertools import pairwise, product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.config import BatchConfig, RetryConfig
from forwarder.delivery.backoff import Backoff
from forwarder.envelope import event_id
from forwarder.model import Counters, State
from tests.delivery.conftest import destination as configured
from tests.delivery.simulation import Clock, simulate
from tests.delivery.world import (
    HANGS,
    LOST,
    LOST_LATE,
    OK,
    TIMEOUT,
    UNREACHABLE,
    Attempt,
    Destination,
    Fault,
    Pace,
    World,
)
from tests.fuzzing import examples

pytestmark = pytest.mark.slow

RETRY = RetryConfig(initial=0.5, max=60.0, multiplier=2.0)
MAX_AGE = 1.0
# What signing, a few commits and a way to the destination may add to a wait, in seconds.
SLACK = 0.5
# Events that a healthy destination takes well within this many seconds.
HEALTHY_SECONDS = MAX_AGE + 3.0
BUSY = [Fault(429, retry_after=7.0), Fault(408, retry_after=1e5), Fault(503, retry_after=0.0), Fault(500)]
HELD = [Fault(401), Fault(403), Fault(404)]
REFUSED = [Fault(400), Fault(413)]
FAULTS = [OK, OK, OK, UNREACHABLE, HANGS, LOST, LOST_LATE, *BUSY, *HELD, *REFUSED]
MODES = [None, None, None, UNREACHABLE, HANGS, Fault(503), *HELD, *REFUSED]
DELAYS = [0.0, 0.003, 0.02, 0.1, 1.0, 7.0, 61.0]


@dataclass(frozen=True)
class Step:
    """Something that is done `delay` seconds after the step before."""

    delay: float
    name: str
    value: Any = None

    def __repr__(self) -> str:
        return f"Step({self.delay}, {self.name!r}, {self.value!r})"


@dataclass(frozen=True)
class Script:
    """All that is not left to the forwarder; `seed` chooses the jitter, and how long things take."""

    seed: int
    pace: Pace
    in_flight: int
    max_events: int
    takes: int
    longest_wait: float
    give_up_after: float | None
    isolate: bool
    faults: list[Fault]
    steps: list[Step]


# Which of the events for "main" are bad, and how many events go to "other" with them.
marks = st.one_of(
    st.lists(st.sampled_from([False] * 5 + [True]), min_size=1, max_size=12),
    st.sampled_from([[False] * 20, [True] * 15, [*[True] * 25, False]]),
)
appends = st.tuples(marks, st.sampled_from([0, 0, 3]))
acts = st.one_of(
    *[st.tuples(st.just("append"), appends)] * 5,
    st.tuples(st.just("mode"), st.sampled_from(MODES)),
    st.tuples(st.sampled_from(["pause", "resume", "resume", "flush", "purge", "replay", "crash"]), st.none()),
    st.tuples(st.just("stop"), st.sampled_from([0.0, 0.05, 5.0, 100.0])),
    st.tuples(st.just("reload"), st.tuples(st.integers(1, 4), st.sampled_from([1, 3, 100]))),
)
steps = st.builds(lambda delay, act: Step(delay, *act), st.sampled_from(DELAYS), acts)
scripts = st.builds(
    Script,
    seed=st.integers(0, 9),
    pace=st.builds(
        Pace,
        is_even=st.booleans(),
        job=st.sampled_from([0.001, 0.01]),
        way=st.sampled_from([0.001, 0.01]),
        signature=st.sampled_from([0.0, 0.003, 0.02]),
    ),
    in_flight=st.sampled_from([1, 1, 2, 4]),
    max_events=st.sampled_from([1, 3, 5, 100]),
    takes=st.sampled_from([1, 2, 4, 1000]),
    # A destination that is tried again before whatever was given back is in the queue, too.
    longest_wait=st.sampled_from([60.0, 60.0, 0.005]),
    give_up_after=st.sampled_from([None, None, 30.0]),
    isolate=st.booleans(),
    faults=st.lists(st.sampled_from(FAULTS), max_size=15),
    steps=st.lists(steps, min_size=3, max_size=25),
)


class Run:
    """A script that was played to its end, and what came of it."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.in_flights = [script.in_flight]
        random.seed(script.seed)
        self._chance, pace = random.Random(script.seed), script.pace
        simulate(self._play, lambda: pace.seconds(pace.signature, self._chance))

    # --- playing -------------------------------------------------------------------------------

    async def _play(self, clock: Clock) -> None:
        script, chance = self.script, self._chance
        self.main = Destination(clock, chance, script.pace, faults=script.faults.copy(), max_events=script.takes)
        self.other = Destination(clock, chance, script.pace)
        retry = RetryConfig(
            initial=min(RETRY.initial, script.longest_wait),
            max=script.longest_wait,
            give_up_after=script.give_up_after,
            isolate=script.isolate,
        )
        batch = BatchConfig(max_events=script.max_events, max_age=MAX_AGE)
        self.retry = retry
        configs = {
            "main": configured(batch=batch, retry=retry, in_flight=script.in_flight, timeout=TIMEOUT),
            "other": configured(batch=BatchConfig(max_age=MAX_AGE), retry=retry),
        }
        self.world = World(clock, configs, {"main": self.main, "other": self.other}, chance, script.pace)
        try:
            await self.world.start()
            for step in script.steps:
                # Long enough for some attempts, and not for thousands.
                await asyncio.sleep(min(step.delay, 50 * self.retry.max))
                await self._do(step)
            await self._end()
        finally:
            self.world.close()

    async def _do(self, step: Step) -> None:
        world = self.world
        match step.name:
            case "append":
                bad, others = step.value
                world.begin(world.append([("main", bad), ("other", [False] * others)]))
            case "mode":
                self.main.mode = step.value
            case "reload":
                in_flight, most = step.value
                # The order between batches is what in_flight 1 is about, so 1 stays 1.
                in_flight = 1 if self.script.in_flight == 1 else in_flight
                self.in_flights.append(in_flight)
                batch = BatchConfig(max_events=most, max_age=MAX_AGE)
                await world.reload(replace(world.configs["main"], in_flight=in_flight, batch=batch))
            case "stop":
                await world.stop(step.value)
                await world.start()
            case "crash":
                await world.crash()
                await world.start()
            case _:
                world.begin(getattr(world, step.name)())

    async def _end(self) -> None:
        """Let everything be mended, and wait until nothing is queued any more."""
        world = self.world
        self.main.faults.clear()
        self.main.mode = None
        # A purge waits for what is being sent, other requests for a commit.
        await asyncio.sleep(6.0 if self.did("purge") else 0.5)
        await world.resume()
        for _ in range(40):
            # A bad one dies after others were taken, three times, once refusals are believed again that were doubted.
            await world.append([("main", [False])])
            if await world.is_emptied(2 * max(3.0, self.retry.max)):
                break
        else:
            raise AssertionError("not everything leaves the queue")
        stats = await world.queue.stats()
        self.counters = dict(stats.destinations)
        self.dead = {name: await world.dead(name) for name in world.configs}
        await world.stop(1.0)

    # --- what is known of it -------------------------------------------------------------------

    @property
    def not_taken_alone(self) -> set[int]:
        """The events that were refused, or that failed, when they were sent alone: these may have lost their places."""
        return {
            attempt.numbers[0]
            for attempt in self.main.attempts
            if len(attempt.numbers) == 1 and attempt.status in FAILED and attempt.fault is not UNREACHABLE
        }

    @property
    def tried_ahead(self) -> set[int]:
        """The events that were sent alone right after another one was not taken alone."""
        alone = [attempt for attempt in self.main.attempts if not attempt.is_fresh]
        not_taken = self.not_taken_alone
        return {
            attempt.numbers[0]
            for before, attempt in pairwise(alone)
            if len(attempt.numbers) == len(before.numbers) == 1 and before.numbers[0] in not_taken
        }

    @property
    def cuts(self) -> set[int]:
        return {process for process, _ in self.world.crashed}

    def did(self, name: str) -> bool:
        return any(step.name == name for step in self.script.steps)


def check(script: Script) -> Run:
    """Play a script and check every promise."""
    run = Run(script)
    assert run.world.wrong == []
    one_place_each(run)
    only_refused_events_die(run)
    order_is_kept(run)
    duplicates_have_a_reason(run)
    retries_send_the_same_bytes(run)
    waits_are_kept(run)
    pauses_hold(run)
    the_other_is_not_held_up(run)
    return run


def dead_numbers(run: Run, name: str = "main") -> list[int]:
    return [int(event_id(letter.event)[-12:]) for letter in run.dead[name]]


def one_place_each(run: Run) -> None:
    """Every event is in exactly one place, and as many are in each as the account says."""
    for name, destination in run.world.destinations.items():
        events = {event.number: event for event in run.world.events if event.destination == name}
        sure = {number for number, event in events.items() if event.accepted is not None}
        arrived, dead, account = set(destination.stored), dead_numbers(run, name), run.counters[name]
        assert len(dead) == len(set(dead)) == account.dead
        assert arrived | set(dead) <= events.keys()
        assert len(sure) <= account.accepted <= len(events)
        missing = sure - arrived - set(dead)
        assert len(missing) <= account.dropped
        for number in missing:
            assert was_queued_at_a_purge(run, name, number)
        if not run.did("purge"):
            assert account.dropped == 0
        unsure = {number for attempt in destination.attempts if attempt.is_stored for number in attempt.numbers}
        unsure -= {number for attempt in destination.attempts if attempt.is_confirmed for number in attempt.numbers}
        assert account.delivered <= len(arrived) <= account.delivered + len(unsure)


def was_queued_at_a_purge(run: Run, name: str, number: int) -> bool:
    sent = run.world.events[number].sent
    return any(sent <= until for _began, until in run.world.moments[name].purged)


def only_refused_events_die(run: Run) -> None:
    """An event dies because it was refused alone, or because it was too old; a bad one never arrives."""
    bad = {event.number for event in run.world.events if event.is_bad}
    assert not bad & set(run.main.stored)
    assert run.dead["other"] == []
    for number, letter in zip(dead_numbers(run), run.dead["main"], strict=True):
        if letter.reason == "expired":
            assert run.retry.give_up_after is not None
            assert letter.died_at - letter.accepted_at >= run.retry.give_up_after
        elif letter.reason == "failing":
            assert run.retry.isolate
            assert refusals_that_count(run, number, FAILED) >= 20
        elif letter.reason == "too_large" and is_larger_than_what_was_taken(run, number):
            assert letter.status == 413
        else:
            assert letter.reason in {"rejected", "too_large"}
            assert refusals_that_count(run, number, {400, 413}) >= 3


FAILED = {None, 500, 503, 408, 400, 413}


def refusals_that_count(run: Run, number: int, statuses: set[int | None]) -> int:
    """Return how often one process refused an event alone, each time with something else taken before the next."""
    most = found = 0
    is_open, process = False, 0
    for attempt in sorted(run.main.attempts, key=lambda attempt: attempt.ended or 0.0):
        if attempt.process != process:
            found, is_open, process = 0, False, attempt.process
        if attempt.numbers == [number] and attempt.status in statuses:
            is_open = True
        elif is_open and attempt.is_confirmed and number not in attempt.numbers:
            found, is_open = found + 1, False
            most = max(most, found)
    return most


def is_larger_than_what_was_taken(run: Run, number: int) -> bool:
    sizes = [len(attempt.body) for attempt in run.main.attempts if attempt.numbers == [number]]
    refused = [attempt.ended or 0.0 for attempt in run.main.attempts if attempt.numbers == [number]]
    taken = [attempt for attempt in run.main.attempts if attempt.is_confirmed and (attempt.ended or 0.0) < refused[-1]]
    return bool(taken) and any(len(attempt.body) < sizes[0] for attempt in taken)


def order_is_kept(run: Run) -> None:
    """With one batch in flight, events arrive in the order in which they were accepted."""
    for name, destination in run.world.destinations.items():
        first_seen = list(dict.fromkeys(destination.stored))
        if name == "main" and max(run.in_flights) > 1:
            for attempt in destination.attempts:
                assert attempt.numbers == sorted(attempt.numbers) or run.did("replay")
            continue
        if name == "main" and run.did("replay") and run.retry.give_up_after is not None:
            continue
        # What was not taken alone has lost its place, and what was tried ahead because of that.
        apart = run.not_taken_alone | run.tried_ahead if name == "main" else set()
        first_seen = [number for number in first_seen if number not in apart]
        assert first_seen == sorted(first_seen)


def duplicates_have_a_reason(run: Run) -> None:
    """An event arrives twice only after its answer was lost, or after a crash had it in flight."""
    for destination in run.world.destinations.values():
        before: dict[int, Attempt] = {}
        for attempt in (attempt for attempt in destination.attempts if attempt.is_stored):
            for earlier in {before[number] for number in attempt.numbers if number in before}:
                if earlier.is_confirmed:
                    assert earlier.process in run.cuts
                    assert earlier.process < attempt.process
            before |= dict.fromkeys(attempt.numbers, attempt)
        for process in run.cuts:
            assert len(sent_again(destination, process)) <= max(run.in_flights) + 1


def sent_again(destination: Destination, process: int) -> set[Attempt]:
    """Return what a process had sent, and not settled, when it crashed: its last attempts at events that came again."""
    latest: dict[int, Attempt] = {}
    later: set[int] = set()
    for attempt in (attempt for attempt in destination.attempts if attempt.is_stored):
        if attempt.process == process:
            latest |= dict.fromkeys(attempt.numbers, attempt)
        elif attempt.process > process:
            later |= set(attempt.numbers)
    in_flight = {attempt for attempt in latest.values() if attempt.is_confirmed or attempt.ended is None}
    return {attempt for attempt in in_flight if later & set(attempt.numbers)}


def waits(attempt: Attempt) -> bool:
    """Whether the forwarder has to wait after an attempt, and then tries the same again."""
    return attempt.ended is not None and attempt.fault.status not in {200, 400, 413}


def retries_send_the_same_bytes(run: Run) -> None:
    """What was deferred or held is sent again byte for byte, unless it went back to the queue in between."""
    if run.retry.give_up_after is not None:
        # What has become too old is cut off.
        return
    for index, attempt in enumerate(run.main.attempts):
        again = next((found for found in run.main.attempts[index + 1 :] if attempt.numbers[0] in found.numbers), None)
        if again is None or not waits(attempt) or again.process != attempt.process:
            continue
        if len(attempt.numbers) == 1 or (run.retry.isolate and attempt.status in FAILED):
            # One that was sent alone was perhaps ahead of its turn; and what goes on failing is cut.
            continue
        if is_within(run.world.moments["main"].recalled, attempt.began, again):
            continue
        if any(
            other.status in FAILED and attempt.began < (other.ended or 0.0) <= again.began
            for other in run.main.attempts
        ):
            # Another batch was refused or went on failing: then all go back.
            continue
        assert again.body == attempt.body


def waits_are_kept(run: Run) -> None:
    """No attempt comes before a wait is over, nor much later than the longest wait allowed."""
    moments, failures = run.world.moments["main"], 0
    backoff = Backoff(run.retry.initial, run.retry.max, run.retry.multiplier)
    disturbed = moments.opened + moments.replaced + moments.recalled
    for index, attempt in enumerate(run.main.attempts):
        failures = 0 if attempt.is_confirmed else failures + 1
        if not waits(attempt) or attempt.ended is None or attempt.is_fresh:
            continue
        least, most = bounds(attempt.fault, backoff, failures)
        for later in run.main.attempts:
            if attempt.ended < later.began < attempt.ended + least - 1e-6:
                assert is_within(moments.opened, attempt.ended, later) or is_within(
                    moments.replaced, attempt.began, later
                )
        following = run.main.attempts[index + 1]
        is_retry = max(run.in_flights) == 1 and following.numbers[0] == attempt.numbers[0]
        if is_retry and not is_within(disturbed, attempt.began, following):
            assert following.began <= attempt.ended + most + SLACK


def is_within(times: list[float], since: float, attempt: Attempt) -> bool:
    """Say whether something was done between a time and the beginning of an attempt."""
    return any(since <= at <= attempt.began for at in times)


def bounds(fault: Fault, backoff: Backoff, failures: int) -> tuple[float, float]:
    """Return the shortest and the longest wait after so many failures in a row."""
    if fault.status in {401, 403, 404}:
        return min(5.0, backoff.max), backoff.max
    asked = min(fault.retry_after or 0.0, backoff.max)
    return asked, max(asked, backoff.ceiling(failures))


def pauses_hold(run: Run) -> None:
    """While a destination is paused nothing is sent to it, also across restarts."""
    for began, until in run.world.moments["main"].paused:
        assert not [attempt for attempt in run.main.attempts if began < attempt.began < until]


def the_other_is_not_held_up(run: Run) -> None:
    """Events of a healthy destination arrive in a moment, whatever another one does."""
    first = {number: attempt for attempt in reversed(run.other.attempts) for number in attempt.numbers}
    for event in run.world.events:
        if event.destination == "other" and event.accepted is not None:
            began = first[event.number].began
            since = max([event.accepted, *(at for at in run.world.started if at <= began)])
            assert began - since <= HEALTHY_SECONDS


@pytest.mark.fuzz
@examples(100)
@given(script=scripts)
def test_scripts(script: Script) -> None:
    """Whatever happens to a pump and around it, every promise is kept."""
    check(script)


def test_what_goes_back_does_not_chase_what_was_taken() -> None:
    """Batches that go back to the queue while others are taken are sent in the end, however short the waits."""
    for job, signature in product([0.001, 0.01], [0.001, 0.003, 0.02]):
        pace = Pace(is_even=True, job=job, way=0.001, signature=signature)
        for most in (1, 3):
            append = Step(0.0, "append", ([*[True] * 30, *[False] * 10], 0))
            check(Script(5, pace, 1, most, 1000, 0.005, None, True, [], [append]))


def test_what_is_too_large_by_now_is_not_sent_again() -> None:
    """A batch that waits to be sent again goes back when another one has shown meanwhile that it is too large."""
    pace = Pace(is_even=True, job=0.01, way=0.01, signature=0.003)
    steps = [Step(0.0, "append", ([False] * 15, 0)), Step(7.0, "append", ([False], 0))]
    run = check(Script(0, pace, 2, 3, 1000, 60.0, None, True, [Fault(503), Fault(413)], steps))
    assert [len(attempt.numbers) for attempt in run.main.attempts[:3]] == [3, 3, 1]


@pytest.mark.parametrize("in_flight", [1, 2, 4])
def test_crash_at_any_moment(in_flight: int) -> None:
    """However slow commits are, a crash repeats no more than one batch beside those in flight."""
    pace = Pace(is_even=True, job=0.1, way=0.001, signature=0.001)
    repeated = 0
    for delay in range(1, 60):
        append, crash = Step(0.0, "append", ([False] * 40, 0)), Step(delay / 20, "crash")
        run = check(Script(0, pace, in_flight, 1, 1000, 60.0, None, True, [], [append, crash]))
        repeated = max(repeated, len(run.main.stored) - len(set(run.main.stored)))
    assert 1 <= repeated <= in_flight + 1


# --- long troubles --------------------------------------------------------------------------------

HOUR = 3600.0
DAY = 24 * HOUR


async def trouble(clock: Clock, fault: Fault, seconds: float, *, in_flight: int = 1) -> tuple[World, Destination]:
    """Queue 60 events for a destination that does one thing only for so long; return it, still in trouble."""
    destination = Destination(clock, random.Random(1), mode=fault)
    config = configured(batch=BatchConfig(max_events=7, max_age=MAX_AGE), retry=RETRY, in_flight=in_flight)
    world = World(clock, {"main": config}, {"main": destination}, random.Random(2), Pace())
    await world.start()
    for _ in range(6):
        await world.append([("main", [False] * 10)])
        await asyncio.sleep(seconds / 6)
    return world, destination


async def mended(world: World, destination: Destination) -> tuple[Counters, list[int]]:
    """Let the destination take everything; return the account when nothing is queued, and what arrived."""
    destination.mode = None
    assert await world.is_emptied(RETRY.max + 10.0)
    account = (await world.queue.stats()).destinations["main"]
    await world.stop(1.0)
    world.close()
    assert world.wrong == []
    return account, destination.stored


@pytest.mark.parametrize("in_flight", [1, 4])
@pytest.mark.parametrize("status", [401, 403, 404])
def test_wrong_key_empties_nothing(status: int, in_flight: int) -> None:
    """A destination that does not know the key for a day gets few requests, and every event once it does."""

    async def play(clock: Clock) -> None:
        world, destination = await trouble(clock, Fault(status), DAY, in_flight=in_flight)
        attempts = len(destination.attempts)
        assert DAY / (RETRY.max + SLACK) <= attempts <= in_flight * (DAY / RETRY.max + 1)
        account, arrived = await mended(world, destination)
        assert (account.delivered, account.dead, account.dropped) == (60, 0, 0)
        assert sorted(arrived) == list(range(60))
        if in_flight == 1:
            assert arrived == list(range(60))

    simulate(play)


@pytest.mark.parametrize("in_flight", [1, 4])
@pytest.mark.parametrize("status", [400, 413])
def test_refusing_everything_empties_nothing(status: int, in_flight: int) -> None:
    """A destination that refuses everything for two hours costs the few events that are believed to be bad."""

    async def play(clock: Clock) -> None:
        world, destination = await trouble(clock, Fault(status), 2 * HOUR, in_flight=in_flight)
        account, arrived = await mended(world, destination)
        assert account.dead == 0
        assert account.delivered == len(arrived) == len(set(arrived)) == 60 - account.dead

    simulate(play)


def test_outage_of_days() -> None:
    """After three days without an answer waits are as after minutes, and everything arrives in order."""

    async def play(clock: Clock) -> None:
        world, destination = await trouble(clock, UNREACHABLE, 3 * DAY)
        times = [attempt.began for attempt in destination.attempts]
        gaps = [later - earlier for earlier, later in pairwise(times)]
        assert max(gaps) <= RETRY.max + SLACK
        # Full jitter: half of the longest wait on average.
        assert 0.45 * RETRY.max < sum(gaps) / len(gaps) < 0.55 * RETRY.max
        account, arrived = await mended(world, destination)
        assert (account.delivered, account.dead) == (60, 0)
        assert arrived == list(range(60))

    simulate(play)


def test_ten_thousand_failures() -> None:
    """After ten thousand failures in a row waits still are jittered up to the longest, and one later all goes on."""

    async def play(clock: Clock) -> None:
        world, destination = await trouble(clock, Fault(503), 0.0)
        while len(destination.attempts) < 10_000:
            await asyncio.sleep(HOUR)
        found = (await world.pumps.status())["main"]
        assert found.attempts >= 10_000
        assert found.state in {State.BACKING_OFF, State.DELIVERING}
        times = [attempt.began for attempt in destination.attempts]
        waits = [later - earlier for earlier, later in pairwise(times[-1000:])]
        assert max(waits) <= RETRY.max + SLACK
        assert min(waits) < 0.1 * RETRY.max
        assert max(waits) > 0.9 * RETRY.max
        mended_at = clock.now
        account, arrived = await mended(world, destination)
        assert (account.delivered, account.dead, account.dropped) == (60, 0, 0)
        assert arrived == list(range(60))
        taken = [attempt for attempt in destination.attempts if attempt.is_stored]
        assert taken[0].began <= mended_at + RETRY.max + SLACK
        # What had waited follows at once, with no wait of its own.
        assert taken[-1].began <= taken[0].began + len(taken) * SLACK

    simulate(play)
