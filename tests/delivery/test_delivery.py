"""What becomes of a batch: each answer, on the way from a real queue to a real receiver."""

from __future__ import annotations

import asyncio
import time

import pytest

from forwarder.config import BatchConfig, RetryConfig
from forwarder.errors import StorageError
from forwarder.model import Outcome, Segment
from tests.delivery.conftest import PATIENCE, SLOW, Line, MakeLine, until
from tests.queue.building import event_id, segment


def rejects(*numbers: int) -> str:
    """Return the rules for a receiver that does not want these events."""
    return ",".join(f"reject:{event_id(number)}" for number in numbers)


async def delivers_all(line: Line, count: int) -> None:
    """Check that exactly these events arrive, once each and in order, and are counted."""
    await line.empty()
    assert line.arrived == list(range(count))
    assert (await line.account()).delivered == count


class TestTable:
    async def test_delivered(self, make_line: MakeLine) -> None:
        """What is answered with 2xx is settled."""
        line = await make_line("204,299")
        await line.append(0, 3)
        line.start()
        await delivers_all(line, 3)
        assert line.pump.health.last_error is None
        assert line.pump.health.last_success == pytest.approx(time.time(), abs=60)

    @pytest.mark.parametrize("fault", ["503", "500", "599", "408", "425", "429", "503:0", "cut", "garbage"])
    async def test_deferred(self, make_line: MakeLine, fault: str) -> None:
        """Trouble on the way and 5xx: the same bytes again after a back-off, until they arrive, in order."""
        line = await make_line(f"{fault}*3")
        await line.append(0, 5)
        line.start(batch=BatchConfig(max_events=2, max_age=0))
        await delivers_all(line, 5)
        assert line.pump.health.failures == 0
        assert len(line.receiver.requests) == 6

    async def test_a_timeout_is_deferred(self, make_line: MakeLine) -> None:
        """A destination that does not answer in time gets the batch again."""
        line = await make_line("timeout", timeout=0.1)
        await line.append(0, 2)
        line.start()
        await delivers_all(line, 2)
        assert len(line.receiver.requests) == 2

    async def test_a_destination_that_is_down(self, make_line: MakeLine) -> None:
        """While nobody listens everything stays queued; once somebody does, it arrives in order."""
        line = await make_line()
        await line.receiver.stop()
        await line.append(0, 5)
        line.start()
        await until(lambda: line.pump.health.failures >= 5)
        assert (await line.account()).queued == 5
        await line.receiver.start()
        await delivers_all(line, 5)

    @pytest.mark.parametrize("status", [401, 403, 404, 405, 415, 301, 302, 307])
    async def test_held_until_resume(self, make_line: MakeLine, status: int) -> None:
        """A destination that must be mended: nothing is dropped, and `resume` tries at once."""
        line = await make_line(f"{status}", retry=SLOW)
        await line.append(0, 3)
        line.start()
        await line.in_state("holding")
        assert line.pump.health.gate.next_attempt_in == pytest.approx(SLOW.max, abs=PATIENCE)
        assert line.pump.health.last_error is not None
        assert line.pump.health.last_error.status == status
        assert (await line.account()).queued == 3
        line.pump.resume()
        await delivers_all(line, 3)
        assert line.answers == [status, 200]

    async def test_held_is_tried_again_by_itself(self, make_line: MakeLine) -> None:
        """Without any help it is tried again every `retry.max`, with the same bytes."""
        line = await make_line("403*3")
        await line.append(0, 3)
        line.start()
        await delivers_all(line, 3)
        assert line.answers == [403, 403, 403, 200]

    async def test_rejected(self, make_line: MakeLine) -> None:
        """A single event that is rejected while others are taken dies, with the status and the start of the answer."""
        line = await make_line(rejects(0), batch=BatchConfig(max_events=1, max_age=0))
        await line.append(0, 20)
        line.start()
        await line.empty()
        [letter] = await line.dead()
        assert (letter.event_id, letter.reason, letter.status) == (event_id(0), "rejected", 400)
        assert letter.event == segment(0).data[:-1]

    async def test_overrides(self, make_line: MakeLine) -> None:
        """The configuration may say what a status means."""
        responses = {403: Outcome.DEFERRED, 503: Outcome.REJECTED, 500: Outcome.DELIVERED, 400: Outcome.HELD}
        line = await make_line("403,503,500,400", batch=BatchConfig(max_events=1, max_age=0), responses=responses)
        await line.append(0, 3)
        line.start()
        await line.empty()
        # Deferred, refused (and looked at more closely), taken for delivered, held.
        assert line.answers[:4] == [403, 503, 500, 400]
        assert await line.dead() == []
        assert len(line.arrived) == 2


class TestRetries:
    async def test_the_same_bytes(self, make_line: MakeLine) -> None:
        """A batch that is sent again repeats itself byte by byte, although more events wait by then."""
        line = await make_line("503*2,cut-after-store,429")
        await line.append(0, 3)
        line.start()
        await until(lambda: len(line.receiver.requests) >= 2)
        await line.append(3, 4)
        await line.empty()
        *tried, last = line.receiver.requests
        # One that was cut before it was read has no checksum.
        assert len({record.checksum for record in tried}) == 1
        assert last.events == 4
        assert line.arrived == [0, 1, 2, 0, 1, 2, 3, 4, 5, 6]

    async def test_order_across_trouble(self, make_line: MakeLine) -> None:
        """With one in flight the order holds across failures, and only a lost answer brings events twice."""
        line = await make_line("ok,503*2,cut-after-store,ok,cut,429:0,garbage,ok,cut-after-store,500,loop")
        line.start(batch=BatchConfig(max_events=10, max_age=0))
        for first in range(0, 200, 5):
            await line.append(first, 5)
        await line.empty()
        seen: list[int] = []
        for number in line.arrived:
            if number not in seen:
                seen.append(number)
        assert seen == list(range(200))
        stats = line.receiver.stats
        assert stats.duplicates is not None
        lost_answers = [record for record in line.receiver.requests if record.fault == "cut-after-store"]
        assert stats.duplicates <= 10 * len(lost_answers)

    async def test_retry_after_is_honoured(self, make_line: MakeLine) -> None:
        """Nothing is sent before the time that the destination asked for, up to `retry.max`."""
        line = await make_line("503:99999,ok", retry=RetryConfig(initial=0.001, max=0.15))
        await line.append(0)
        line.start()
        await line.empty()
        first, second = line.receiver.requests
        assert second.at - first.at >= 0.15


class TestTooLarge:
    async def test_batches_fit_after_few_refusals(self, make_line: MakeLine) -> None:
        """A destination that takes few events at a time is soon sent no more of them, and gets all in order."""
        line = await make_line("max-events:60")
        await line.append(0, 3000)
        line.start()
        await delivers_all(line, 3000)
        assert line.answers.count(413) <= 12
        assert max(line.receiver.requests, key=lambda record: record.events).events > 30

    async def test_the_remainder_of_a_batch_does_not_shrink_the_next(self, make_line: MakeLine) -> None:
        """The last, small part of a batch that was cut is no measure for the batches after it."""
        line = await make_line("max-events:300")
        await line.append(0, 601)
        line.start(batch=BatchConfig(max_events=601, max_age=0))
        await delivers_all(line, 601)
        assert line.pump.health.limits(1000).max_events >= 150

    async def test_one_large_event(self, make_line: MakeLine) -> None:
        """An event that is too large by itself dies; its neighbours arrive, in batches of a useful size."""
        line = await make_line()
        line.receiver._max_bytes = 300_000
        await line.receiver.stop()
        await line.receiver.start()
        await line.append(0, 200)
        await line.append(200, filler=400_000)
        await line.append(201, 799)
        line.start()
        await line.empty()
        assert line.arrived == [*range(200), *range(201, 1000)]
        assert [letter.event_id for letter in await line.dead()] == [event_id(200)]
        assert len(line.receiver.requests) < 20


@pytest.mark.slow
class TestRejected:
    async def test_the_bad_ones_alone_die(self, make_line: MakeLine) -> None:
        """Three bad events among five hundred die with status and detail; the others arrive in order."""
        bad = [0, 123, 399]
        line = await make_line(rejects(*bad))
        await line.append(0, 500)
        line.start()
        await line.empty()
        assert line.arrived == [number for number in range(500) if number not in bad]
        letters = await line.dead()
        assert sorted(letter.event_id for letter in letters) == [event_id(number) for number in bad]
        assert {(letter.reason, letter.status) for letter in letters} == {("rejected", 400)}
        assert all(letter.event_id in letter.detail for letter in letters)
        # Each bad event costs a path down the halves and a dozen questions, not a request for each event.
        assert len(line.receiver.requests) < 100

    @pytest.mark.parametrize("fault", ["400", "422", "413"])
    async def test_everything_refused(self, make_line: MakeLine, fault: str) -> None:
        """A destination that refuses everything empties nothing into the dead letters; mended, it gets all in order."""
        line = await make_line(f"{fault},loop")
        await line.append(0, 100)
        line.start()
        await until(lambda: line.pump.health.triage.holds >= 8)
        assert (await line.account()).dead == 0
        line.receiver.faults = ""
        line.pump.resume()
        await line.empty()
        assert sorted(line.arrived) == list(range(100))
        assert await line.dead() == []

    async def test_held_while_everything_is_refused(self, make_line: MakeLine) -> None:
        """It is held with few requests, and tried again after a wait, and at once when something comes."""
        line = await make_line("400,loop", retry=SLOW)
        await line.append(0, 100)
        line.start()
        await line.in_state("holding")
        tried = len(line.receiver.requests)
        assert tried <= 22
        for first in range(100, 200, 10):
            await line.append(first, 10)
        await until(lambda: len(line.receiver.requests) > tried)
        await asyncio.sleep(0.3)
        assert len(line.receiver.requests) <= tried + 8
        assert (await line.account()).dead == 0

    async def test_what_is_damaged_is_buried(self, make_line: MakeLine) -> None:
        """Lines that are no JSON object go to the dead letters one by one when the destination refuses the batch."""
        line = await make_line("400")
        await line.append(0, 5)
        await line.queue.append([Segment("main", 2, b'{"eventId":"x","data":{}\n}{"eventId":"y"}\n')])
        await line.append(5, 5)
        line.start()
        await line.empty()
        assert line.arrived == list(range(10))
        assert [(letter.reason, letter.status) for letter in await line.dead()] == [("damaged", None)] * 2

    @pytest.mark.parametrize("max_events", [1000, 20, 1])
    async def test_a_run_of_bad_events(self, make_line: MakeLine, max_events: int) -> None:
        """Fifty bad events in a row are found out, however small the batches; they die, and no other does."""
        bad = list(range(30, 80))
        line = await make_line(rejects(*bad))
        await line.append(0, 150)
        line.start(batch=BatchConfig(max_events=max_events, max_age=0))
        await line.empty()
        assert sorted(line.arrived) == [number for number in range(150) if number not in bad]
        letters = await line.dead()
        assert sorted(letter.event_id for letter in letters) == [event_id(number) for number in bad]
        assert {(letter.reason, letter.status) for letter in letters} == {("rejected", 400)}
        assert max(record.events for record in line.receiver.requests) <= max_events

    async def test_a_purge_drops_what_is_set_aside(self, make_line: MakeLine) -> None:
        """What is set aside counts as queued, is purged with the rest, and counts as dropped."""
        line = await make_line(rejects(5))
        await line.append(0, 6)
        line.start()
        await until(lambda: len(line.pump.health.suspects) == 1)
        assert (await line.account()).queued == 1
        assert await line.purge() == 1
        assert (await line.account()).dropped == 1
        await line.append(6, 3)
        await until(lambda: line.arrived[-1] == 8)

    async def test_a_pause_keeps_what_is_set_aside(self, make_line: MakeLine) -> None:
        """While it is paused nothing is asked; afterwards what is set aside is delivered if it is taken."""
        line = await make_line(rejects(5))
        await line.append(0, 6)
        line.start()
        await until(lambda: len(line.pump.health.suspects) == 1)
        line.pump.pause()
        await until(lambda: len(line.pump.health.gate.pipeline) == 0)
        tried = len(line.receiver.requests)
        await asyncio.sleep(0.1)
        assert len(line.receiver.requests) == tried
        line.receiver.faults = ""
        line.pump.resume()
        await line.empty()
        assert sorted(line.arrived) == list(range(6))

    @pytest.mark.parametrize("rejections", range(28, 44, 3))
    async def test_mended_among_suspects(self, make_line: MakeLine, rejections: int) -> None:
        """A destination that is mended while events are doubted gets all of them."""
        line = await make_line(f"400*{rejections}")
        await line.append(0, 60)
        line.start()
        await line.empty()
        assert sorted(line.arrived) == list(range(60))
        assert await line.dead() == []

    async def test_trouble_between_suspects(self, make_line: MakeLine) -> None:
        """A back-off in the middle of what is doubted neither buries nor loses an innocent event."""
        bad = list(range(20))
        line = await make_line(f"{rejects(*bad)},ok*12,503,ok*17,cut,ok*11,403")
        await line.append(0, 60)
        line.start()
        await line.empty()
        assert sorted(line.arrived) == list(range(20, 60))
        assert sorted(letter.event_id for letter in await line.dead()) == [event_id(number) for number in bad]


class TestGivingUp:
    async def test_only_the_old_ones_expire(self, make_line: MakeLine) -> None:
        """What is older than `give_up_after` dies, in the batch that is tried and behind it; the rest is tried on."""
        line = await make_line("503,loop", retry=RetryConfig(initial=0.002, max=0.01, give_up_after=1.5))
        await line.append(0, 30)
        await asyncio.sleep(1.2)
        await line.append(30, 30)
        line.start(batch=BatchConfig(max_events=10, max_age=0))

        async def the_old_ones_died() -> bool:
            return (await line.account()).dead >= 30

        await until(the_old_ones_died)
        line.receiver.faults = ""
        await line.empty()
        letters = await line.dead()
        died = [letter.event_id for letter in letters]
        assert sorted(died[:30]) == [event_id(number) for number in range(30)]
        assert sorted([*died, *map(event_id, line.arrived)]) == [event_id(number) for number in range(60)]
        assert {(letter.reason, letter.status) for letter in letters} == {("expired", 503)}
        assert all(letter.died_at - letter.accepted_at >= 1.5 for letter in letters)

    @pytest.mark.parametrize("fault", ["403,loop", "400,loop", "cut,loop"], ids=["held", "all refused", "cut"])
    async def test_whatever_the_trouble(self, make_line: MakeLine, fault: str) -> None:
        """Events grow too old under a hold, and under a destination that refuses everything, as well."""
        line = await make_line(fault, retry=RetryConfig(initial=0.002, max=0.01, give_up_after=0.05))
        await line.append(0, 40)
        line.start()
        await line.empty()
        reasons = [letter.reason for letter in await line.dead()]
        assert len(reasons) == 40
        assert set(reasons) == {"expired"}

    async def test_a_failing_storage_does_not_stop_the_pump(
        self, make_line: MakeLine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """If old events cannot be buried just now, they are tried on."""
        line = await make_line("429*3", retry=RetryConfig(initial=0.002, max=0.01, give_up_after=3600))

        tried = 0

        async def failing(*_: object) -> int:
            nonlocal tried
            tried += 1
            raise StorageError("the disk is gone")

        monkeypatch.setattr(line.queue, "expire", failing)
        await line.append(0, 3)
        line.start()
        await delivers_all(line, 3)
        assert tried == 3


class TestShape:
    async def test_single_as_object(self, make_line: MakeLine) -> None:
        """With `single_as_object` a lone event is no array; several still are."""
        line = await make_line(single_as_object=True)
        await line.append(0)
        line.start()
        await line.empty()
        await line.append(1, 2)
        await line.empty()
        assert line.arrived == [0, 1, 2]
        array, lone = (len(line.signer.sign(b"[" + segment(0).data[:-1] + b"]")), line.receiver.requests[0].size)
        assert array > lone
