"""A Debian machine in a folder: made by debootstrap, booted by systemd-nspawn, worked on from outside.

Nothing of the host is needed but the two programs and root: no bus, no machined. Commands run in
the namespaces of the machine's first process; files in its /run are reached through /proc.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from tests.deploy.archives import call, debian

# The oldest release that the units are written for: systemd 252, Python 3.11.
SUITE = "bookworm"
PACKAGES = ("python3", "python3-venv", "sudo", "systemd", "systemd-sysv")
# Seconds: as long as a slow machine may take for what usually takes one or two.
PATIENCE = 60.0
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


def missing() -> str | None:
    """Return why no machine can be had here, or None."""
    if os.geteuid() != 0:
        return "needs root"
    absent = [
        name for name in ("debootstrap", "nsenter", "setpriv", "systemd-nspawn", "tar") if shutil.which(name) is None
    ]
    return f"needs {', '.join(absent)}" if absent else None


def machine_archive() -> Path:
    """Return the archive of a fresh Debian."""
    return debian("-".join(PACKAGES), SUITE, PACKAGES, lambda root: shutil.rmtree(root / "var/cache/apt"))


def bootstrap(root: Path) -> None:
    """Fill `root` with a fresh Debian."""
    root.mkdir()
    call("tar", "-C", str(root), "-xpf", str(machine_archive()))


class Machine:
    """The machine whose files are in `root`; `with` boots it and switches it off."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.console = root.with_name("console.log")
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader = 0

    # --- life ----------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.boot()
        return self

    def __exit__(self, *_: object) -> None:
        self.switch_off()

    def boot(self) -> None:
        """Start the machine and wait until it has finished booting."""
        # Should the tests be killed, the machine is switched off.
        words = [
            "setpriv",
            "--pdeathsig=TERM",
            "systemd-nspawn",
            "--quiet",
            "--boot",
            f"--directory={self.root}",
            f"--machine=test-{os.getpid()}",
        ]
        # The host's service manager, bus and network are left alone.
        words += ["--register=no", "--keep-unit", "--private-network", "--link-journal=no"]
        words += ["--console=pipe", "--resolv-conf=off", "--timezone=off"]
        with self.console.open("ab") as console:
            self._nspawn = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        self.until(self._find_leader)
        self.until(lambda: self.path("/run/systemd/private").exists())
        # Degraded is what a machine without a network may be; what matters is asked for by the tests.
        self.run("systemctl is-system-running --wait", check=False)

    def switch_off(self) -> None:
        """Shut the machine down in order, as its power button does."""
        assert self._nspawn is not None
        if self._nspawn.poll() is None:
            self._nspawn.send_signal(signal.SIGTERM)
            try:
                self._nspawn.wait(PATIENCE)
            finally:
                self._nspawn.kill()
                self._nspawn.wait()

    def _find_leader(self) -> bool:
        """Find the machine's first process: the child of systemd-nspawn that is number 1 in there."""
        assert self._nspawn is not None
        assert self._nspawn.poll() is None, self.console.read_text(errors="replace")
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                lines = (folder / "status").read_text(encoding="utf-8").splitlines()
            except (FileNotFoundError, ProcessLookupError):
                continue
            fields = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
            if fields["PPid"] == [str(self._nspawn.pid)] and fields["NSpid"][1:] == ["1"]:
                self._leader = int(folder.name)
                return True
        return False

    # --- work ----------------------------------------------------------------------------------

    def run(
        self, script: str, *, user: str = "root", check: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell script in the machine as a user, in that user's home folder."""
        words = ["nsenter", f"--target={self._leader}", "--all", "--"]
        words += ["runuser", "-u", user, "--", "bash", "-euo", "pipefail", "-c", f"cd; {script}"]
        home = "/root" if user == "root" else f"/home/{user}"
        done = subprocess.run(
            words,
            env={**_ENVIRONMENT, "HOME": home, "USER": user, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=2 * PATIENCE,
        )
        if check:
            assert done.returncode == 0, f"{script}\nended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done

    def path(self, inside: str) -> Path:
        """Return where a path of the machine is seen from outside, what is mounted in there included."""
        return Path(f"/proc/{self._leader}/root{inside}")

    def until(self, condition: Callable[[], Any], patience: float = PATIENCE) -> None:
        """Wait until a condition holds."""
        deadline = time.monotonic() + patience
        while not condition():
            if time.monotonic() > deadline:
                last = self.run("journalctl --no-pager --lines=60 --output=short-precise", check=False).stdout
                raise AssertionError(f"did not happen in time; the journal ends with\n{last}")
            time.sleep(0.05)

    # --- systemd -------------------------------------------------------------------------------

    def show(self, unit: str, name: str) -> str:
        """Return one property of a unit."""
        return self.run(f"systemctl show --property={name} --value {unit}").stdout.strip()

    def journal(self, unit: str = "forwarder", *, since: float = 0.0) -> str:
        """Return what a unit has written, and systemd about it, its lines alone; `since` is as of time.time()."""
        return self.run(f"journalctl --sync; journalctl --unit={unit} --output=cat --since=@{since:.6f}").stdout
