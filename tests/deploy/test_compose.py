"""config/compose.yaml: right by the schema of the Compose specification, and at work under podman-compose."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from forwarder.config import load, parse_duration
from tests.deploy.engine import BASE, IMAGE, PROJECT, Engine, needs_containers
from tests.deploy.sidecar import write_key
from tests.integration.process import PATIENCE

FILE = PROJECT / "config/compose.yaml"
# A receiver beside it, and its loopback for the forwarder: sidecar.yaml is used with all its addresses.
_RECEIVER = """
services:
  receiver:
    image: event-forwarder
    user: root
    command: [receiver, --listen, "tcp:127.0.0.1:7780", --public-key, /received/public.pem, --store, /received/events]
    volumes: ["./received:/received"]
    network_mode: none
  forwarder:
    network_mode: "service:receiver"
    depends_on: [receiver]
  application:
    network_mode: none
    volumes: ["./application.py:/application.py:ro"]
    command: [python3, /application.py]
"""


class Project:
    """config/compose.yaml in a folder, and podman-compose."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.folder = folder
        self.name = f"compose-{secrets.token_hex(3)}"
        self._engine = engine
        for file in (FILE, PROJECT / "config/sidecar.yaml", Path(__file__).with_name("application.py")):
            shutil.copy(file, folder / file.name)
        (folder / "receiver.yaml").write_text(_RECEIVER, encoding="utf-8")
        (folder / "received").mkdir()
        signer = write_key(folder / "key.pem")
        (folder / "received/public.pem").write_text(signer.public("pem"), encoding="utf-8")

    def run(self, *words: str, url: str = "http://127.0.0.1:7780/put") -> None:
        """Run podman-compose."""
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "podman_compose",
                "-p",
                self.name,
                "-f",
                "compose.yaml",
                "-f",
                "receiver.yaml",
                *words,
            ],
            cwd=self.folder,
            env={**self._engine.environ, "FORWARDER_URL": url},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    async def up(self, **more: str) -> None:
        """Start the forwarder, and when it is healthy the application; older versions of podman do not wait for it."""
        await asyncio.to_thread(self.run, "up", "--detach", "forwarder", **more)
        async with asyncio.timeout(PATIENCE):
            while (await self._engine.outcome("healthcheck", "run", self.container("forwarder"))).returncode:
                await asyncio.sleep(0.05)
        await asyncio.to_thread(self.run, "up", "--detach", **more)

    def container(self, service: str) -> str:
        """Return podman's name of a container."""
        return f"{self.name}_{service}_1"

    def received(self) -> list[int]:
        """Return the numbers of the events that have arrived."""
        file = self.folder / "received/events"
        if not file.exists():
            return []
        return [yaml.safe_load(line)["data"]["n"] for line in file.read_text(encoding="utf-8").splitlines()]

    async def until_received(self, events: int) -> None:
        """Wait until so many events have arrived."""
        async with asyncio.timeout(PATIENCE):
            while len(self.received()) < events:
                await asyncio.sleep(0.05)


@pytest.fixture
def project(engine: Engine, tmp_path: Path) -> Iterator[Project]:
    """A project that is gone after the test, with its volumes."""
    engine.command("podman", "tag", IMAGE, "localhost/event-forwarder")
    engine.command("podman", "tag", BASE, "localhost/my-application")
    project = Project(engine, tmp_path)
    yield project
    project.run("down", "--volumes", "--timeout", "1")


def test_schema() -> None:
    """The file fits the schema of the Compose specification."""
    words = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr


def test_grace_period() -> None:
    """The container is given longer to stop than the forwarder takes for it."""
    service = yaml.safe_load(FILE.read_text(encoding="utf-8"))["services"]["forwarder"]
    config = load(PROJECT / "config/sidecar.yaml", {})
    assert parse_duration(service["stop_grace_period"]) > config.shutdown_timeout + 5


@pytest.mark.system
@needs_containers
async def test_project(engine: Engine, project: Project) -> None:
    """The application's events arrive; the forwarder is healthy and confined; it ends with 0 after the application."""
    forwarder = project.container("forwarder")
    await project.up()
    await project.until_received(10)
    found = engine.inspect(forwarder)
    assert found["HostConfig"]["ReadonlyRootfs"]
    assert not found["EffectiveCaps"]
    assert "no-new-privileges" in str(found["HostConfig"]["SecurityOpt"])
    await asyncio.to_thread(project.run, "stop", "application")
    await asyncio.to_thread(project.run, "stop", "forwarder")
    assert engine.inspect(forwarder)["State"]["ExitCode"] == 0
    assert project.received() == list(range(11))


@pytest.mark.system
@needs_containers
async def test_down_keeps_the_queue(engine: Engine, project: Project) -> None:
    """What is queued when the project is taken down is delivered once it is up again, with another URL."""
    await project.up(url="http://127.0.0.1:1/put")
    async with asyncio.timeout(PATIENCE):
        while '{"ack": 10}' not in (await engine.outcome("logs", project.container("application"))).stdout:
            await asyncio.sleep(0.05)
    await asyncio.to_thread(project.run, "down")
    assert not project.received()
    await asyncio.to_thread(project.run, "up", "--detach", "forwarder")
    await project.until_received(10)
    # podman-compose may stop the forwarder first; then the application's last event has nowhere to go.
    assert project.received() in (list(range(10)), list(range(11)))
