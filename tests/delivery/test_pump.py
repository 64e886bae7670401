"""From the queue to the destination: pace, steering, and ends."""

from __future__ import annotations

import asyncio
import random
import time

import pytest

from forwarder.config import BatchConfig
from forwarder.errors import StorageError
from forwarder.model import Batch, Limits, Outcome
from tests.delivery.conftest import PATIENCE, SLOW, Line, MakeLine, until
from tests.queue.building import event_id, segment

NEVER = BatchConfig(max_age=1000)


class TestPace:
    async def test_a_lonely_event_waits_for_others(self, make_line: MakeLine) -> None:
        """A lonely event leaves after `max_age`: not before, and not only at the next look at what waits."""
        line = await make_line(batch=BatchConfig(max_age=0.3))
        line.start(pace={"look_again": 2 * PATIENCE})
        began = time.time()
        await line.append(0)
        await line.empty()
        assert line.receiver.requests[0].at - began >= 0.3

    async def test_events_that_come_together_travel_together(self, make_line: MakeLine) -> None:
        """What arrives within `max_age` is one batch, as old as its first event."""
        line = await make_line(batch=BatchConfig(max_age=0.5))
        line.start()
        for number in range(10):
            await line.append(number)
        await line.empty()
        assert [record.events for record in line.receiver.requests] == [10]

    @pytest.mark.parametrize(
        "batch",
        [BatchConfig(max_age=1000, max_events=10), BatchConfig(max_age=1000, max_bytes=10 * len(segment(0).data))],
        ids=["events", "bytes"],
    )
    async def test_a_full_batch_leaves_at_once(self, make_line: MakeLine, batch: BatchConfig) -> None:
        """A batch that is full does not wait for its age; what does not fill one waits."""
        line = await make_line(batch=batch)
        line.start()
        for number in range(25):
            await line.append(number)
        await line.receiver.wait_stored(18, PATIENCE)
        assert {record.events for record in line.receiver.requests} <= {9, 10}
        await until(lambda: line.queue.pending("main").events <= 7)

    async def test_batches_are_full_while_there_is_a_backlog(self, make_line: MakeLine) -> None:
        """A backlog of small segments leaves in full batches."""
        line = await make_line()
        for first in range(0, 1000, 5):
            await line.append(first, 5)
        line.start(batch=BatchConfig(max_events=100, max_age=0))
        await line.empty()
        assert [record.events for record in line.receiver.requests] == [100] * 10
        assert line.arrived == list(range(1000))

    async def test_events_over_the_limit_go_alone(self, make_line: MakeLine) -> None:
        """Where no event keeps `max_bytes`, each travels alone, in order."""
        line = await make_line()
        await line.append(0, 5)
        line.start(batch=BatchConfig(max_bytes=1, max_age=0))
        await line.empty()
        assert [record.events for record in line.receiver.requests] == [1] * 5
        assert line.arrived == list(range(5))

    async def test_events_from_before_the_start_leave_at_once(self, make_line: MakeLine) -> None:
        """What was queued before this process is old enough."""
        line = await make_line()
        await line.append(0, 3)
        await line.queue.close()
        line = await make_line(batch=NEVER)
        line.start()
        await line.empty()
        assert line.arrived == [0, 1, 2]

    async def test_a_lost_wake_up_does_no_harm(self, make_line: MakeLine, monkeypatch: pytest.MonkeyPatch) -> None:
        """If nobody ever wakes the pump, a timer does."""
        line = await make_line("503*2")
        monkeypatch.setattr(line.queue, "wake", lambda _name: None)

        async def deaf(_destination: str, timeout: float, _enough: Limits | None = None) -> None:
            await asyncio.sleep(timeout)

        monkeypatch.setattr(line.queue, "wait", deaf)
        line.start(pace={"look_again": 0.02})
        for first in range(3):
            await line.append(first)
            await line.empty()
        assert line.arrived == [0, 1, 2]


class TestInFlight:
    async def test_one_at_a_time(self, make_line: MakeLine) -> None:
        """With one in flight no two batches are ever under way together."""
        line = await make_line("slow:0.01,loop")
        await line.append(0, 50)
        line.start(batch=BatchConfig(max_events=5, max_age=0))
        most = await watch(line)
        assert most == 1
        assert line.arrived == list(range(50))

    async def test_several_overlap(self, make_line: MakeLine) -> None:
        """With four in flight, four are under way together, and every event arrives once."""
        line = await make_line("slow:0.05*40,ok", in_flight=4)
        await line.append(0, 200)
        line.start(batch=BatchConfig(max_events=5, max_age=0))
        most = await watch(line)
        assert most == 4
        assert sorted(line.arrived) == list(range(200))
        assert line.receiver.stats.duplicates == 0

    async def test_several_in_trouble(self, make_line: MakeLine) -> None:
        """With several in flight, too, nothing is lost, and only lost answers bring events twice."""
        line = await make_line("ok*3,503*5,cut-after-store,ok,cut,401,ok*2,loop", in_flight=3)
        await line.append(0, 300)
        line.start(batch=BatchConfig(max_events=5, max_age=0))
        await line.empty()
        assert set(line.arrived) == set(range(300))
        lost = sum(record.fault == "cut-after-store" for record in line.receiver.requests)
        assert len(line.arrived) <= 300 + 5 * lost
        assert (await line.account()).delivered == 300

    async def test_a_batch_that_is_held_does_not_race(self, make_line: MakeLine) -> None:
        """A batch that is always refused is not sent again whenever another one is delivered."""
        line = await make_line(
            f"slow:0.2*2,ok,reject:{event_id(2)}", in_flight=3, retry=SLOW, responses={400: Outcome.HELD}
        )
        await line.append(0, 3)
        line.start(batch=BatchConfig(max_events=1, max_age=0))

        async def others_are_delivered() -> bool:
            return (await line.account()).delivered == 2

        await until(others_are_delivered)
        assert line.pump.health.gate.state.value == "holding"
        assert line.answers == [200, 200, 400]

    async def test_the_next_is_signed_meanwhile(self, make_line: MakeLine) -> None:
        """While a batch is being sent, the next three are taken and signed, and no further one."""
        line = await make_line("timeout")
        await line.append(0, 50)
        line.start(batch=BatchConfig(max_events=10, max_age=0))
        await sending(line, waiting=10)
        await until(lambda: len(line.pump.health.gate.pipeline) == 4)
        await asyncio.sleep(0.05)
        assert (len(line.pump.health.gate.pipeline), line.queue.pending("main").events) == (4, 10)


async def sending(line: Line, *, waiting: int) -> None:
    """Wait until the first batch is being sent, and the next one taken: so many events are not held."""
    await until(lambda: len(line.receiver.requests) == 1 and line.queue.pending("main").events == waiting)


async def watch(line: Line) -> int:
    """Wait until all is delivered; return how many attempts were under way together at most."""
    most = 0

    def look() -> None:
        nonlocal most
        most = max(most, line.pump.health.gate.pipeline.under_way)

    async def is_empty() -> bool:
        look()
        return (await line.account()).queued == 0

    await until(is_empty)
    return most


class TestSteering:
    async def test_flush_does_not_wait_for_more(self, make_line: MakeLine) -> None:
        """What waits for its batch to fill leaves at once; what comes later waits again."""
        line = await make_line(batch=NEVER)
        line.start()
        await line.append(0, 3)
        line.pump.flush()
        await line.empty()
        await until(lambda: not line.pump.health.gate.wants_all)
        await line.append(3)
        await line.in_state("idle")
        assert line.arrived == [0, 1, 2]
        assert (await line.account()).queued == 1

    async def test_flush_sends_all_of_a_backlog(self, make_line: MakeLine) -> None:
        """A flush covers more than one batch, the last one that is not full included."""
        line = await make_line()
        await line.append(0, 25)
        line.start(batch=BatchConfig(max_age=1000, max_events=10))
        line.pump.flush()
        await line.empty()
        assert [record.events for record in line.receiver.requests] == [10, 10, 5]

    @pytest.mark.parametrize(("fault", "state"), [("503", "backing_off"), ("403", "holding")])
    async def test_flush_ends_a_wait(self, make_line: MakeLine, fault: str, state: str) -> None:
        """A back-off and a hold end at once."""
        line = await make_line(f"{fault}:900", retry=SLOW)
        await line.append(0, 3)
        line.start()
        await line.in_state(state)
        line.pump.flush()
        await line.empty()
        assert line.arrived == [0, 1, 2]

    async def test_flush_of_nothing(self, make_line: MakeLine) -> None:
        """A flush with nothing queued changes nothing."""
        line = await make_line()
        line.start(batch=NEVER)
        line.pump.flush()
        await until(lambda: not line.pump.health.gate.wants_all)
        await line.append(0)
        assert (await line.account()).queued == 1

    async def test_paused_sends_nothing(self, make_line: MakeLine) -> None:
        """A pump that starts paused sends nothing until `resume`."""
        line = await make_line()
        await line.append(0, 3)
        line.start(paused=True)
        await line.in_state("paused")
        line.pump.flush()
        await line.append(3, 3)
        assert not line.receiver.requests
        line.pump.resume()
        await line.empty()
        assert line.arrived == list(range(6))

    async def test_pause_while_sending(self, make_line: MakeLine) -> None:
        """What is being sent is finished and settled; the batch behind it goes back and stays."""
        line = await make_line("slow:1")
        await line.append(0, 30)
        line.start(batch=BatchConfig(max_events=10, max_age=0))
        await sending(line, waiting=0)
        line.pump.pause()
        await until(lambda: len(line.pump.health.gate.pipeline) == 0)
        assert line.arrived == list(range(10))
        assert line.queue.pending("main").events == 20
        line.pump.resume()
        await line.empty()
        assert line.arrived == list(range(30))

    @pytest.mark.parametrize(("fault", "state"), [("503:900", "backing_off"), ("403", "holding")])
    async def test_pause_while_waiting(self, make_line: MakeLine, fault: str, state: str) -> None:
        """A pause takes the place of a back-off or a hold; `resume` goes on in order."""
        line = await make_line(fault, retry=SLOW)
        await line.append(0, 30)
        line.start(batch=BatchConfig(max_events=10, max_age=0))
        await line.in_state(state)
        line.pump.pause()
        await until(lambda: len(line.pump.health.gate.pipeline) == 0)
        assert line.pump.health.gate.state.value == "paused"
        line.pump.resume()
        await line.empty()
        assert line.arrived == list(range(30))

    async def test_pause_and_resume_at_random(self, make_line: MakeLine) -> None:
        """However often it is paused, flushed and resumed, order holds and nothing is sent twice."""
        line = await make_line("ok*2,503,loop")
        chance = random.Random(7)
        line.start(batch=BatchConfig(max_events=7, max_age=0))
        for first in range(0, 400, 4):
            await line.append(first, 4)
            chance.choice([line.pump.pause, line.pump.resume, line.pump.flush])()
        line.pump.resume()
        await line.empty()
        assert line.arrived == list(range(400))


class TestPurge:
    async def test_idle(self, make_line: MakeLine) -> None:
        """With nothing queued there is nothing to drop."""
        line = await make_line()
        line.start()
        assert await line.purge() == 0

    async def test_waiting_for_more(self, make_line: MakeLine) -> None:
        """What waits for its batch to fill is dropped; what comes later is delivered."""
        line = await make_line(batch=NEVER)
        line.start()
        await line.append(0, 10)
        assert await line.purge() == 10
        await line.append(10, 5)
        line.pump.flush()
        await line.empty()
        assert line.arrived == list(range(10, 15))
        assert (await line.account()).dropped == 10

    @pytest.mark.parametrize(("fault", "state"), [("503:900", "backing_off"), ("403", "holding")])
    @pytest.mark.parametrize("count", [5, 30])
    async def test_waiting_for_the_destination(self, make_line: MakeLine, fault: str, state: str, count: int) -> None:
        """The batch that waits for a back-off or a hold to end is dropped with all others."""
        line = await make_line(fault, retry=SLOW)
        await line.append(0, count)
        line.start(batch=BatchConfig(max_events=10, max_age=0))
        await line.in_state(state)
        assert await line.purge() == count
        line.pump.resume()
        await line.append(count)
        await line.empty()
        assert line.arrived == [count]
        assert (await line.account()).dropped == count

    async def test_beside_other_work(self, make_line: MakeLine) -> None:
        """The waiting batch is dropped also while the queue is busy with commits of its own."""
        line = await make_line("503:900", retry=SLOW)
        await line.append(0, 10)
        line.start()
        await line.in_state("backing_off")
        others = [asyncio.create_task(line.queue.set_paused("main", False)) for _ in range(200)]
        await asyncio.sleep(0)
        assert await line.purge() == 10
        await asyncio.gather(*others)
        assert (await line.account()).queued == 0

    async def test_paused(self, make_line: MakeLine) -> None:
        """What waits for a `resume` is dropped."""
        line = await make_line()
        await line.append(0, 10)
        line.start(paused=True)
        assert await line.purge() == 10

    async def test_sending(self, make_line: MakeLine) -> None:
        """What is being sent is finished; everything else is dropped at once, the signed batches too."""
        line = await make_line("timeout:900", timeout=600.0)
        await line.append(0, 50)
        line.start(batch=BatchConfig(max_events=10, max_age=0))
        await sending(line, waiting=10)
        async with asyncio.timeout(PATIENCE):
            assert await line.purge() == 40
        assert (await line.account()).queued == 10

    async def test_being_taken(self, make_line: MakeLine, monkeypatch: pytest.MonkeyPatch) -> None:
        """A batch that is being taken at that moment is dropped, too."""
        line = await make_line()
        taken, may_go_on = asyncio.Event(), asyncio.Event()
        take = line.queue.take

        async def slowly(destination: str, limits: Limits, at_most: int) -> list[Batch]:
            batches = await take(destination, limits, at_most)
            taken.set()
            await may_go_on.wait()
            return batches

        monkeypatch.setattr(line.queue, "take", slowly)
        await line.append(0, 10)
        line.start()
        await taken.wait()
        purge = asyncio.create_task(line.purge())
        await asyncio.sleep(0)
        may_go_on.set()
        assert await purge == 10
        assert not line.receiver.requests


class TestStop:
    async def test_drains(self, make_line: MakeLine) -> None:
        """A stop delivers what waits, also what would wait for its batch to fill, and ends."""
        line = await make_line()
        await line.append(0, 25)
        line.start(batch=BatchConfig(max_events=10, max_age=1000))
        line.pump.stop()
        await line.ended()
        assert line.arrived == list(range(25))
        assert (await line.account()).queued == 0

    async def test_with_nothing_to_do(self, make_line: MakeLine) -> None:
        """A stop of an idle pump ends at once."""
        line = await make_line(batch=NEVER)
        line.start()
        await asyncio.sleep(0)
        line.pump.stop()
        await line.ended()

    @pytest.mark.parametrize("retry", [None, SLOW], ids=["quick", "slow"])
    @pytest.mark.parametrize("fault", ["503", "503:0", "403", "cut,cut"])
    async def test_ends_at_the_first_failure(self, make_line: MakeLine, fault: str, retry: object) -> None:
        """The first failure of a drain ends it, however short the back-off would be; the rest stays queued."""
        line = await make_line(f"ok,{fault},loop", **({"retry": retry} if retry else {}))
        await line.append(0, 30)
        line.build(batch=BatchConfig(max_events=10, max_age=1000))
        line.pump.stop()
        await asyncio.wait_for(line._run(), PATIENCE)
        # A kept connection that is cut is no failure yet: the request goes out once more over a new one.
        assert len(line.receiver.requests) == 2 + fault.count(",")
        assert line.arrived == list(range(10))
        assert (await line.account()).queued == 20
        assert line.queue.pending("main").events == 20

    @pytest.mark.parametrize(("fault", "state"), [("503:900", "backing_off"), ("403", "holding")])
    async def test_does_not_wait_for_a_destination_in_trouble(
        self, make_line: MakeLine, fault: str, state: str
    ) -> None:
        """Backing off or held, a stop ends without another attempt."""
        line = await make_line(fault, retry=SLOW)
        await line.append(0, 10)
        line.start()
        await line.in_state(state)
        line.pump.stop()
        await line.ended()
        assert len(line.receiver.requests) == 1
        assert (await line.account()).queued == 10

    async def test_paused(self, make_line: MakeLine) -> None:
        """A paused destination is not drained."""
        line = await make_line()
        await line.append(0, 10)
        line.start(paused=True)
        line.pump.stop()
        await line.ended()
        assert not line.receiver.requests


class TestHandingOver:
    async def test_while_sending(self, make_line: MakeLine) -> None:
        """A retired pump finishes what it is sending; the next one goes on, in order and without repeating."""
        line = await make_line("slow:0.1*3,503*2,loop")
        await line.append(0, 100)
        line.start(batch=BatchConfig(max_events=10, max_age=0))
        for _ in range(6):
            await until(lambda: len(line.pump.health.gate.pipeline) > 0)
            line.pump.retire()
            await line.ended()
            line.start(batch=BatchConfig(max_events=10, max_age=0))
        await line.empty()
        assert line.arrived == list(range(100))

    @pytest.mark.parametrize(("fault", "state"), [("503:900", "backing_off"), ("403", "holding")])
    async def test_while_waiting(self, make_line: MakeLine, fault: str, state: str) -> None:
        """After a reload a destination that was waited for is tried at once."""
        line = await make_line(fault, retry=SLOW)
        await line.append(0, 30)
        line.start(batch=BatchConfig(max_events=10, max_age=0))
        await line.in_state(state)
        line.pump.retire()
        await line.ended()
        line.start(batch=BatchConfig(max_events=10, max_age=0))
        await line.empty()
        assert line.arrived == list(range(30))

    async def test_with_several_in_flight(self, make_line: MakeLine) -> None:
        """All that is being sent is finished before the next pump starts."""
        line = await make_line("slow:0.05,loop", in_flight=4)
        await line.append(0, 200)
        for _ in range(5):
            line.start(batch=BatchConfig(max_events=5, max_age=0))
            await until(lambda: line.pump.health.gate.pipeline.under_way == 4)
            line.pump.retire()
            await line.ended()
        line.receiver.faults = ""
        line.start()
        await line.empty()
        assert sorted(line.arrived) == list(range(200))


class TestOrderAtTheSeam:
    async def test_a_batch_given_back_goes_first(self, make_line: MakeLine, monkeypatch: pytest.MonkeyPatch) -> None:
        """A batch that goes back while the next one is being taken is sent before that one."""
        line = await make_line("503:900", retry=SLOW)
        take = line.queue.take
        taken, may_go_on = asyncio.Event(), asyncio.Event()
        calls = 0

        async def second_one_slowly(destination: str, limits: Limits, at_most: int) -> list[Batch]:
            nonlocal calls
            calls += 1
            batches = await take(destination, limits, at_most)
            if calls == 2:
                taken.set()
                await may_go_on.wait()
            return batches

        monkeypatch.setattr(line.queue, "take", second_one_slowly)
        await line.append(0, 20)
        # One full batch is taken at a time.
        line.start(pace={"at_once": 1}, batch=BatchConfig(max_events=10, max_age=0))
        await taken.wait()
        await line.in_state("backing_off")
        line.pump.pause()
        await until(lambda: line.pump.health.gate.pipeline.unsettled == 0)
        line.pump.resume()
        may_go_on.set()
        await line.empty()
        assert line.arrived == list(range(20))


@pytest.mark.slow
class TestCancelled:
    @pytest.mark.parametrize("in_flight", [1, 3])
    @pytest.mark.parametrize("seed", range(3))
    async def test_at_any_moment(self, make_line: MakeLine, in_flight: int, seed: int) -> None:
        """Cancelled at any moment, a pump loses nothing: the next one delivers what is left."""
        line = await make_line("ok*3,503,cut,slow:0.003,ok,loop,max-events:7", in_flight=in_flight)
        chance = random.Random(seed)
        await line.append(0, 500)
        batch = BatchConfig(max_events=10, max_age=0)
        for _ in range(25):
            line.start(batch=batch)
            for _ in range(chance.randrange(60)):
                await asyncio.sleep(0)
            await asyncio.sleep(chance.random() * 0.01)
            await line.cancel()
            found = await line.account()
            await until(lambda: line.pump.health.gate.pipeline.unsettled == 0)
        line.receiver.faults = ""
        line.start(batch=batch)
        await line.empty()
        found = await line.account()
        assert (found.delivered, found.dead) == (500, 0)
        assert set(line.arrived) == set(range(500))
        assert line.queue.pending("main").events == 0

    async def test_before_the_first_step(self, make_line: MakeLine) -> None:
        """A delivery that is cancelled before it began gives its batch back."""
        line = await make_line()
        await line.append(0, 10)
        line.start()
        await until(lambda: line.pump.health.gate.pipeline.unsettled == 1)
        await line.cancel()
        assert line.pump.health.gate.pipeline.unsettled == 0
        line.start()
        await line.empty()
        assert set(line.arrived) == set(range(10))


class TestFailingStorage:
    async def test_batches_are_asked_for_again(self, make_line: MakeLine, monkeypatch: pytest.MonkeyPatch) -> None:
        """A storage that cannot hand out a batch is asked again, and deliveries under way are not disturbed."""
        line = await make_line()
        take, failures = line.queue.take, iter([True, True])

        async def failing(destination: str, limits: Limits, at_most: int) -> list[Batch]:
            if next(failures, False):
                raise StorageError("the disk is gone")
            return await take(destination, limits, at_most)

        monkeypatch.setattr(line.queue, "take", failing)
        await line.append(0, 10)
        line.start(pace={"storage_seconds": 0.01})
        await line.empty()
        assert line.arrived == list(range(10))

    async def test_a_key_that_fails_ends_the_pump(self, make_line: MakeLine, monkeypatch: pytest.MonkeyPatch) -> None:
        """A batch that cannot be signed goes back, and the error is told to whoever runs the pump."""
        line = await make_line()
        await line.append(0, 10)
        line.build()

        def broken(_payload: bytes) -> bytes:
            raise ValueError("no key")

        monkeypatch.setattr(line.signer, "sign", broken)
        with pytest.raises(ExceptionGroup):
            await asyncio.wait_for(line._run(), PATIENCE)
        assert len(line.pump.health.gate.pipeline) == 0
        await line.account()
        assert line.queue.pending("main").events == 10
