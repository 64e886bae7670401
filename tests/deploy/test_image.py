"""The image as it is built from the Dockerfile, run as read-only and unprivileged as it goes."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from forwarder import __version__
from tests.deploy.engine import BASE, IMAGE, PROJECT, UID, Engine, needs_containers
from tests.deploy.sidecar import Sidecar, feed, write_key
from tests.integration.process import PATIENCE, events, request
from tests.queue.building import numbers

pytestmark = [pytest.mark.system, needs_containers]

# What an application in another container does, with nothing but Python's library.
EVENT = '{"eventSourceId":"app","eventType":"login"}'
_APPLICATION = """
import socket, sys
stream = socket.socket(socket.AF_UNIX)
stream.settimeout(60)
stream.connect("/run/forwarder/stream.sock")
stream.sendall(sys.argv[1].encode())
stream.shutdown(socket.SHUT_WR)
print(stream.makefile().read())
"""


def lines(first: int, count: int) -> bytes:
    """Return numbered events, one a line."""
    return b"".join(json.dumps(event).encode() + b"\n" for event in events(first, count))


# --- what is in it ---------------------------------------------------------------------------------


def test_description(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    """The image says what it is, runs as a fixed user, keeps its state in volumes and stops by SIGTERM."""
    found = engine.inspect(IMAGE)
    config, labels = found["Config"], found["Labels"]
    size, base = (engine.inspect(name)["Size"] / 1e6 for name in (IMAGE, BASE))
    with capsys.disabled():
        sys.stdout.write(f"\nthe image takes {size:.0f} MB, its base {base:.0f} MB\n")
    # A compiler or a cache of packages that slipped in would take more.
    assert size - base < 100
    assert config["User"] == f"{UID}:{UID}"
    assert config["StopSignal"] == "SIGTERM"
    assert config["Entrypoint"] == ["forwarder"]
    assert set(config["Volumes"]) == {"/var/lib/forwarder", "/run/forwarder", "/run/forwarder-admin"}
    assert labels["org.opencontainers.image.title"] == "event-forwarder"
    assert labels["org.opencontainers.image.version"] == __version__
    assert labels["org.opencontainers.image.revision"] == "0123abc"
    assert labels["org.opencontainers.image.base.name"] == BASE
    assert labels["org.opencontainers.image.description"]


def test_nothing_to_build_with(engine: Engine) -> None:
    """There is no compiler and no installer of packages in the image, and the version is that of the sources."""
    run = ("podman", "run", "--rm", "--network=none")
    assert engine.command(*run, IMAGE, "version") == f"forwarder {__version__}\n"
    script = (
        "! command -v gcc cc g++ make pip pip3 && "
        "for python in python3 /usr/bin/python3; do for module in pip setuptools ensurepip; do "
        '! $python -c "import $module" 2>/dev/null || exit 1; done; done; '
        "! find / -xdev -path '*-packages/*' 2>/dev/null | grep -E '/(pip|setuptools)(-[^/]*)?$'"
    )
    engine.command(*run, "--entrypoint=sh", IMAGE, "-c", script)
    # The same script fails in the base image, which brings pip.
    with pytest.raises(AssertionError):
        engine.command(*run, BASE, "sh", "-c", script)


def test_packages_have_the_tested_versions(engine: Engine) -> None:
    """What the image was built from on another day is the same: the versions of config/constraints.txt."""
    script = "from importlib.metadata import distributions as d; print(*(f'{p.name}=={p.version}' for p in d()))"
    run = ("podman", "run", "--rm", "--network=none", "--entrypoint=/opt/forwarder/bin/python3")
    installed = set(engine.command(*run, IMAGE, "-c", script).split()) - {f"event-forwarder=={__version__}"}
    assert {"aiohttp", "yarl"} <= {line.partition("==")[0] for line in installed}
    assert installed <= set((PROJECT / "config/constraints.txt").read_text(encoding="utf-8").splitlines())


def test_a_change_of_the_program_keeps_the_layer_of_its_dependencies(engine: Engine, tmp_path: Path) -> None:
    """A build after a change of the program alone installs no dependency again, and ships its own layer."""
    for name in ("Dockerfile", ".dockerignore", "pyproject.toml", "README.md"):
        shutil.copy(PROJECT / name, tmp_path / name)
    for name in ("forwarder", "config"):
        shutil.copytree(PROJECT / name, tmp_path / name)
    module = tmp_path / "forwarder" / "__init__.py"
    module.write_text(module.read_text(encoding="utf-8") + "\n# another build\n", encoding="utf-8")
    printed = engine.build(tmp_path, "localhost/event-forwarder:changed", "--build-arg=REVISION=4567def")
    assert "Collecting aiohttp" not in printed
    assert "Successfully installed event-forwarder" in printed
    before, after = (engine.inspect(name)["RootFS"]["Layers"] for name in (IMAGE, "localhost/event-forwarder:changed"))
    base = len(engine.inspect(BASE)["RootFS"]["Layers"])
    # The base, the user and the folders, the dependencies; then the program.
    assert before[: base + 2] == after[: base + 2]
    assert before[base + 2] != after[base + 2]


# --- how it runs -----------------------------------------------------------------------------------


async def test_confined(engine: Engine, tmp_path: Path) -> None:
    """Process 1 is the forwarder, as user 10001, without a capability, on a file system that it cannot write."""
    sidecar = Sidecar(engine, tmp_path)
    async with sidecar.receiver() as receiver, sidecar.container(receiver) as container:
        status = (await container.run("cat", "/proc/1/status")).stdout
        found = dict(re.findall(r"^(\w+):\s*(.*)$", status, re.MULTILINE))
        assert found["Uid"].split() == [str(UID)] * 4
        assert found["Gid"].split() == [str(UID)] * 4
        assert {found[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
        assert found["NoNewPrivs"] == "1"
        assert "forwarder\0run" in (await container.run("cat", "/proc/1/cmdline")).stdout
        assert "Read-only file system" in (await container.run("touch", "/opt/forwarder/x")).stderr
        assert (sidecar.engine.volume(sidecar.queue) / "queue.db").stat().st_uid == UID
        started = (await container.logged("forwarder.started"))[0]
        assert (started["version"], re.fullmatch(r"3\.\d+\.\d+", started["sqlite"]) is not None) == (__version__, True)


async def test_healthy(engine: Engine, tmp_path: Path) -> None:
    """It is healthy while it answers, a full queue included; it is not when it does not answer."""
    sidecar = Sidecar(engine, tmp_path, FORWARDER_QUEUE__MAX_BYTES="1MiB")
    receiver = sidecar.receiver()
    async with receiver, sidecar.container(receiver) as container:
        assert await container.healthy()
        await receiver.stop()
        status = 202
        while status == 202:
            body = json.dumps(events(0, 100, padding="x" * 1000))
            headers = {"Content-Type": "application/json"}
            status, _ = await request(
                sidecar.socket_folder / "http.sock", "POST", "/v1/events", data=body, headers=headers
            )
        assert status == 503
        assert (await container.run("forwarder", "status")).returncode == 1
        assert await container.healthy()
        (sidecar.admin_folder / "admin.sock").unlink()
        assert not await container.healthy()


async def test_events_over_the_shared_volume(engine: Engine, tmp_path: Path) -> None:
    """Events arrive from a process outside and from a second container of another user, over the volume of sockets."""
    sidecar = Sidecar(engine, tmp_path)
    async with sidecar.receiver() as receiver, sidecar.container(receiver):
        outside = await asyncio.to_thread(feed, sidecar.socket_folder / "stream.sock", lines(0, 100))
        assert outside[-1] == b'{"ack": 100}'
        inside = await engine.podman(
            *("run", "--rm", "--user=4711", f"--group-add={UID}", "--network=none"),
            f"--volume={sidecar.sockets}:/run/forwarder",
            *(BASE, "python3", "-c", _APPLICATION, lines(100, 100).decode()),
        )
        assert '{"ack": 100}' in inside
        await receiver.wait_stored(200, PATIENCE)
        assert numbers(receiver.events) == list(range(200))


async def test_who_may_send_and_who_may_act(engine: Engine, tmp_path: Path) -> None:
    """A container outside the group cannot send; one that can send, as root as well, finds nowhere to act."""
    sidecar = Sidecar(engine, tmp_path)
    async with sidecar.receiver() as receiver, sidecar.container(receiver) as container:

        async def outcome(*options: str) -> tuple[bool, bool]:
            """Return whether an application that is run in this way can send, and whether it can purge."""
            words = ("run", "--rm", "--network=none", f"--volume={sidecar.sockets}:/run/forwarder", *options)
            send = f"echo '{EVENT}' | forwarder send --to unix:/run/forwarder/stream.sock"
            sent = await engine.outcome(*words, "--entrypoint=sh", IMAGE, "-c", send)
            # Wherever it looks: the default address, and that of sidecar.yaml.
            purged = False
            for address in ("unix:/run/forwarder/admin.sock", "unix:/run/forwarder-admin/admin.sock"):
                purge = ("queue", "purge", "--all", "--yes", "--admin", address)
                purged |= (await engine.outcome(*words, IMAGE, *purge)).returncode == 0
            return sent.returncode == 0, purged

        assert await outcome("--user=4711") == (False, False)
        assert await outcome("--user=4711", f"--group-add={UID}") == (True, False)
        assert await outcome("--user=0") == (True, False)
        # In its own container it is asked, and answers.
        assert (await container.run("forwarder", "queue", "purge", "--all", "--yes")).returncode == 0
        await container.until_logged("admin.act")
        (line,) = await container.logged("admin.act")
        assert (line["act"], line["uid"]) == ("purge", UID)


async def test_stop_drains(engine: Engine, tmp_path: Path) -> None:
    """A stop delivers what waits, though no batch is full, and process 1 ends with 0."""
    sidecar = Sidecar(engine, tmp_path, FORWARDER_DESTINATIONS__MAIN__BATCH__MAX_AGE="1h")
    async with sidecar.receiver() as receiver, sidecar.container(receiver) as container:
        await asyncio.to_thread(feed, sidecar.socket_folder / "stream.sock", lines(0, 100))
        assert (await container.account(sidecar.admin_folder))["queued"] == 100
        assert await container.stop() == 0
        assert numbers(receiver.events) == list(range(100))
        assert len(await container.logged("forwarder.stopped")) == 1


@pytest.mark.parametrize("end", ["stopped", "killed"])
async def test_the_queue_outlives_the_container(engine: Engine, tmp_path: Path, end: str) -> None:
    """A new container on the same volumes delivers what the last one left, in order, however that one ended."""
    sidecar = Sidecar(engine, tmp_path, FORWARDER_SHUTDOWN_TIMEOUT="1s")
    receiver = sidecar.receiver()
    async with receiver:
        pass
    async with sidecar.container(receiver) as container:
        await asyncio.to_thread(feed, sidecar.socket_folder / "stream.sock", lines(0, 100))
        if end == "killed":
            await container.signal("KILL")
        else:
            assert await container.stop() == 0
    async with receiver, sidecar.container(receiver):
        await asyncio.to_thread(feed, sidecar.socket_folder / "stream.sock", lines(100, 100))
        await receiver.wait_stored(200, PATIENCE)
    assert numbers(receiver.events) == list(range(200))


async def test_reload(engine: Engine, tmp_path: Path) -> None:
    """SIGHUP puts the mounted configuration in place as it is now; a bad one changes nothing."""
    sidecar = Sidecar(engine, tmp_path)
    async with sidecar.receiver() as receiver, sidecar.container(receiver) as container:
        config = yaml.safe_load(sidecar.config_file.read_text(encoding="utf-8"))
        config["destinations"]["main"]["timeout"] = "soon"
        sidecar.config_file.write_text(yaml.safe_dump(config), encoding="utf-8")
        await container.signal("HUP")
        await container.until_logged("reload.refused")
        config["destinations"]["main"]["timeout"] = "5s"
        config["ingest"]["stream"]["listen"] = ["unix:/run/forwarder/other.sock"]
        sidecar.config_file.write_text(yaml.safe_dump(config), encoding="utf-8")
        await container.signal("HUP")
        await container.until_logged("reload.done")
        answers = await asyncio.to_thread(feed, sidecar.socket_folder / "other.sock", lines(0, 10))
        assert answers[-1] == b'{"ack": 10}'
        await receiver.wait_stored(10, PATIENCE)


@pytest.mark.parametrize("layout", ["file", "links"])
async def test_a_rotated_key(engine: Engine, tmp_path: Path, layout: str) -> None:
    """A key that is replaced in the mounted folder is used without a signal: a file, or Kubernetes' links to it."""
    sidecar = Sidecar(engine, tmp_path)
    if layout == "links":
        (sidecar.secrets / "..old").mkdir()
        sidecar.key_file.rename(sidecar.secrets / "..old/forwarder-key.pem")
        (sidecar.secrets / "..data").symlink_to("..old")
        sidecar.key_file.symlink_to("..data/forwarder-key.pem")
    (sidecar.secrets / "..new").mkdir()
    new_file = sidecar.secrets / "..new/forwarder-key.pem"
    async with sidecar.receiver(write_key(new_file)) as receiver, sidecar.container(receiver) as container:
        await asyncio.to_thread(feed, sidecar.socket_folder / "stream.sock", lines(0, 10))
        await receiver.wait_stored(10, PATIENCE)
        if layout == "links":
            (sidecar.secrets / "..next").symlink_to("..new")
            (sidecar.secrets / "..next").replace(sidecar.secrets / "..data")
        else:
            new_file.replace(sidecar.key_file)
        await container.until_logged("reload.done")
        await asyncio.to_thread(feed, sidecar.socket_folder / "stream.sock", lines(10, 10))
        await receiver.wait_stored(20, PATIENCE)
        assert (await container.account(sidecar.admin_folder))["dead"] == 0
        keys = [line["key"] for line in await container.logged("destination.started")]
        assert len(set(keys)) == 2
