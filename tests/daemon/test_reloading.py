"""Reloads: all of a configuration or nothing of it, one after the other, and the last refusal is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from forwarder.config import Config
from forwarder.daemon.assembly import Assembly
from forwarder.daemon.reloading import Reloading
from forwarder.daemon.report import Report
from forwarder.errors import ConfigError, ListenError, Problem, ShuttingDownError
from forwarder.observe.facts import Notice
from forwarder.receiver import Receiver
from forwarder.signing import Signer, generate_key
from forwarder.systemd import Notifier
from tests.integration.process import events
from tests.integration.receiving import LOCAL, point, receiver_for
from tests.observe.recording import Recording
from tests.queue.building import numbers
from tests.queue.watched import WatchedQueue


@pytest.mark.slow
async def test_reload(tmp_path: Path) -> None:
    """SIGHUP puts a new configuration in place; a bad one changes nothing and says what is wrong."""
    forwarder, receiver = receiver_for(tmp_path / "f")
    main = forwarder.config["destinations"]["main"]
    async with receiver, point(forwarder, receiver):
        assert forwarder.process is not None
        forwarder.config["destinations"]["main"] = {**main, "timeout": "soon"}
        forwarder.write_config()
        forwarder.process.send_signal(1)
        await forwarder.until(lambda: forwarder.logged("reload.refused"))
        assert "destinations.main.timeout" in forwarder.logged("reload.refused")[0]["problem"]
        await forwarder.post(events(0, 5))
        await forwarder.settled()
        forwarder.config["destinations"] = {"main": main, "second": {**main, "match": {"eventType": "other"}}}
        forwarder.config["ingest"]["http"]["listen"].append("tcp:127.0.0.1:0")
        forwarder.write_config()
        forwarder.process.send_signal(1)
        await forwarder.until(lambda: forwarder.logged("reload.done"))
        await forwarder.post(events(5, 5, eventType="other"))
        await receiver.wait_stored(15, 30)
        assert (await forwarder.account("second"))["accepted"] == 5


@pytest.mark.slow
async def test_a_key_is_rotated_by_replacing_its_file(tmp_path: Path) -> None:
    """A new key file is picked up without a signal; nothing is lost or dead, and a broken one changes nothing."""
    forwarder, receiver = receiver_for(tmp_path / "f")
    new_key = tmp_path / "new.pem"
    new_key.touch(mode=0o600)
    new_key.write_bytes(generate_key(2048))
    public = [forwarder.signer.public("pem"), Signer.load(new_key).public("pem")]
    receiver = Receiver(LOCAL, public_keys=public)
    async with receiver, point(forwarder, receiver):
        forwarder.key_file.write_bytes(b"nonsense")
        await forwarder.until(lambda: forwarder.logged("reload.refused"))
        await forwarder.post(events(0, 10))
        await forwarder.settled()
        new_key.replace(forwarder.key_file)
        await forwarder.until(lambda: forwarder.logged("reload.done"))
        await forwarder.post(events(10, 10))
        account = await forwarder.settled()
        started = [line["key"] for line in forwarder.logged("destination.started")]
    assert (account["delivered"], account["dead"]) == (20, 0)
    assert len(started) == 2
    assert len(set(started)) == 2
    assert len(forwarder.logged("reload.refused")) == 1
    assert numbers(receiver.events) == list(range(20))


# --- without a process -------------------------------------------------------------------------


@dataclass
class Life:
    """The reloads of a daemon that does nothing else."""

    reloading: Reloading
    wanted: asyncio.Event
    placed: list[Assembly]
    observer: Recording
    errors: list[Exception]
    """What putting in place raises, one reload after the other; nothing once it is empty."""


EMPTY = Config(destinations={})


@asynccontextmanager
async def living(load: Callable[[], Config] = lambda: EMPTY, gate: asyncio.Event | None = None) -> AsyncIterator[Life]:
    """Run the reloads; with a gate, each is put in place only when that is set."""
    placed: list[Assembly] = []
    errors: list[Exception] = []

    async def put_in_place(assembly: Assembly) -> None:
        if gate is not None:
            await gate.wait()
        if errors:
            raise errors.pop(0)
        placed.append(assembly)

    observer = Recording()
    reloading = Reloading(Assembly.build(EMPTY), load, put_in_place, observer)
    life = Life(reloading, asyncio.Event(), placed, observer, errors)
    running = asyncio.create_task(reloading.run(life.wanted, Report(Notifier({}), WatchedQueue(), lambda: "")))
    await asyncio.sleep(0)
    try:
        yield life
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def keys(life: Life) -> list[str]:
    return [fact.key for fact in life.observer.facts if isinstance(fact, Notice)]


async def test_a_refusal_is_kept_until_a_reload_is_good() -> None:
    """Each problem is told and kept, whatever refuses it; the next good reload clears it."""
    async with living() as life:
        life.errors[:] = [
            ListenError("taken", hint="listen elsewhere"),
            ConfigError([Problem("f", "a", "is wrong", "")]),
        ]
        refused = await life.reloading.reload()
        assert refused is not None
        assert refused.problems == ("taken. listen elsewhere",)
        assert life.reloading.refused == refused
        refused = await life.reloading.reload()
        assert refused is not None
        assert refused.problems == ("f: a: is wrong",)
        assert await life.reloading.reload() is None
        assert life.reloading.refused is None
        assert len(life.placed) == 1
    assert keys(life) == ["reload.refused", "reload.refused"]


async def test_a_bug_refuses_a_reload_and_ends_nothing() -> None:
    """An error that nobody foresaw is told with its traceback, and later reloads go on."""
    async with living() as life:
        life.errors.append(RuntimeError("a secret of the inside"))
        refused = await life.reloading.reload()
        assert refused is not None
        assert refused.problems == ("RuntimeError, see the log",)
        assert await life.reloading.reload() is None
    assert keys(life) == ["reload.failed"]


async def test_one_reload_follows_the_other() -> None:
    """While one is put in place, the next one waits, and reads the configuration only afterwards."""
    gate = asyncio.Event()
    loads: list[None] = []

    def load() -> Config:
        loads.append(None)
        return EMPTY

    async with living(load, gate) as life:
        both = [asyncio.create_task(life.reloading.reload()) for _ in range(2)]
        await asyncio.sleep(0.1)
        assert (len(loads), life.placed) == (1, [])
        gate.set()
        assert await asyncio.gather(*both) == [None, None]
        assert (len(loads), len(life.placed)) == (2, 2)


async def test_a_reload_goes_on_without_whoever_asked_for_it() -> None:
    """A request whose connection the reload itself closes does not take the reload with it."""
    gate = asyncio.Event()
    async with living(gate=gate) as life:
        asking = asyncio.create_task(life.reloading.reload())
        await asyncio.sleep(0.05)
        asking.cancel()
        gate.set()
        async with asyncio.timeout(10):
            while not life.placed:
                await asyncio.sleep(0.01)


async def test_the_signal_reloads() -> None:
    """The event that SIGHUP sets starts a reload and is cleared for the next one."""
    async with living() as life:
        for count in (1, 2):
            life.wanted.set()
            async with asyncio.timeout(10):
                while len(life.placed) < count:
                    await asyncio.sleep(0.01)
            assert not life.wanted.is_set()


async def test_no_reload_before_the_start_and_after_the_end() -> None:
    """While the daemon starts or stops nothing is reloaded, and whoever asks is told to come again."""
    async with living() as life:
        pass
    with pytest.raises(ShuttingDownError):
        await life.reloading.reload()
    assert life.placed == []
