"""Whether a destination may be sent to just now."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from forwarder.delivery.gate import MENDING, Gate
from forwarder.delivery.pipeline import Pipeline, Place, Stage
from forwarder.delivery.rate import Rate
from forwarder.model import State
from tests.delivery.conftest import PATIENCE, idle_pipeline

LONG = 1000.0


def new_gate(*, paused: bool = False) -> Gate:
    return Gate(idle_pipeline(), Rate(None, None), paused=paused)


def enter(gate: Gate, stage: Stage = Stage.LEASED) -> Place:
    """Return a delivery that has its turn."""
    place = Place(stage)
    place.turn.set()
    gate.pipeline.enter(place)
    return place


async def soon(question: Awaitable[bool]) -> bool:
    """Return what the gate says; it must not let us wait."""
    async with asyncio.timeout(PATIENCE):
        return await question


async def waits(question: Awaitable[bool]) -> asyncio.Task[bool]:
    """Return a question that the gate does not answer yet."""
    task = asyncio.ensure_future(question)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    return task


class TestState:
    def test_words(self) -> None:
        """What the destination does is told in the words of the status."""
        gate, place = new_gate(), Place(Stage.LEASED)
        states = [gate.state]
        acts: list[Callable[[], None]] = [
            lambda: gate.pipeline.enter(place),
            lambda: gate.close_for(LONG, held=False),
            lambda: gate.close_for(2 * LONG, held=True),
            gate.pause,
            gate.resume,
            lambda: gate.pipeline.leave(place),
        ]
        for act in acts:
            act()
            states.append(gate.state)
        assert states == [
            *(State.IDLE, State.DELIVERING, State.BACKING_OFF, State.HOLDING, State.PAUSED),
            *(State.DELIVERING, State.IDLE),
        ]

    def test_next_attempt(self) -> None:
        """The time to the next attempt is told while one is waited for."""
        gate = new_gate()
        assert gate.next_attempt_in is None
        gate.close_for(LONG, held=True)
        assert gate.next_attempt_in == pytest.approx(LONG, abs=5)
        gate.pause()
        assert gate.next_attempt_in is None

    def test_a_shorter_wait_does_not_cut_a_longer_one(self) -> None:
        """Of two deliveries that fail together, the longer wait counts."""
        gate = new_gate()
        gate.close_for(LONG, held=True)
        gate.close_for(0.001, held=False)
        assert gate.state is State.HOLDING
        assert gate.next_attempt_in == pytest.approx(LONG, abs=5)

    def test_what_is_waited_for(self) -> None:
        """What is being waited for is told while something is: of two waits, that of the longer one; first of all an
        operator's `resume`.
        """
        gate = new_gate()
        assert gate.waiting_for is None
        gate.close_for(LONG, held=True, waiting_for=MENDING)
        gate.close_for(0.001, held=False)
        assert gate.waiting_for == MENDING
        gate.pause()
        assert "forwarder queue resume" in (gate.waiting_for or "")
        gate.resume()
        assert gate.waiting_for is None

    def test_whoever_takes_is_woken(self) -> None:
        """Each change wakes the taker."""
        woken: list[int] = []
        gate = Gate(Pipeline(lambda _batch: None, lambda: woken.append(1)), Rate(None, None))
        for act in (gate.flush, gate.pause, gate.resume, gate.drain, gate.retire, gate.open):
            before = len(woken)
            act()
            assert len(woken) == before + 1


class TestClosed:
    async def test_nobody_sends_until_the_wait_is_over(self) -> None:
        """After a failure takers and senders wait together, and go on by themselves."""
        gate = new_gate()
        gate.close_for(0.02, held=False)
        questions = [await waits(gate.may_take()), await waits(gate.may_send())]
        async with asyncio.timeout(PATIENCE):
            assert await asyncio.gather(*questions) == [True, True]

    @pytest.mark.parametrize("act", [Gate.flush, Gate.resume])
    async def test_people_open_it(self, act: Callable[[Gate], None]) -> None:
        """`flush` and `resume` end a back-off and a hold at once."""
        gate = new_gate()
        gate.close_for(LONG, held=True)
        questions = [await waits(gate.may_take()), await waits(gate.may_send())]
        act(gate)
        async with asyncio.timeout(PATIENCE):
            assert await asyncio.gather(*questions) == [True, True]

    async def test_waits_again_when_closed_again(self) -> None:
        """A wait that was made longer meanwhile is waited for."""
        gate = new_gate()
        gate.close_for(0.2, held=False)
        question = await waits(gate.may_send())
        gate.close_for(LONG, held=False)
        await asyncio.wait([question], timeout=0.3)
        assert not question.done()
        question.cancel()


class TestCallingBack:
    @pytest.mark.parametrize("act", [Gate.pause, Gate.retire])
    async def test_what_is_not_sent_goes_back(self, act: Callable[[Gate], None]) -> None:
        """Paused or retired, batches that wait to be sent, or for a slot, are given back at once."""
        gate = new_gate()
        gate.close_for(LONG, held=False)
        enter(gate, Stage.WAITING)
        questions = [await waits(gate.may_send()), await waits(gate.begin(enter(gate), 1))]
        act(gate)
        async with asyncio.timeout(PATIENCE):
            assert await asyncio.gather(*questions) == [False, False]

    async def test_paused_from_the_start(self) -> None:
        """A gate that starts paused lets nobody take until `resume`."""
        gate = new_gate(paused=True)
        question = await waits(gate.may_take())
        gate.resume()
        assert await soon(question)

    async def test_retired_takes_no_more(self) -> None:
        """After `retire` there will be no more, also where somebody waits already."""
        gate = new_gate()
        gate.close_for(LONG, held=False)
        question = await waits(gate.may_take())
        gate.retire()
        assert not await soon(question)

    async def test_recall_waits_for_what_is_not_being_sent(self) -> None:
        """A recall ends when only what is being sent is left."""
        gate = new_gate()
        enter(gate, Stage.SENDING)
        leased = enter(gate)
        with gate.recalled():
            recall = asyncio.create_task(gate.wait_recalled(LONG))
            assert not await soon(gate.may_send())
            taker = await waits(gate.may_take())
            assert not recall.done()
            gate.pipeline.leave(leased)
            await asyncio.wait_for(recall, PATIENCE)
        assert await soon(taker)

    async def test_recall_ends_at_its_timeout(self) -> None:
        """A recall does not wait for ever."""
        gate = new_gate()
        enter(gate)
        with gate.recalled():
            await asyncio.wait_for(gate.wait_recalled(0.01), PATIENCE)
        assert len(gate.pipeline) == 1

    async def test_recalls_nest(self) -> None:
        """Of two recalls at a time, the last to end lets takers go on."""
        gate = new_gate()
        with gate.recalled():
            with gate.recalled():
                pass
            question = await waits(gate.may_take())
        assert await soon(question)


class TestDraining:
    async def test_goes_on_while_all_is_well(self) -> None:
        """A drain lets takers and senders go on."""
        gate = new_gate()
        gate.drain()
        assert gate.wants_all
        assert await soon(gate.may_take())
        assert await soon(gate.may_send())

    @pytest.mark.parametrize("seconds", [LONG, 0.0])
    async def test_ends_at_the_first_failure(self, seconds: float) -> None:
        """The first failure ends a drain, however short the wait after it would be."""
        gate = new_gate()
        gate.drain()
        gate.close_for(seconds, held=False)
        assert not await soon(gate.may_take())
        assert not await soon(gate.may_send())

    async def test_ends_a_wait(self) -> None:
        """Whoever waits for a back-off to end gives up when the drain begins."""
        gate = new_gate()
        gate.close_for(LONG, held=True)
        questions = [await waits(gate.may_take()), await waits(gate.may_send())]
        gate.drain()
        async with asyncio.timeout(PATIENCE):
            assert await asyncio.gather(*questions) == [False, False]


class TestSlots:
    async def test_as_many_as_in_flight(self) -> None:
        """No more deliveries are under way than may be in flight."""
        gate = new_gate()
        places = [enter(gate) for _ in range(4)]
        for place in places[:3]:
            assert await soon(gate.begin(place, 3))
        question = await waits(gate.begin(places[3], 3))
        gate.pipeline.leave(places[0])
        assert await soon(question)
        assert (gate.pipeline.under_way, gate.pipeline.unsettled, len(gate.pipeline)) == (3, 3, 3)

    async def test_one_settlement_may_be_outstanding(self) -> None:
        """The next delivery begins while the last one is settled, but no second settlement is waited for."""
        gate = new_gate()
        places = [enter(gate) for _ in range(3)]
        for place in places[:2]:
            assert await soon(gate.begin(place, 1))
            gate.pipeline.move(place, Stage.SETTLING)
        question = await waits(gate.begin(places[2], 1))
        gate.pipeline.leave(places[0])
        assert await soon(question)
        assert (gate.pipeline.under_way, gate.pipeline.unsettled, len(gate.pipeline)) == (1, 2, 2)

    async def test_one_after_the_other(self) -> None:
        """A delivery does not begin before its turn, though there is a slot; one that went back never does."""
        gate, place = new_gate(), Place(Stage.LEASED)
        gate.pipeline.enter(place)
        question = await waits(gate.begin(place, 1))
        gate.pipeline.leave(place)
        assert not await soon(question)


class TestNarrow:
    async def test_only_one_request_after_the_other(self) -> None:
        """While the gate is narrow what was taken goes back, and what is sent alone goes."""
        gate = new_gate()
        gate.narrow(True)
        assert not await soon(gate.may_send())
        assert not await soon(gate.begin(enter(gate), 4))
        assert await soon(gate.may_send(alone=True))
        assert await soon(gate.may_take())
        gate.narrow(False)
        assert await soon(gate.may_send())

    async def test_what_is_early_does_not_wait(self) -> None:
        """A destination that is held may be tried before the wait is over, where that is asked for."""
        gate = new_gate()
        gate.close_for(LONG, held=True)
        assert await soon(gate.may_send(alone=True, early=True))
        question = await waits(gate.may_send(alone=True))
        gate.open()
        assert await soon(question)

    async def test_questions_leave_room(self) -> None:
        """A question is one of the deliveries that may be without a settlement, and none is put while stopping."""
        gate = new_gate()
        places = [enter(gate, Stage.SETTLING), enter(gate, Stage.SENDING)]
        question = await waits(gate.may_ask(1))
        gate.pipeline.leave(places[0])
        assert await soon(question)
        gate.drain()
        assert not await soon(gate.may_ask(1))

    async def test_the_rate_makes_wait(self) -> None:
        """Nothing is sent before what was sent is paid for, also while stopping; then it goes."""
        rate = Rate(10, None)
        gate = Gate(idle_pipeline(), rate)
        rate.sent(1, 100, time.monotonic())
        gate.drain()
        began = time.monotonic()
        assert await soon(gate.may_send())
        assert time.monotonic() - began >= 0.09
