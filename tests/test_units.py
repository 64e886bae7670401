"""The systemd units say what the daemon relies on."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).parent.parent / "systemd"
PROGRAM = "/opt/forwarder/bin/forwarder"

Unit = dict[str, dict[str, list[str]]]


def read_unit(name: str) -> Unit:
    """Return the sections of a unit, each key with its values in order; a key may stand several times."""
    unit: Unit = {}
    section: dict[str, list[str]] = {}
    # A line that ends in a backslash goes on (systemd.syntax(7)).
    for line in (SYSTEMD / name).read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        if line.startswith("[") and line.endswith("]"):
            section = unit.setdefault(line[1:-1], {})
        elif line and not line.startswith(("#", ";")):
            key, equals, value = line.partition("=")
            assert equals, f"{name}: {line!r} is no setting"
            section.setdefault(key, []).append(value)
    return unit


@pytest.fixture
def service() -> dict[str, list[str]]:
    return read_unit("forwarder.service")["Service"]


def test_readiness_reload_and_watchdog_are_wired(service: dict[str, list[str]]) -> None:
    """The daemon tells when it is ready and alive, and a reload waits for its verdict, with its credentials."""
    assert service["Type"] == ["notify"]
    [reload] = service["ExecReload"]
    assert reload.startswith("+")
    assert "CREDENTIALS_DIRECTORY=/proc/${MAINPID}/root%d" in reload
    assert reload.endswith(f" {PROGRAM} reload")
    assert service["WatchdogSec"]
    assert service["ExecStart"] == [f"{PROGRAM} run"]


def test_the_configuration_is_checked_first(service: dict[str, list[str]]) -> None:
    """Before a start; the first command is the one that has credentials."""
    assert service["ExecStartPre"][0] == f"{PROGRAM} check"


def test_a_start_may_take_its_time(service: dict[str, list[str]]) -> None:
    """A damaged queue is rebuilt at the start; to break that off would only begin it again."""
    assert service["TimeoutStartSec"] == ["infinity"]


def test_the_service_is_started_again_for_ever() -> None:
    """A failure is no reason to stop trying: what is queued waits for the next start."""
    unit = read_unit("forwarder.service")
    assert unit["Service"]["Restart"] == ["on-failure"]
    assert unit["Unit"]["StartLimitIntervalSec"] == ["0"]


def test_a_stop_has_the_time_that_it_may_take(service: dict[str, list[str]]) -> None:
    """systemd waits longer than shutdown_timeout (20 s) and the 5 s for open connections together."""
    (limit,) = service["TimeoutStopSec"]
    assert int(limit.removesuffix("s")) > 25


def test_the_daemon_has_its_folders_and_nothing_else(service: dict[str, list[str]]) -> None:
    """A user of its own, the queue's folder closed to others, the key as a credential, the system read-only."""
    assert service["DynamicUser"] == ["yes"]
    for key in ("StateDirectory", "RuntimeDirectory"):
        assert service[key] == ["forwarder"]
    # It would be writable.
    assert "ConfigurationDirectory" not in service
    assert service["StateDirectoryMode"] == ["0700"]
    assert service["LoadCredential"] == ["key.pem:/etc/forwarder/key.pem"]
    assert service["ProtectSystem"] == ["strict"]
    assert service["NoNewPrivileges"] == ["yes"]
    assert service["CapabilityBoundingSet"] == [""]
    assert service["LimitCORE"] == ["0"]
    assert service["WatchdogSignal"] == ["SIGKILL"]
    assert int(service["LimitNOFILE"][0]) >= 65536


@pytest.mark.parametrize(("name", "kind"), [("forwarder.socket", "http"), ("forwarder-stream.socket", "stream")])
def test_a_socket_carries_the_name_that_the_daemon_knows(name: str, kind: str) -> None:
    """The name of a passed socket decides what is spoken at it, and not everybody may open it."""
    socket = read_unit(name)["Socket"]
    assert socket["FileDescriptorName"] == [kind]
    assert socket["SocketMode"] == ["0660"]
    assert socket.get("Service", [f"{Path(name).stem}.service"]) == ["forwarder.service"]


@pytest.mark.parametrize("name", ["forwarder.socket", "forwarder-stream.socket"])
def test_a_socket_outlives_the_service(name: str, service: dict[str, list[str]]) -> None:
    """systemd removes the runtime directory when the service stops, so no socket that it keeps open is in there."""
    (address,) = read_unit(name)["Socket"]["ListenStream"]
    (directory,) = service["RuntimeDirectory"]
    assert Path("/run", directory) not in Path(address).parents


@pytest.mark.system
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze (package systemd)")
def test_systemd_has_nothing_to_say_about_the_units(tmp_path: Path) -> None:
    """systemd-analyze prints nothing; its exit code is no help, it is 0 for an unknown key as well."""
    program = tmp_path / "forwarder"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    units = [tmp_path / file.name for file in sorted(SYSTEMD.glob("forwarder*"))]
    for unit in units:
        text = (SYSTEMD / unit.name).read_text(encoding="utf-8")
        unit.write_text(text.replace(PROGRAM, str(program)), encoding="utf-8")
    verified = subprocess.run(
        ["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False, timeout=60
    )
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")
