"""Destinations that refuse, or fail at, some events or all of them, or whatever meets the wrong server."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest

from forwarder.config import RetryConfig
from tests.delivery.cases import REFUSED, RETRY, Case, about, play, refuses_bad
from tests.delivery.world import OK, TIMEOUT, Fault

pytestmark = pytest.mark.slow


class TestEverythingRefused:
    @pytest.mark.parametrize("status", [400, 413])
    @pytest.mark.parametrize("in_flight", [1, 16])
    @pytest.mark.parametrize("max_events", [1, 1000])
    def test_buries_nothing(self, status: int, in_flight: int, max_events: int) -> None:
        """Across restarts and reloads nothing dies and requests are few; once it is mended all comes in order."""
        mode = [Fault(status)]

        async def act(case: Case) -> None:
            await case.append([False] * 3000)
            for turn in range(6):
                await asyncio.sleep(7 * RETRY.max)
                await (case.world.reload(case.world.configs["main"]) if turn % 3 else case.restart(crashes=turn == 3))
            assert (await case.account()).queued == 3000
            # Seven waits between two restarts, and two short ones after each.
            assert len(case.destination.attempts) <= 7 * 10 * 24 + 16
            mode[0] = OK
            assert await case.world.is_emptied(2 * RETRY.max)
            assert (await case.account()).delivered == 3000
            if in_flight == 1:
                assert case.arrived() == list(range(3000))

        play(lambda _events: mode[0], about(max_events, in_flight), act)

    def test_from_some_moment_on(self) -> None:
        """A destination that has taken much and then refuses everything gets few requests, and loses nothing."""
        mode = [OK]

        async def act(case: Case) -> None:
            for turn in range(200):
                if turn == 50:
                    mode[0] = REFUSED
                    before = len(case.destination.attempts)
                await case.append([False] * 20)
                await asyncio.sleep(1.0)
            # 5 s, 30 s, then a minute: five rounds.
            assert len(case.destination.attempts) - before <= 5 * 24
            mode[0] = OK
            assert await case.world.is_emptied(2 * RETRY.max)
            assert (await case.account()).delivered == 4000

        play(lambda _events: mode[0], about(), act)


class TestBadOnes:
    @pytest.mark.parametrize("in_flight", [1, 4])
    @pytest.mark.parametrize("max_events", [1, 7, 1000])
    def test_among_good_ones(self, max_events: int, in_flight: int) -> None:
        """Bad events die, after three refusals alone with others taken between; the others arrive in order."""
        bad = {0, 1, 100, 250, 251, 252}

        async def act(case: Case) -> None:
            await case.append([number in bad for number in range(500)])
            assert await case.world.is_emptied(RETRY.max)
            assert await case.dead() == dict.fromkeys(bad, "rejected")
            if in_flight == 1:
                assert case.arrived() == [number for number in range(500) if number not in bad]
            for number in bad:
                assert sum(attempt.numbers == [number] for attempt in case.destination.attempts) >= 3

        play(refuses_bad, about(max_events, in_flight), act)

    @pytest.mark.parametrize("good", [30, 400])
    def test_a_run_of_any_length(self, good: int) -> None:
        """A thousand bad events in front of few good ones are passed; the good ones arrive, the bad ones die."""

        async def act(case: Case) -> None:
            await case.append([True] * 1000)
            await case.append([False] * good)
            for _ in range(60):
                if await case.world.is_emptied(10.0):
                    break
            found = await case.account()
            assert (found.delivered, found.dead, found.queued) == (good, 1000, 0)
            # All but those that were tried ahead are in order.
            behind = [number for number in case.arrived() if number >= 1000 + good // 2]
            assert behind[-good // 4 :] == sorted(behind[-good // 4 :])
            assert len(case.destination.attempts) < 6 * 1000

        play(refuses_bad, about(), act)

    def test_the_last_of_a_quiet_queue_waits(self) -> None:
        """A bad event with nothing behind it waits, and `status` says why; what comes next is sent at once."""

        async def act(case: Case) -> None:
            await case.append([False, True])
            await asyncio.sleep(400.0)
            status = (await case.world.pumps.status())["main"]
            assert (await case.account()).queued == status.set_aside == 1
            assert status.obstacle is not None
            assert status.obstacle.kind == "all_refused"
            for _ in range(4):
                sent = case.clock.now
                await case.append([False])
                await asyncio.sleep(1.0)
                assert [attempt.began - sent < 0.5 for attempt in case.destination.attempts if attempt.is_stored][-1]
            assert await case.dead() == {1: "rejected"}

        play(refuses_bad, about(), act)

    def test_what_is_mended_while_it_is_asked_about_arrives(self) -> None:
        """An event that is set aside and taken in the end is delivered, and nothing else suffers."""
        mended = [False]

        async def act(case: Case) -> None:
            await case.append([number == 9 for number in range(10)])
            await asyncio.sleep(100.0)
            mended[0] = True
            await case.append([False])
            assert await case.world.is_emptied(RETRY.max)
            assert sorted(case.arrived()) == list(range(11))

        play(lambda events: OK if mended[0] else refuses_bad(events), about(), act)


class TestOneOfTwoServers:
    @pytest.mark.parametrize("seed", range(3))
    @pytest.mark.parametrize(("max_events", "events"), [(1, 500), (10, 1500), (1000, 5000)])
    def test_no_innocent_dies(self, max_events: int, events: int, seed: int) -> None:
        """Where every other request meets a server that refuses everything, all events are taken by the other one."""
        chance = Random(seed)

        async def act(case: Case) -> None:
            for _ in range(0, events, 500):
                await case.append([False] * 500)
                await asyncio.sleep(20.0)
            assert await case.world.is_emptied(10_000.0)
            assert await case.dead() == {}
            assert sorted(case.arrived()) == list(range(events))

        play(lambda _events: OK if chance.random() < 0.5 else REFUSED, about(max_events), act)

    @pytest.mark.parametrize("servers", [2, 3, 5])
    @pytest.mark.parametrize("max_events", [1, 100])
    def test_by_turns(self, max_events: int, servers: int) -> None:
        """The same where the servers take turns, and one of them refuses everything."""
        count = [0]

        def judge(_events: list[dict[str, Any]]) -> Fault:
            count[0] += 1
            return OK if count[0] % servers else REFUSED

        async def act(case: Case) -> None:
            for _ in range(0, 2000, 200):
                await case.append([False] * 200)
                await asyncio.sleep(5.0)
            assert await case.world.is_emptied(10_000.0)
            assert await case.dead() == {}
            assert sorted(case.arrived()) == list(range(2000))

        play(judge, about(max_events), act)

    def test_batches_stay_large(self) -> None:
        """A batch that is refused by one server, and taken by the other one in parts, was not too large."""
        count = [0]

        def judge(_events: list[dict[str, Any]]) -> Fault:
            count[0] += 1
            return OK if count[0] % 2 else REFUSED

        async def act(case: Case) -> None:
            for _ in range(50):
                await case.append([False] * 100)
                await asyncio.sleep(2.0)
            assert await case.world.is_emptied(1000.0)
            assert len(case.destination.attempts) < 50 * 4
            obstacle = (await case.world.pumps.status())["main"].obstacle
            assert obstacle is not None
            assert obstacle.kind == "distrusted"

        play(judge, about(100), act)

    def test_status_says_so(self) -> None:
        """While refusals are not believed, `status` says why."""
        chance = Random(3)

        async def act(case: Case) -> None:
            await case.append([False] * 100)
            await asyncio.sleep(60.0)
            obstacle = (await case.world.pumps.status())["main"].obstacle
            assert obstacle is not None
            assert obstacle.kind == "distrusted"

        play(lambda _events: OK if chance.random() < 0.5 else REFUSED, about(1), act)


class TestFailing:
    @pytest.mark.parametrize("fault", [Fault(500), Fault(None, seconds=TIMEOUT)], ids=["500", "timeout"])
    @pytest.mark.parametrize("place", [0, 537, 1078])
    def test_one_event_stops_no_other(self, fault: Fault, place: int) -> None:
        """One event that makes the server fail is set aside, then dies as `failing`; the others arrive in order."""

        async def act(case: Case) -> None:
            await case.append([number == place for number in range(1079)])
            await asyncio.sleep(1200.0)
            assert (await case.account()).delivered == 1078
            for _ in range(150):
                await case.append([False])
                await asyncio.sleep(20.0)
            assert await case.dead() == {place: "failing"}
            assert case.arrived() == [number for number in range(1079 + 150) if number != place]

        play(lambda events: fault if any("bad" in event for event in events) else OK, about(), act)

    def test_nothing_innocent_expires_with_it(self) -> None:
        """Events that could be delivered do not grow too old because of one that fails."""
        retry = RetryConfig(initial=1.0, max=10.0, give_up_after=3.0)

        async def act(case: Case) -> None:
            await case.append([number == 300 for number in range(1000)])
            assert await case.world.is_emptied(600.0)
            assert list(await case.dead()) == [300]

        play(lambda events: Fault(500) if any("bad" in event for event in events) else OK, about(retry=retry), act)

    def test_an_outage_lets_expire_what_is_old(self) -> None:
        """Where nothing is taken, wherever it stands in the queue, what is too old dies."""
        retry = RetryConfig(initial=1.0, max=10.0, give_up_after=60.0)

        async def act(case: Case) -> None:
            await case.append([False] * 1000)
            await asyncio.sleep(400.0)
            assert set((await case.dead()).values()) == {"expired"}
            assert (await case.account()).dead == 1000

        play(lambda _events: Fault(500), about(retry=retry), act)

    def test_switched_off(self) -> None:
        """With `isolate: false` a batch that fails is only ever tried as a whole."""

        async def act(case: Case) -> None:
            await case.append([number == 3 for number in range(10)])
            await asyncio.sleep(600.0)
            assert {len(attempt.numbers) for attempt in case.destination.attempts} == {10}

        retry = RetryConfig(initial=1.0, max=10.0, isolate=False)
        play(lambda events: Fault(500) if any("bad" in event for event in events) else OK, about(retry=retry), act)

    def test_a_server_that_needs_time_for_each_event(self) -> None:
        """No answer in time teaches how large a batch may be: few events come more than once."""

        def judge(events: list[dict[str, Any]]) -> Fault:
            is_slow = 0.003 * len(events) > 1.0
            return Fault(None, stores=True, seconds=TIMEOUT) if is_slow else Fault(200, stores=True)

        async def act(case: Case) -> None:
            await case.append([False] * 20_000)
            assert await case.world.is_emptied(1000.0)
            copies = len(case.destination.stored) / 20_000
            assert copies < 1.5

        play(judge, about(), act)

    def test_no_connection_is_nobody_s_fault(self) -> None:
        """While nothing reaches the destination, the same batch is sent again and again."""

        async def act(case: Case) -> None:
            await case.append([False] * 50)
            await asyncio.sleep(600.0)
            assert {len(attempt.numbers) for attempt in case.destination.attempts} == {50}

        play(lambda _events: Fault(None), about(), act)


class TestTooLarge:
    def test_alone_and_larger_than_all_that_was_taken(self) -> None:
        """A single event that is larger than all that was taken dies at once; before something was taken, none does."""

        async def act(case: Case) -> None:
            await case.append([True] * 30)
            await asyncio.sleep(300.0)
            assert (await case.account()).dead == 0
            await case.append([False] * 5)
            assert await case.world.is_emptied(2 * RETRY.max)
            assert await case.dead() == dict.fromkeys(range(30), "too_large")

        play(lambda events: Fault(413) if any("bad" in event for event in events) else OK, about(1), act)
