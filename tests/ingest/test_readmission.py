"""What was invalid, looked at again: a real queue."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from forwarder.envelope import Envelope
from forwarder.errors import (
    InvalidEventsError,
    MalformedError,
    RequestError,
    TooLargeError,
    UnknownLetterError,
)
from forwarder.ingest import readmission
from forwarder.ingest.intake import Intake
from forwarder.ingest.readmission import readmit, readmit_edited
from forwarder.model import Burial, DeadFilter, DeadLetter, Limits
from forwarder.observe.logs import Logs
from forwarder.queue.sqlite.queue import SqliteQueue
from tests.ingest.serving import event, line
from tests.ingest.serving import sqlite as open_queue

ALL = DeadFilter()


def intake_of(queue: SqliteQueue, kind: str = "t", limit: int = 10_000) -> Intake:
    rules = Envelope(routes={"main": {"eventType": [kind]}}, max_event_bytes=limit)
    return Intake(queue, rules, Logs(), keeps_invalid=True)


async def hand_in(intake: Intake, *lines: bytes) -> None:
    await intake.accept("http", *intake.envelope.examine_lines(b"\n".join(lines)))


async def dead(queue: SqliteQueue) -> list[tuple[bytes, str]]:
    return [(letter.event, letter.detail) async for letter in queue.dead_letters(ALL)]


async def queued(queue: SqliteQueue) -> list[bytes]:
    return [found async for found in queue.peek("main", None)]


async def accounts(queue: SqliteQueue) -> dict[str, tuple[int, int, int]]:
    """Return what was accepted, delivered and is dead; every account adds up."""
    found = (await queue.stats()).destinations
    for one in found.values():
        assert one.accepted == one.queued + one.delivered + one.dead + one.dropped
    return {name: (one.accepted, one.delivered, one.dead) for name, one in found.items()}


@pytest.mark.parametrize("step", [1, 3, 256])
async def test_what_passes_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """What passes the rules of today is accepted, in order; what does not stays, with what is wrong with it today."""
    monkeypatch.setattr(readmission, "_STEP_LETTERS", step)
    async with open_queue(tmp_path) as queue:
        events = [line(number).strip() for number in range(5)]
        await hand_in(intake_of(queue, "other"), *events[:3], b"nonsense", b"{}", *events[3:])
        assert (await accounts(queue))["invalid"] == (7, 0, 7)
        again = intake_of(queue)
        assert await readmit(queue, again, ALL) == 5
        assert await queued(queue) == events
        assert [found[0] for found in await dead(queue)] == [b'{"invalid":{"text":"nonsense"}}', b"{}"]
        assert await accounts(queue) == {"main": (5, 0, 0), "invalid": (7, 5, 2)}
        assert await readmit(queue, again, ALL) == 0


async def test_fresh_words(tmp_path: Path) -> None:
    """A letter that fails for another reason than before says so."""
    async with open_queue(tmp_path) as queue:
        large = json.dumps({**event(1), "eventType": "x", "data": {"x": "x" * 2000}}).encode()
        await hand_in(intake_of(queue), json.dumps({**event(0), "eventType": "x"}).encode(), large)
        assert {words for _, words in await dead(queue)} == {"matches no destination; see destinations.*.match"}
        assert await readmit(queue, intake_of(queue, limit=1000), ALL) == 0
        assert (await dead(queue))[-1] == (
            large,
            "the event has 2,110 bytes, the limit is 1,000 (ingest.max_event_bytes)",
        )
        assert await accounts(queue) == {"main": (0, 0, 0), "invalid": (2, 0, 2)}


async def test_only_what_is_wanted(tmp_path: Path) -> None:
    """Filters hold, and other dead letters are not the business of the intake."""
    async with open_queue(tmp_path) as queue:
        await hand_in(intake_of(queue, "other"), line(0).strip(), line(1).strip())
        again = intake_of(queue)
        assert await readmit(queue, again, DeadFilter(destination="main")) == 0
        assert await readmit(queue, again, DeadFilter(reason="rejected")) == 0
        assert await readmit(queue, again, DeadFilter(ids=(event(1)["eventId"],))) == 1
        assert await queued(queue) == [line(1).strip()]


async def test_what_was_cut_off_stays(tmp_path: Path) -> None:
    """Of what was too large only the beginning is there: it can never be an event."""
    async with open_queue(tmp_path) as queue:
        await hand_in(intake_of(queue), line(0, 20_000).strip())
        before = await dead(queue)
        assert await readmit(queue, intake_of(queue, limit=1_000_000), ALL) == 0
        assert await dead(queue) == before


async def test_an_array_that_can_be_told_apart_now(tmp_path: Path) -> None:
    """A letter may turn out to be several events; it leaves its account once."""
    async with open_queue(tmp_path) as queue:
        intake = intake_of(queue)
        body = b"[" + line(0).strip() + b"," + line(1).strip() + b"]"
        # As lines it is one, and no event.
        await hand_in(intake, body)
        assert await readmit(queue, intake, ALL) == 1
        assert await accounts(queue) == {"main": (2, 0, 0), "invalid": (1, 1, 0)}


async def test_purged_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What somebody has purged between the look and the write is not accepted; its neighbours are."""
    async with open_queue(tmp_path) as queue:
        await hand_in(intake_of(queue, "other"), *[line(number).strip() for number in range(3)])
        plain, calls = queue.readmit, 0

        async def late(*args: object) -> bool:
            nonlocal calls
            calls += 1
            if calls == 1:
                await queue.purge_dead(DeadFilter(ids=("2",)))
            return await plain(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(queue, "readmit", late)
        assert await readmit(queue, intake_of(queue), ALL) == 2
        assert await queued(queue) == [line(0).strip(), line(2).strip()]
        assert await accounts(queue) == {"main": (2, 0, 0), "invalid": (3, 2, 0)}


class TestEdited:
    async def test_takes_the_place_of_its_letter(self, tmp_path: Path) -> None:
        """An edited event is queued as it was written, and its letter is gone."""
        async with open_queue(tmp_path) as queue:
            intake = intake_of(queue)
            letter = await rejected(queue, intake)
            text = b'{"eventType": "t", "eventSourceId": "s", "eventId": "%b", "n": 1.0}' % letter.event_id.encode()
            await readmit_edited(queue, intake, "main", letter.id, text)
            assert await queued(queue) == [text.replace(b", ", b",").replace(b": ", b":")]
            assert await dead(queue) == []
            assert await accounts(queue) == {"main": (1, 0, 0), "invalid": (0, 0, 0)}
            with pytest.raises(UnknownLetterError, match="has no dead letter"):
                await readmit_edited(queue, intake, "main", letter.id, text)

    @pytest.mark.parametrize(
        ("text", "error"),
        [
            (b"", MalformedError),
            (b"{", MalformedError),
            (b"[]", MalformedError),
            (b"\xff", MalformedError),
            (b"[{},{}]", RequestError),
            (b"{}", InvalidEventsError),
            (b'{"eventSourceId":"s","eventType":"t","eventType":"t"}', InvalidEventsError),
            (b'{"eventSourceId":"s","eventType":"other"}', InvalidEventsError),
            (b'{"eventSourceId":"s","eventType":"t","x":"%b"}' % (b"x" * 10_000), TooLargeError),
        ],
    )
    async def test_is_checked_as_at_the_intake(self, tmp_path: Path, text: bytes, error: type[RequestError]) -> None:
        """What the intake would not take, or would not send to that destination, changes nothing."""
        async with open_queue(tmp_path) as queue:
            intake = intake_of(queue)
            letter = await rejected(queue, intake)
            with pytest.raises(error):
                await readmit_edited(queue, intake, "main", letter.id, text)
            assert await queued(queue) == []
            assert [found for found, _ in await dead(queue)] == [letter.event]

    async def test_what_was_invalid_becomes_an_event(self, tmp_path: Path) -> None:
        """It goes wherever it matches, and leaves the account of what is invalid."""
        async with open_queue(tmp_path) as queue:
            intake = intake_of(queue)
            await hand_in(intake, b"{}")
            [letter] = [letter async for letter in queue.dead_letters(ALL)]
            await readmit_edited(queue, intake, "invalid", letter.id, line(1))
            assert len(await queued(queue)) == 1
            assert await dead(queue) == []

    async def test_another_destination_has_no_such_letter(self, tmp_path: Path) -> None:
        """A number alone does not do: the letter must be of the destination that is named."""
        async with open_queue(tmp_path) as queue:
            intake = intake_of(queue)
            letter = await rejected(queue, intake)
            with pytest.raises(UnknownLetterError):
                await readmit_edited(queue, intake, "invalid", letter.id, letter.event)
            assert len(await dead(queue)) == 1


async def rejected(queue: SqliteQueue, intake: Intake) -> DeadLetter:
    """Let a destination refuse an event."""
    await hand_in(intake, line(1))
    [batch] = await queue.take("main", Limits(max_events=1, max_bytes=1 << 20))
    await queue.settle(batch, Burial("rejected", 422, "no"))
    [letter] = [letter async for letter in queue.dead_letters(ALL)]
    return letter
