"""A machine with the project installed on it as systemd/README.md says, and a receiver beside it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.deploy.machine import Machine
from tests.documents import sample

PROJECT = Path(__file__).parents[2]
# Where systemd keeps the sockets open.
INTAKE = "/run/forwarder-intake"
_STORE = "/var/lib/receiver/events.ndjson"
# The receiver trusts every key in its folder, and keeps what it got across restarts.
_RECEIVER = f"""\
[Unit]
Description=Stand-in for the Event API
[Service]
ExecStart=/bin/sh -c 'exec forwarder receiver --quiet --store {_STORE} $(printf " --public-key %%s" /etc/receiver/*)'
StateDirectory=receiver
[Install]
WantedBy=multi-user.target
"""
# What the operator does by hand in the file.
_EDIT = """\
#!/bin/sh
sed -i -e 's|url: .*|url: http://127.0.0.1:7780/put|' \\
  -e 's|key_file: /etc/forwarder/key.pem|key_file: ${CREDENTIALS_DIRECTORY}/key.pem|' "$1"
"""


class Site(Machine):
    """The machine once the forwarder is installed."""

    @property
    def intake(self) -> Path:
        """Return the folder of the sockets that systemd keeps open."""
        return self.path(INTAKE)

    def arrived(self) -> list[str]:
        """Return the ids of the events that the receiver has, in the order in which they came."""
        store = self.root / _STORE.lstrip("/")
        lines = store.read_text(encoding="utf-8").splitlines(keepends=True) if store.exists() else []
        return [json.loads(line)["eventId"] for line in lines if line.endswith("\n")]

    def until_arrived(self, ids: list[str]) -> None:
        """Wait until all of these events are at the receiver."""
        self.until(lambda: set(ids) <= set(self.arrived()))

    def main_pid(self) -> int:
        return int(self.show("forwarder", "MainPID"))

    def until_status(self, words: str) -> None:
        """Wait until the line that the service tells about itself contains these words."""
        self.until(lambda: words in self.show("forwarder", "StatusText"))

    @contextmanager
    def drop_in(self, text: str) -> Iterator[None]:
        """Put settings beside the unit, as `systemctl edit` does, until the block ends."""
        folder = self.root / "etc/systemd/system/forwarder.service.d"
        folder.mkdir(exist_ok=True)
        file = folder / "override.conf"
        file.write_text(text, encoding="utf-8")
        self.run("systemctl daemon-reload; systemctl restart forwarder")
        try:
            yield
        finally:
            file.unlink()
            self.run("systemctl daemon-reload; systemctl restart forwarder")


def prepare(root: Path, wheel: Path) -> None:
    """Lay out what a new machine is given: packages, an administrator, and the two things to install."""
    python = next((root / "usr/bin").glob("python3.[0-9]*")).name.removeprefix("python")
    words = [sys.executable, "-m", "pip", "download", "-q", "--only-binary=:all:", f"--python-version={python}"]
    subprocess.run([*words, "-d", root / "srv/packages", wheel], check=True, timeout=300)
    (root / "etc/pip.conf").write_text("[global]\nno-index = true\nfind-links = /srv/packages\n", encoding="utf-8")
    (root / "etc/systemd/system/receiver.service").write_text(_RECEIVER, encoding="utf-8")
    edit = root / "usr/local/bin/edit-configuration"
    edit.write_text(_EDIT, encoding="utf-8")
    edit.chmod(0o755)
    subprocess.run(["chroot", root, "useradd", "--create-home", "admin"], check=True)
    (root / "etc/sudoers.d/admin").write_text("admin ALL=(ALL) NOPASSWD: ALL\n", encoding="utf-8")
    home = root / "home/admin"
    shutil.copy(wheel, home)
    shutil.copytree(PROJECT / "systemd", home / "systemd")


def install(machine: Site) -> None:
    """Follow systemd/README.md, edit what it says is to be edited, and start a receiver that trusts the new key."""
    commands = sample("systemd/README.md", "Install", "sh")
    machine.run(commands, user="admin", SUDO_EDITOR="/usr/local/bin/edit-configuration")
    machine.run("install -d /etc/receiver; forwarder keys show > /etc/receiver/first.pem")
    machine.run("systemctl enable --now receiver")
