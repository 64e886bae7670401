"""A disk without room: nothing is lost, what is queued is delivered, and all goes on once there is room."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.disk import Disk, memory_disk
from tests.faults.trial import DISK_FULL, Trial
from tests.integration.process import events

pytestmark = pytest.mark.system

MIB = 1 << 20
DOWN = "503*1000000"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with memory_disk(tmp_path / "disk", 8 * MIB) as disk:
        yield disk


async def test_filled_by_its_own_events(tmp_path: Path, disk: Disk) -> None:
    """Events are refused once the disk is full; what is queued is delivered, and that makes room for more."""
    async with Trial(tmp_path / "f", queue=disk.queue, faults=DOWN) as trial, trial.forwarder:
        await trial.post_until_refused(1000)
        for _ in range(20):
            assert not await trial.post()
        assert (await trial.forwarder.ready()) == (False, "the disk of the queue is full")
        assert trial.problems.keys() == {DISK_FULL}
        trial.logged_once("queue.storage_failing")
        status = await trial.forwarder.status()
        assert [warned["key"] for warned in status["warnings"]] == ["queue.storage_failing"]
        assert status["warnings"][0]["detail"] == status["not_ready"] == "the disk of the queue is full"
        trial.receiver.faults = ""
        await trial.forwarder.settled()
        await trial.forwarder.becomes_ready()
        assert await trial.post()
        trial.logged_once("queue.storage_failing", "queue.storage_recovered")
        assert (await trial.forwarder.status())["warnings"] == []
        await trial.check()


async def test_filled_by_another_program(tmp_path: Path, disk: Disk) -> None:
    """With not a byte left events are refused, what was accepted is delivered and settled; room is enough to go on."""
    async with Trial(tmp_path / "f", queue=disk.queue, faults=DOWN) as trial, trial.forwarder:
        await fill_up(trial, disk)
        # Once something is delivered, its own space may be enough to go on with.
        assert not await trial.post()
        assert not (await trial.forwarder.ready())[0]
        trial.logged_once("queue.storage_failing")
        trial.receiver.faults = ""
        await trial.forwarder.settled()
        disk.make_room()
        await trial.forwarder.becomes_ready()
        assert await trial.post()
        trial.logged_once("queue.storage_failing", "queue.storage_recovered")
        await trial.check()


async def test_restarted_while_it_is_full(tmp_path: Path, disk: Disk) -> None:
    """A start on a full disk delivers what is queued, and settles it; room is enough to go on."""
    async with Trial(tmp_path / "f", queue=disk.queue, faults=DOWN) as trial:
        async with trial.forwarder:
            await fill_up(trial, disk)
            await trial.forwarder.kill()
        trial.receiver.faults = ""
        async with trial.forwarder:
            await trial.forwarder.settled()
            disk.make_room()
            await trial.forwarder.becomes_ready()
            assert await trial.post()
            await trial.check()


async def test_restarted_with_not_a_byte_left(tmp_path: Path, disk: Disk) -> None:
    """Where even the settlements' room is gone, it starts, delivers what it may have unsettled, and waits for room."""
    async with Trial(tmp_path / "f", queue=disk.queue, faults=DOWN) as trial:
        async with trial.forwarder:
            await fill_up(trial, disk)
            await trial.forwarder.kill()
        disk.fill()
        trial.receiver.faults = ""
        async with trial.forwarder:
            await trial.forwarder.until(lambda: trial.receiver.events)
            assert not (await trial.forwarder.ready())[0]
            assert not await trial.post()
            disk.make_room()
            await trial.forwarder.becomes_ready()
            assert await trial.post()
            await trial.check()


async def fill_up(trial: Trial, disk: Disk) -> None:
    """Queue some events, and let another program take all the room that is left."""
    for _ in range(20):
        assert await trial.post(50, 1000)
    disk.fill()
    await trial.post_until_refused(1000)


async def test_no_room_to_begin(tmp_path: Path, disk: Disk) -> None:
    """Where there is no room for a queue at all, a start ends with 74 and one line that says what to do."""
    async with Trial(tmp_path / "f", queue=disk.queue) as trial:
        disk.queue.parent.mkdir()
        disk.fill()
        assert await trial.forwarder.start_or_end() == 74
        said = trial.forwarder.said()
        assert len(said) == 2
        assert said[1] == "hint: free space on it; no restart is needed" or "No space left" in said[0]
        disk.make_room()
        async with trial.forwarder:
            assert await trial.post()
            await trial.check()


async def test_a_stream_waits(tmp_path: Path, disk: Disk) -> None:
    """A client of the stream is not told off while the disk is full: its acks come once there is room."""
    async with Trial(tmp_path / "f", queue=disk.queue) as trial, trial.forwarder:
        assert await trial.post()
        disk.fill()
        await trial.post_until_refused(1000)
        with trial.forwarder.stream() as peer:
            for event in events(1_000_000, 20):
                peer.sendall(json.dumps(event).encode() + b"\n")
            trial.accepted += range(1_000_000, 1_000_020)
            peer.shutdown(1)
            peer.settimeout(1.0)
            with pytest.raises(TimeoutError):
                peer.recv(100)
            disk.make_room()
            peer.settimeout(30.0)
            answers = peer.makefile("rb").read().splitlines()
        assert json.loads(answers[-1]) == {"ack": 20}
        await trial.check()
