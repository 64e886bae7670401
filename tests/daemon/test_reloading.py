"""Reloads: all of a configuration or nothing of it, one after the other, and the last refusal is kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from forwarder.config import Config
from forwarder.daemon.assembly import Assembly
from forwarder.daemon.config_file import ConfigFile
from forwarder.daemon.reloading import Reloading
from forwarder.daemon.report import Report
from forwarder.errors import ConfigError, ListenError, Problem, ShuttingDownError
from forwarder.observe.conditions import Conditions
from forwarder.observe.facts import Notice
from forwarder.receiver import Receiver
from forwarder.signing import Signer, generate_key
from forwarder.systemd import Notifier
from tests.fixtures import PATIENCE
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
    conditions: Conditions

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so."""
        async with asyncio.timeout(20):
            while not is_so():
                await asyncio.sleep(0.02)


EMPTY = Config(destinations={})


@asynccontextmanager
async def living(
    load: Callable[[], Config] = lambda: EMPTY,
    gate: asyncio.Event | None = None,
    file: Path = Path("/nowhere/forwarder.yaml"),
) -> AsyncIterator[Life]:
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
    config_file, conditions = ConfigFile(file, load), Conditions(observer, time.time)
    assembly = Assembly.build(config_file.load())
    reloading = Reloading(assembly, config_file, put_in_place, observer, conditions)
    life = Life(reloading, asyncio.Event(), placed, observer, errors, conditions)
    report = Report(Notifier({}), WatchedQueue(), lambda: None, lambda: "")
    running = asyncio.create_task(reloading.run(life.wanted, report))
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
        loads.clear()
        both = [asyncio.create_task(life.reloading.reload()) for _ in range(2)]
        await asyncio.sleep(0.1)
        assert (len(loads), life.placed) == (1, [])
        gate.set()
        assert await asyncio.gather(*both) == [None, None]
        assert (len(loads), len(life.placed)) == (2, 2)


async def test_a_configuration_that_nobody_has_read_is_told(tmp_path: Path) -> None:
    """That the file has changed is told until it is read, or says again what is in force; a touch says nothing."""
    file = tmp_path / "forwarder.yaml"
    file.write_text("one")
    async with living(file=file) as life:
        file.write_text("two")
        await life.until(lambda: bool(life.conditions.active()))
        (condition,) = life.conditions.active()
        assert (condition.key, condition.destination) == ("config.not_read", None)
        assert str(file) in condition.detail
        assert life.reloading.file.is_changed
        file.write_text("one")
        await life.until(lambda: not life.conditions.active())
        file.write_text("three")
        await life.until(lambda: bool(life.conditions.active()))
        assert await life.reloading.reload() is None
        await life.until(lambda: not life.conditions.active())
        assert not life.reloading.file.is_changed
    assert len(life.placed) == 1


async def test_a_configuration_that_is_put_back_is_not_refused_any_more(tmp_path: Path) -> None:
    """After a mistake was refused, the old content is neither unread nor a reason to tell of the refusal."""
    file = tmp_path / "forwarder.yaml"
    file.write_text("one")

    def load() -> Config:
        if file.read_text() == "mistake":
            raise ConfigError([Problem(str(file), "", "a mistake", "")])
        return EMPTY

    async with living(load, file=file) as life:
        file.write_text("mistake")
        assert await life.reloading.reload() is not None
        file.write_text("one")
        await life.until(lambda: life.reloading.refused is None)
        assert not life.reloading.file.is_changed
        await asyncio.sleep(0)
        assert list(life.conditions.active()) == []
    assert life.placed == []


async def test_a_configuration_that_was_refused_was_read(tmp_path: Path) -> None:
    """What was read and refused is not unread, but it is not in force either."""
    file = tmp_path / "forwarder.yaml"
    file.write_text("one")
    async with living(file=file) as life:
        file.write_text("two")
        life.errors.append(ListenError("taken", hint="listen elsewhere"))
        assert await life.reloading.reload() is not None
        assert (life.reloading.file.is_unread, life.reloading.file.is_changed) == (False, True)


async def test_a_configuration_is_read_by_itself(tmp_path: Path) -> None:
    """With `reload: auto` the file is read within seconds after it has changed, once, also where it is refused."""
    file = tmp_path / "forwarder.yaml"
    file.write_text("one")
    async with living(lambda: replace(EMPTY, reload="auto"), file=file) as life:
        file.write_text("two")
        await life.until(lambda: len(life.placed) == 1)
        life.errors.append(ListenError("taken", hint="listen elsewhere"))
        file.write_text("three")
        await life.until(lambda: life.reloading.refused is not None)
        assert life.conditions.active() == []
    assert keys(life) == ["reload.refused"]


async def test_a_reload_goes_on_without_whoever_asked_for_it() -> None:
    """A request whose connection the reload itself closes does not take the reload with it."""
    gate = asyncio.Event()
    async with living(gate=gate) as life:
        asking = asyncio.create_task(life.reloading.reload())
        await asyncio.sleep(0.05)
        asking.cancel()
        gate.set()
        async with asyncio.timeout(PATIENCE):
            while not life.placed:
                await asyncio.sleep(0.01)


async def test_the_signal_reloads() -> None:
    """The event that SIGHUP sets starts a reload and is cleared for the next one."""
    async with living() as life:
        for count in (1, 2):
            life.wanted.set()
            async with asyncio.timeout(PATIENCE):
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
