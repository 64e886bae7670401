"""Clocks that jump, and a process that stands still: all promises hold, and no wait gets stuck."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from tests.delivery.conftest import raw_server
from tests.destination.http_put.servers import answering
from tests.faults.clock import HOUR, Clocks
from tests.faults.trial import Trial
from tests.faults.wrapped import Wrapped
from tests.integration.process import PATIENCE, events, merged

pytestmark = pytest.mark.system
DOWN = "503*1000000"
JUMPS = [5 * HOUR, -5 * HOUR]
LONGEST_WAIT = 600.0


def tried(folder: Path, faults: str = "", **settings: Any) -> Trial:
    """Return a trial with these settings of its destination."""
    trial = Trial(folder, faults=faults)
    main = trial.forwarder.config["destinations"]["main"]
    trial.forwarder.config["destinations"]["main"] = merged(main, settings)
    return trial


def listed(trial: Trial, *words: str) -> list[Any]:
    """Return what a command prints, an object a line."""
    done = trial.forwarder.command(*words)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


async def reload(trial: Trial) -> None:
    """Reload another configuration of the destination, so that all that is known of it begins anew."""
    main, done = trial.forwarder.config["destinations"]["main"], len(trial.forwarder.logged("destination.started"))
    main["timeout"] = 30 + done
    trial.forwarder.write_config()
    assert trial.forwarder.process is not None
    trial.forwarder.process.send_signal(signal.SIGHUP)
    await trial.forwarder.until(lambda: len(trial.forwarder.logged("destination.started")) > done)


async def attempts(trial: Trial, count: int) -> None:
    """Wait until so many more attempts have been made."""
    wanted = trial.receiver.stats.requests + count
    await trial.forwarder.until(lambda: trial.receiver.stats.requests >= wanted)


async def bury(trial: Trial) -> None:
    """Let an event die: the receiver rejects each with an `x`, and what comes behind it is taken."""
    dead = (await trial.forwarder.account())["dead"]
    assert await trial.post(1, 1)
    while (await trial.forwarder.account())["dead"] == dead:
        assert await trial.post(1)
        await asyncio.sleep(0.05)


async def sane(trial: Trial) -> dict[str, Any]:
    """Return the account of the destination, its durations looked at."""
    account = await trial.forwarder.account()
    oldest, upcoming = account["oldest_age_seconds"], account["next_attempt_in_seconds"]
    assert oldest is None or oldest >= 0
    assert upcoming is None or 0 <= upcoming <= LONGEST_WAIT
    return account


# --- a wall clock that jumps ----------------------------------------------------------------------


@pytest.mark.parametrize("jump", JUMPS)
async def test_a_jump_while_it_delivers(tmp_path: Path, jump: float) -> None:
    """A wall clock that is moved by hours, and back, holds up no event and loses none."""
    trial = Trial(tmp_path / "f")
    clocks = Clocks(trial.forwarder)
    async with trial, trial.forwarder:
        for shift in (0.0, jump, 0.0, -jump):
            clocks.shift(shift)
            for _ in range(3):
                assert await trial.post()
            await trial.forwarder.settled()
            assert (await sane(trial))["oldest_age_seconds"] is None
        await trial.check()


@pytest.mark.parametrize("jump", JUMPS)
async def test_a_jump_while_a_batch_fills(tmp_path: Path, jump: float) -> None:
    """A batch waits for `max_age` by the time that passes: no jump sends it before, or holds it longer."""
    trial = Trial(tmp_path / "f")
    clocks = Clocks(trial.forwarder)
    trial.forwarder.config["destinations"]["main"]["batch"]["max_age"] = "3s"
    async with trial, trial.forwarder:
        assert await trial.post()
        clocks.shift(jump)
        assert await trial.post()
        account = await sane(trial)
        assert (account["state"], account["delivered"]) == ("idle", 0)
        assert account["oldest_age_seconds"] == pytest.approx(max(0.0, jump), abs=60)
        await trial.check()
        # Both in one batch: it had time to fill.
        assert [request.events for request in trial.receiver.requests] == [20]


@pytest.mark.parametrize("jump", JUMPS)
async def test_a_jump_while_it_backs_off(tmp_path: Path, jump: float) -> None:
    """A wait between two attempts is neither cut short nor drawn out by a jump, and ends when it is told to."""
    trial = tried(tmp_path / "f", f"503:{LONGEST_WAIT:.0f}", retry={"initial": "10ms", "max": LONGEST_WAIT})
    clocks = Clocks(trial.forwarder)
    async with trial, trial.forwarder:
        assert await trial.post()
        await trial.forwarder.until(lambda: trial.forwarder.logged("destination.failing"))
        clocks.shift(jump)
        assert await trial.post()
        account = await sane(trial)
        assert account["state"] == "backing_off"
        # What has passed of it is what the test has taken, not the jump.
        assert account["next_attempt_in_seconds"] > LONGEST_WAIT / 2
        assert account["oldest_age_seconds"] == pytest.approx(max(0.0, jump), abs=60)
        assert trial.receiver.stats.requests == 1
        await trial.forwarder.admin("POST", "/v1/destinations/main/flush")
        await trial.check()


@pytest.mark.parametrize("jump", JUMPS)
async def test_a_jump_while_waits_are_short(tmp_path: Path, jump: float) -> None:
    """While a destination fails attempts go on after a jump, and what they have waited for is delivered."""
    trial = tried(tmp_path / "f", DOWN)
    clocks = Clocks(trial.forwarder)
    async with trial, trial.forwarder:
        assert await trial.post()
        for shift in (jump, 0.0, -jump):
            clocks.shift(shift)
            await attempts(trial, 3)
            await sane(trial)
            assert await trial.post()
        trial.receiver.faults = ""
        await trial.check()


@pytest.mark.parametrize("jump", JUMPS)
async def test_a_destination_in_another_time(tmp_path: Path, jump: float) -> None:
    """A date as Retry-After is taken for no wait at all, or the longest, where the clocks are hours apart."""
    answers = [b"HTTP/1.1 503 Busy\r\nRetry-After: %b\r\nContent-Length: 0\r\n\r\n" % formatdate(usegmt=True).encode()]
    async with raw_server(answering(*answers)) as port:
        forwarder = Wrapped(tmp_path / "f", f"http://127.0.0.1:{port}/put")
        forwarder.config["log"]["level"] = "debug"
        clocks = Clocks(forwarder)
        clocks.shift(jump)
        async with forwarder:
            assert (await forwarder.post(events(0, 1)))[0] == 202
            await forwarder.until(lambda: len(forwarder.logged("batch.deferred")) >= 2)
            waits = [line["retry_in"] for line in forwarder.logged("batch.deferred")]
            # Behind, the date is hours away: capped at `retry.max`. Ahead, it has passed: the back-off alone counts.
            assert waits[0] == 0.2 if jump < 0 else 0 <= waits[0] <= 0.04


@pytest.mark.parametrize("jump", JUMPS)
async def test_a_jump_among_dead_letters(tmp_path: Path, jump: float) -> None:
    """Dead letters from before a jump and after it are listed, told apart by their age, and replayed."""
    trial = Trial(tmp_path / "f", faults="reject:x")
    trial.forwarder.config["destinations"]["main"]["batch"]["max_events"] = 1
    clocks = Clocks(trial.forwarder)
    async with trial, trial.forwarder:
        await bury(trial)
        clocks.shift(jump)
        await bury(trial)
        assert (await trial.forwarder.settled())["dead"] == 2
        letters = listed(trial, "dead", "list", "--json")
        died = [datetime.fromisoformat(letter["died_at"]) for letter in letters]
        assert (died[1] - died[0]).total_seconds() == pytest.approx(jump, abs=60)
        # Set forward, the clock makes the first one old; set back, it makes nothing old.
        assert listed(trial, "dead", "list", "--json", "--older-than", "1h") == (letters[:1] if jump > 0 else [])
        trial.receiver.faults = ""
        await trial.forwarder.admin("POST", "/v1/dead/replay", json={"all": True})
        account = await trial.forwarder.settled()
        assert (account["delivered"], account["dead"]) == (len(trial.accepted), 0)
        assert sorted(trial.arrived) == trial.accepted


# --- age ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jump", JUMPS)
async def test_no_jump_makes_events_old(tmp_path: Path, jump: float) -> None:
    """No event is given up for a clock that jumped, whenever it was accepted, also after a reload."""
    trial = tried(tmp_path / "f", DOWN, retry={"give_up_after": "1h"})
    clocks = Clocks(trial.forwarder)
    async with trial, trial.forwarder:
        # The first events are stamped by the clock that is behind the other: they would be old by that one.
        for shift in sorted((0.0, jump)):
            clocks.shift(shift)
            assert await trial.post()
            # One may be under way.
            await attempts(trial, 3)
            await reload(trial)
            await attempts(trial, 2)
        assert (await sane(trial))["dead"] == 0
        trial.receiver.faults = ""
        await trial.check()


async def test_age_counts_after_a_jump(tmp_path: Path) -> None:
    """After a clock was set forward events are given up as late as ever, those of before and those of after."""
    trial = tried(tmp_path / "f", DOWN, retry={"give_up_after": "600ms"})
    clocks = Clocks(trial.forwarder)
    async with trial, trial.forwarder:
        assert await trial.post()
        clocks.shift(5 * HOUR)
        assert await trial.post()
        await trial.forwarder.settled()
        reasons = [letter["reason"] for letter in listed(trial, "dead", "list", "--json")]
        assert reasons == ["expired"] * 20


@pytest.mark.parametrize("jump", JUMPS)
async def test_restarted_with_another_clock(tmp_path: Path, jump: float) -> None:
    """What was queued under a clock hours away is delivered, in order, and is never younger than nothing."""
    trial = tried(tmp_path / "f", DOWN)
    clocks = Clocks(trial.forwarder)
    clocks.shift(jump)
    async with trial:
        async with trial.forwarder:
            assert await trial.post()
            await trial.forwarder.kill()
        clocks.shift(0.0)
        if jump > 0:
            # They seem to come from the future: not old enough to be given up.
            trial.forwarder.config["destinations"]["main"]["retry"]["give_up_after"] = "1ms"
        async with trial.forwarder:
            assert (await sane(trial))["oldest_age_seconds"] == pytest.approx(max(0.0, -jump), abs=60)
            await attempts(trial, 2)
            trial.receiver.faults = ""
            await trial.check()


@pytest.mark.parametrize("value", [-1.0, 1e300, float("inf"), float("-inf")])
async def test_a_time_that_cannot_be(tmp_path: Path, value: float) -> None:
    """Whatever stands in the queue's file as a time, all that looks at it works, and the events are delivered."""
    trial = Trial(tmp_path / "f", faults="reject:x")
    async with trial:
        async with trial.forwarder:
            await bury(trial)
            await trial.forwarder.settled()
            trial.receiver.faults = DOWN
            assert await trial.post(1)
            await trial.forwarder.stop()
        with closing(sqlite3.connect(trial.forwarder.config["queue"]["path"])) as db, db:
            assert db.execute("UPDATE segment SET accepted_at = ?", (value,)).rowcount == 1
            assert db.execute("UPDATE dead_segment SET died_at = ?", (value,)).rowcount == 1
        db.close()
        async with trial.forwarder:
            account = await sane(trial)
            assert (account["queued"], account["dead"]) == (1, 1)
            # Not longer ago than 1970.
            assert account["oldest_age_seconds"] < 1e10
            [letter] = listed(trial, "dead", "list", "--json")
            assert datetime.fromisoformat(letter["died_at"]).year in {1970, 9999}
            assert len(listed(trial, "queue", "peek")) == 1
            for words in (("status",), ("dead", "list"), ("dead", "show", "--id", "1")):
                shown = trial.forwarder.command(*words)
                assert shown.returncode == 0, shown.stderr
                assert max(map(len, shown.stdout.splitlines())) < 200
            trial.receiver.faults = ""
            await trial.forwarder.admin("POST", "/v1/dead/replay", json={"all": True})
            account = await trial.forwarder.settled()
            assert (account["delivered"], account["dead"]) == (len(trial.accepted), 0)


# --- a process that stands still ------------------------------------------------------------------


class Producers:
    """Some that send while nobody reads: over fresh and kept connections, whole requests and the rest of begun ones."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._connections: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.singles = list(range(1000, 1005))
        """Events that are sent over HTTP, one a request."""
        self.lines = list(range(2000, 2100))
        """Events that are sent over the stream, in this order."""

    async def begin(self) -> None:
        """Connect, send two events, and begin what is ended later."""
        self._connections = [await asyncio.open_unix_connection(self._folder / "http.sock") for _ in range(4)]
        self._connections.append(await asyncio.open_unix_connection(self._folder / "stream.sock"))
        _fresh, kept, single, several, stream = self._connections
        kept[1].write(posted(line(1000)))
        assert await answered(kept[0]) == 202
        single[1].write(posted(line(1001))[:-10])
        several[1].write(posted(line(1002), "application/x-ndjson")[:-10])
        stream[1].write(line(2000) + b"\n" + line(2001)[:-10])
        assert await stream[0].readline() == b'{"ack": 1}\n'

    async def send(self) -> None:
        """Send the rest of what was begun, and more."""
        fresh, kept, single, several, stream = [writer for _reader, writer in self._connections]
        single.write(posted(line(1001))[-10:])
        several.write(posted(line(1002), "application/x-ndjson")[-10:])
        fresh.write(posted(line(1003)))
        kept.write(posted(line(1004)))
        stream.write(line(2001)[-10:] + b"".join(b"\n" + line(number) for number in self.lines[2:]))
        stream.write_eof()
        # Into the hands of the system, whoever reads it.
        await asyncio.gather(*[writer.drain() for _reader, writer in self._connections])

    async def end(self) -> None:
        """Wait for the answers: all is accepted."""
        *requests, (stream, _writer) = self._connections
        assert [await answered(reader) for reader, _writer in requests] == [202] * 4
        assert (await stream.read()).endswith(b'{"ack": 100}\n')
        for _reader, writer in self._connections:
            writer.close()


def line(number: int) -> bytes:
    return json.dumps(events(number, 1)[0]).encode()


def posted(body: bytes, kind: str = "application/json") -> bytes:
    head = f"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n".encode() + body


async def answered(reader: asyncio.StreamReader) -> int:
    """Read an answer; return its status."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower().splitlines()
    [length] = [int(field.removeprefix("content-length:")) for field in head if field.startswith("content-length:")]
    await reader.readexactly(length)
    return int(head[0].split()[1])


async def stand_still(trial: Trial, seconds: float, act: Callable[[], None], state: str = "") -> None:
    """Stop the process for so long while producers send and wait; then all is as if it had not been.

    With a state, the destination is in it when the process is stopped: a Retry-After that the process has not
    read by then would count from the moment it goes on.
    """

    async def arrived_there() -> bool:
        return not state or (await sane(trial))["state"] == state

    assert trial.forwarder.process is not None
    producers = Producers(trial.forwarder.folder)
    await producers.begin()
    await trial.forwarder.until(lambda: trial.receiver.stats.requests >= 1)
    await trial.forwarder.until(arrived_there)
    trial.forwarder.process.send_signal(signal.SIGSTOP)
    await producers.send()
    asked = asyncio.create_task(trial.forwarder.ready())
    await asyncio.sleep(seconds)
    act()
    trial.forwarder.process.send_signal(signal.SIGCONT)
    async with asyncio.timeout(PATIENCE):
        await producers.end()
        assert await asked == (True, "")
    account = await trial.forwarder.settled()
    assert (account["delivered"], account["dead"]) == (105, 0)
    arrived = list(dict.fromkeys(trial.arrived))
    assert sorted(arrived) == producers.singles + producers.lines
    assert [number for number in arrived if number in producers.lines] == producers.lines
    # Only what was in flight may have come twice: at most the two events of before.
    assert trial.duplicates <= 2
    # Nothing is left of the trouble.
    assert await trial.post()
    await trial.forwarder.settled()
    assert (await sane(trial))["state"] == "idle"
    assert (await trial.forwarder.ready())[0]


@pytest.mark.parametrize("faults", ["slow:0.5", "503*5", "timeout:0.5,503", "slow:2"])
async def test_stopped_for_longer_than_its_timeouts(tmp_path: Path, faults: str) -> None:
    """A process that is stopped, and goes on, has lost nothing, and leaves no producer without an answer."""
    async with tried(tmp_path / "f", faults, timeout="300ms") as trial, trial.forwarder:
        await stand_still(trial, 1.0, lambda: None)


@pytest.mark.parametrize(("faults", "state"), [("slow:60", "delivering"), (f"503:{LONGEST_WAIT:.0f}", "backing_off")])
async def test_stopped_for_hours(tmp_path: Path, faults: str, state: str) -> None:
    """Stopped for longer than anything waits for, it takes what producers sent meanwhile for as good as in time."""
    trial = tried(tmp_path / "f", faults, retry={"max": LONGEST_WAIT})
    clocks = Clocks(trial.forwarder, monotonic=True)
    async with trial, trial.forwarder:
        await stand_still(trial, 0.0, lambda: clocks.shift(2 * HOUR), state)
        assert (await trial.forwarder.status())["uptime_seconds"] > 2 * HOUR
