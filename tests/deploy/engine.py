"""Containers without an engine that runs as a daemon: buildah builds them, podman and runc run them.

Images, containers and volumes lie in a folder that goes with the tests, so nothing of the machine's
own is seen or touched. Registries are not asked: the base image is Debian with Python and the CA
certificates of this machine, made by debootstrap. As that takes longest, it is kept as an archive
in the user's cache folder; it is of the Debian that the default base image of the Dockerfile is of.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self
from zipfile import ZipFile

import pytest

from tests.deploy.archives import debian
from tests.integration.process import PATIENCE, request

PROJECT = Path(__file__).resolve().parents[2]
BASE = "localhost/debian-python:trixie"
IMAGE = "localhost/event-forwarder:test"
# The user of the image; volumes are prepared for it, so it is part of the interface.
UID = 10001
# What an operator gives the container, and nothing that podman adds by itself.
CONFINED = (
    "--read-only",
    "--read-only-tmpfs=false",
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
    "--network=host",
)
_COMMANDS = ("buildah", "podman", "runc", "debootstrap")
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
# The limits are named since those that podman asks for are more than some machines may give.
_CONTAINERS_CONF = """
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=4096:4096"]
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "{folder}/tmp"
volume_path = "{folder}/volumes"
[network]
network_config_dir = "{folder}/networks"
"""
_STORAGE_CONF = """
[storage]
driver = "overlay"
graphroot = "{folder}/store"
runroot = "{folder}/run"
"""


def why_not() -> str:
    """Return why containers cannot be run here, or nothing."""
    if missing := [name for name in _COMMANDS if shutil.which(name) is None]:
        return f"needs {', '.join(missing)}"
    return "" if os.geteuid() == 0 else "needs root"


class Engine:
    """A store for images and volumes, and the commands that work on it."""

    def __init__(self) -> None:
        # Short: the paths of sockets in it must stay under 108 bytes (unix(7)).
        self.folder = Path(tempfile.mkdtemp(prefix="fwd-"))
        # In memory: dpkg, pip and the layers make tens of thousands of files, and sync many of them.
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4g", "fwd", self.folder], check=True, timeout=PATIENCE)
        self.environ = dict(os.environ)
        for variable, name, text in (
            ("CONTAINERS_CONF", "containers.conf", _CONTAINERS_CONF),
            ("CONTAINERS_STORAGE_CONF", "storage.conf", _STORAGE_CONF),
        ):
            file = self.folder / name
            file.write_text(text.format(folder=self.folder), encoding="utf-8")
            self.environ[variable] = str(file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.command("podman", "rm", "--force", "--all", "--time=0")
        # What a build that failed leaves mounted.
        self.command("buildah", "rm", "--all")
        subprocess.run(["umount", "--recursive", self.folder], check=True, timeout=PATIENCE)
        self.folder.rmdir()

    def command(self, *words: str | Path, patience: float = PATIENCE) -> str:
        """Run a command; return what it printed to standard output."""
        done = subprocess.run(
            words, env=self.environ, cwd=self.folder, capture_output=True, text=True, check=False, timeout=patience
        )
        assert done.returncode == 0, f"{words} ended with {done.returncode}: {done.stderr[-4000:]}{done.stdout[-2000:]}"
        return done.stdout

    async def podman(self, *words: str | Path) -> str:
        """Run podman, and let everything else go on meanwhile."""
        return await asyncio.to_thread(self.command, "podman", *words)

    async def outcome(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Run podman with words that may well fail."""
        return await asyncio.to_thread(
            subprocess.run,
            ["podman", *words],
            env=self.environ,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )

    def make_base(self) -> None:
        """Make the image that the Dockerfile begins with."""
        self.command("podman", "import", "--quiet", base_archive(), BASE)

    def build(self, context: Path, tag: str, *options: str) -> str:
        """Build the Dockerfile of a folder; return what was printed."""
        words = ["buildah", "bud", "--format=docker", "--isolation=chroot", "--layers", f"--build-arg=BASE={BASE}"]
        return self.command(*words, *options, f"--tag={tag}", context, patience=600)

    def inspect(self, name: str) -> dict[str, Any]:
        """Return what podman knows about an image or a container."""
        found: list[dict[str, Any]] = json.loads(self.command("podman", "inspect", name))
        return found[0]

    def volume(self, name: str) -> Path:
        """Return where a volume lies on this machine."""
        return self.folder / "volumes" / name / "_data"


class Container:
    """A forwarder in a container: its start, its end, what it says."""

    def __init__(self, engine: Engine, *options: str | Path, image: str = IMAGE, command: Sequence[str] = ()) -> None:
        self.engine = engine
        self.name = f"forwarder-{secrets.token_hex(4)}"
        self._words = (*options, image, *command)

    async def __aenter__(self) -> Self:
        await self.engine.podman("run", "--detach", f"--name={self.name}", *CONFINED, *self._words)
        await self.until_logged("forwarder.started")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.engine.podman("rm", "--force", "--time=0", self.name)

    async def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command inside."""
        return await self.engine.outcome("exec", self.name, *words)

    async def signal(self, name: str) -> None:
        """Send a signal to process 1."""
        await self.engine.podman("kill", f"--signal={name}", self.name)

    async def stop(self) -> int:
        """Stop it as an engine does, with the signal that the image names; return the exit code."""
        await self.engine.podman("stop", "--time=30", self.name)
        return int(await self.engine.podman("inspect", "--format={{.State.ExitCode}}", self.name))

    async def healthy(self) -> bool:
        """Whether the health check of the image passes."""
        return (await self.engine.outcome("healthcheck", "run", self.name)).returncode == 0

    async def logged(self, event: str) -> list[dict[str, Any]]:
        """Return the log lines with this event."""
        printed = await self.engine.outcome("logs", self.name)
        lines = [json.loads(line) for line in printed.stderr.splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]

    async def until_logged(self, event: str, times: int = 1) -> None:
        """Wait until an event was logged so many times."""
        try:
            async with asyncio.timeout(PATIENCE):
                while len(await self.logged(event)) < times:
                    # Also ends the wait where the process has ended: what it printed is in the error.
                    running = await self.engine.podman("inspect", "--format={{.State.Running}}", self.name)
                    assert running.strip() == "true", await self.engine.outcome("logs", self.name)
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"no {event}: {await self.engine.outcome('logs', self.name)}") from None

    async def account(self, sockets: Path) -> dict[str, Any]:
        """Return the account of the destination, asked for at the admin socket of a shared folder."""
        _, status = await request(sockets / "admin.sock", "GET", "/v1/status")
        found: dict[str, Any] = status["destinations"]["main"]
        return found


def base_archive() -> Path:
    """Return the archive of the base image."""
    packages = ("python3", "python3-venv", "ca-certificates")
    without = ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc")
    return debian("python", "trixie", packages, _add_pip, without=without)


def _add_pip(root: Path) -> None:
    # As in the official images of Python, pip is there.
    for wheel in root.glob("usr/share/python-wheels/pip-*.whl"):
        ZipFile(wheel).extractall(root / "usr/local/lib/python3.13/dist-packages")
    if _CERTIFICATES.exists():
        # Packages may come over a proxy of which only this machine knows the certificate.
        shutil.copy(_CERTIFICATES, root / _CERTIFICATES.relative_to("/"))
        (root / "etc/pip.conf").write_text(f"[global]\ncert = {_CERTIFICATES}\n", encoding="utf-8")


# For whatever needs the image; each test is skipped with the reason where it cannot be built.
needs_containers = pytest.mark.skipif(bool(why_not()), reason=why_not() or "containers can be run here")
