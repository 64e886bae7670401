"""Calls of the disk that fail, once or for a while: nothing is lost, nothing is believed, and it goes on by itself."""

from __future__ import annotations

import random
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.faults.disk import image_disk, memory_disk
from tests.faults.injection import Injection, end, failures, inject, skip_without_tracer
from tests.faults.sweep import KINDS, fail_one_call
from tests.faults.trial import DISK_FULL, STORAGE_FAILING, Trial

pytestmark = pytest.mark.system
MIB = 1 << 20
# Behind what a start takes, before what a test sends has ended.
LATER = 40


@pytest.fixture
def tracer() -> None:
    skip_without_tracer()


@pytest.mark.usefixtures("tracer")
@pytest.mark.parametrize(("calls", "error"), KINDS)
async def test_one_call_fails(tmp_path: Path, calls: str, error: str) -> None:
    """Whichever call fails, once: what was accepted arrives in order, what was refused does not, and all adds up."""
    chance = random.Random(f"{calls} {error}")
    call = chance.randint(1, 4 if calls == "ftruncate" else 60)
    await fail_one_call(tmp_path / "f", Injection(calls, error, call), chance)


@pytest.mark.usefixtures("tracer")
@pytest.mark.parametrize(
    ("calls", "error", "problem"),
    [
        ("fsync,fdatasync", "EIO", STORAGE_FAILING),
        ("pwrite64", "EIO", STORAGE_FAILING),
        ("pwrite64", "EROFS", STORAGE_FAILING),
        ("pwrite64", "ENOSPC", DISK_FULL),
    ],
)
async def test_all_calls_fail_for_a_while(tmp_path: Path, calls: str, error: str, problem: str) -> None:
    """While the disk fails nothing is accepted, readiness and one line of the log say so; then it goes on by itself."""
    async with Trial(tmp_path / "f") as trial:
        trace = inject(trial.forwarder, Injection(calls, error, LATER, to_the_end=True))
        async with trial.forwarder:
            await trial.post_until_refused(0)
            for _ in range(5):
                assert not await trial.post()
            assert trial.problems.keys() == {problem}
            before = failures(trace)
            # It tries by itself, and is not taken in by a try that writes nothing.
            await trial.forwarder.until(lambda: failures(trace) >= before + 3)
            assert not (await trial.forwarder.ready())[0]
            end(trial.forwarder)
            await trial.forwarder.becomes_ready()
            assert await trial.post()
            await trial.check()
            trial.logged_once("queue.storage_failing", "queue.storage_recovered")


@pytest.mark.usefixtures("tracer")
async def test_a_sync_that_failed_is_not_believed_later(tmp_path: Path) -> None:
    """After a sync that failed nothing is synced again that was not written again: the system forgets what it lost."""
    async with Trial(tmp_path / "f") as trial:
        trace = inject(trial.forwarder, Injection("fdatasync", "EIO", LATER), also="pwrite64")
        async with trial.forwarder:
            while not failures(trace):
                await trial.post()
            await trial.forwarder.becomes_ready()
            for _ in range(3):
                assert await trial.post()
            await trial.check()
        calls = re.findall(r"(pwrite64|fdatasync)\(\d+<.*?(-wal)?>.*?(INJECTED|$)", trace.read_text(), re.MULTILINE)
    failed = next(index for index, call in enumerate(calls) if call[2])
    synced = next(index for index in range(failed + 1, len(calls)) if calls[index][0] == "fdatasync")
    assert calls[failed][1] == calls[synced][1] == "-wal"
    assert ("pwrite64", "-wal", "") in calls[failed + 1 : synced]


@pytest.mark.usefixtures("tracer")
async def test_a_refusal_outlives_a_crash(tmp_path: Path) -> None:
    """Events that were refused because their sync failed are not found, and sent, by a process that comes after."""
    # Nothing is delivered at first, so that the sync that fails is one of an accept, and not of a settlement.
    async with Trial(tmp_path / "f", faults="503*1000000") as trial:
        trace = inject(trial.forwarder, Injection("fdatasync", "EIO", LATER))
        async with trial.forwarder:
            while await trial.post():
                assert len(trial.accepted) < 10_000
            assert failures(trace)
            await trial.forwarder.kill()
        trial.forwarder.prefix = ()
        trial.receiver.faults = ""
        async with trial.forwarder:
            await trial.check()


async def test_read_only_at_a_start(tmp_path: Path) -> None:
    """On a disk that cannot be written a start ends with 74 and names it; mounted for writing, all is there."""
    with memory_disk(tmp_path / "disk", 16 * MIB) as disk:
        async with Trial(tmp_path / "f", queue=disk.queue, faults="503*1000000") as trial:
            async with trial.forwarder:
                assert await trial.post()
                await trial.forwarder.stop()
            disk.remount("ro")
            assert await trial.forwarder.start_or_end() == 74
            [said] = trial.forwarder.said()
            assert said == f"forwarder: {disk.queue.parent} cannot be used for the queue: Read-only file system"
            disk.remount("rw")
            trial.receiver.faults = ""
            async with trial.forwarder:
                assert await trial.post()
                await trial.check()


async def test_a_file_system_that_gives_up(tmp_path: Path) -> None:
    """A file system that turns read-only while it is used stops the intake alone; mended, nothing is missing."""
    with image_disk(tmp_path / "disk", 64 * MIB) as disk:
        async with Trial(tmp_path / "f", queue=disk.queue) as trial, trial.forwarder:
            assert await trial.post()
            await trial.forwarder.settled()
            # What ext4 does with errors=remount-ro when it finds one.
            disk.remount("abort")
            for _ in range(5):
                assert not await trial.post()
            assert trial.problems.keys() == {STORAGE_FAILING}
            assert not (await trial.forwarder.ready())[0]
            trial.logged_once("queue.storage_failing")
            assert await trial.forwarder.stop(signal.SIGTERM) == 0
    subprocess.run(["e2fsck", "-fy", str(tmp_path / "disk.img")], check=False, capture_output=True)
    with image_disk(tmp_path / "disk", 64 * MIB) as disk:
        async with Trial(tmp_path / "f", queue=disk.queue) as after, after.forwarder:
            assert await after.post()
            await after.forwarder.settled()
            account = await after.forwarder.account()
            assert (account["accepted"], account["delivered"]) == (20, 20)
