"""The service on a machine of its own: installed as systemd/README.md says, booted, and treated badly."""

from __future__ import annotations

import json
import re
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.producing import connect, event, post, producers, stream
from tests.deploy.site import Site
from tests.documents import sample

pytestmark = pytest.mark.system

UNITS = "forwarder.service forwarder.socket forwarder-stream.socket"


def numbered(count: int, **fields: Any) -> list[dict[str, Any]]:
    return [event(number, **fields) for number in range(count)]


def ids(events: list[dict[str, Any]]) -> list[str]:
    return [found["eventId"] for found in events]


def account(site: Site, destination: str = "main") -> dict[str, Any]:
    status = json.loads(site.run("forwarder status --json").stdout)
    return status["destinations"][destination]  # type: ignore[no-any-return]


@contextmanager
def configured(site: Site, *, destinations: dict[str, Any] | None = None, **settings: Any) -> Iterator[None]:
    """Change the configuration until the block ends: settings of destinations, by name, and others."""
    file = site.root / "etc/forwarder/forwarder.yaml"
    before = file.read_text(encoding="utf-8")
    config = yaml.safe_load(before)
    main = config["destinations"]["main"]
    config["destinations"] |= {name: {**main, **more} for name, more in (destinations or {}).items()}
    file.write_text(yaml.safe_dump({**config, **settings}), encoding="utf-8")
    try:
        yield
    finally:
        file.write_text(before, encoding="utf-8")
        site.run("systemctl reset-failed; systemctl try-reload-or-restart forwarder")


def reload(site: Site) -> None:
    """Reload, and wait until the daemon has done it."""
    start = time.time()
    site.run("systemctl reload forwarder")
    site.until(lambda: '"reload.done"' in site.journal(since=start))


def until_restarted(site: Site, old: int) -> None:
    site.until(lambda: site.main_pid() not in {0, old} and site.show("forwarder", "ActiveState") == "active")


# --- installed ---------------------------------------------------------------------------------


def test_installed(site: Site) -> None:
    """After the documented commands service and sockets are active, and enabled for the next boot."""
    assert site.run(f"systemctl is-active {UNITS}").stdout.split() == ["active"] * 3
    assert site.run(f"systemctl is-enabled {UNITS}").stdout.split() == ["enabled"] * 3
    site.until_status("unix:/run/forwarder-intake/http.sock")
    site.until_status("unix:/run/forwarder-intake/stream.sock")


def test_systemd_has_nothing_to_say_about_the_installed_units(site: Site) -> None:
    """`systemd-analyze verify` is silent about the units as they are installed."""
    done = site.run(f"systemd-analyze verify {UNITS}")
    assert (done.stdout, done.stderr) == ("", "")


def test_exposure(site: Site) -> None:
    """`systemd-analyze security` finds little that the service could do beyond its work."""
    done = site.run("systemd-analyze security --no-pager forwarder.service")
    found = re.search(r"Overall exposure level for forwarder.service: ([\d.]+)", done.stdout)
    assert found is not None, done.stdout
    assert float(found[1]) <= 1.5


def test_events_through_the_sockets_that_systemd_keeps_open(site: Site) -> None:
    """Events that come in at either activated socket arrive at the receiver."""
    over_http, over_stream = numbered(20), numbered(20)
    assert post(site.intake / "http.sock", over_http) == 202
    stream(site.intake / "stream.sock", over_stream)
    site.until_arrived(ids(over_http) + ids(over_stream))


def test_who_may_send_and_who_may_act(site: Site) -> None:
    """A user in the group `forwarder` sends events, and neither looks nor purges; another one does not even send."""
    site.run("getent passwd stranger || useradd --create-home stranger")
    sent = event(1)
    (site.root / "home/admin/event.json").write_text(json.dumps(sent), encoding="utf-8")
    (site.root / "home/stranger/event.json").write_text(json.dumps(event(2)), encoding="utf-8")
    for folder in ("forwarder", "forwarder-intake"):
        for name in ("http.sock", "stream.sock"):
            command = f"forwarder send --to unix:/run/{folder}/{name} event.json"
            site.run(command, user="admin")
            refused = site.run(command, user="stranger", check=False)
            assert (refused.returncode, "permission denied" in refused.stderr) == (69, True)
    site.until_arrived([sent["eventId"]])
    for command in ("status", "queue pause", "queue purge --all --yes", "dead purge --all --yes"):
        for user in ("admin", "stranger"):
            refused = site.run(f"forwarder {command}", user=user, check=False)
            assert (refused.returncode, "permission denied" in refused.stderr) == (69, True), (user, command)
    start = time.time()
    assert "main" in site.run("sudo forwarder status", user="admin").stdout
    site.run("sudo forwarder queue purge --destination main --yes", user="admin")
    told = [json.loads(line) for line in site.journal(since=start).splitlines() if '"admin.act"' in line]
    assert [(line["act"], line["destination"], line["uid"]) for line in told] == [("purge", "main", 0)]
    assert "Permission denied" in site.run("cat /etc/forwarder/key.pem", user="admin", check=False).stderr


def test_groups_for_sending_and_for_acting(site: Site) -> None:
    """Each has a group of its own, once the unit makes the daemon a member; without that it says what is missing."""
    site.run("groupadd --force senders; groupadd --force operators")
    site.run("getent passwd sender || useradd --create-home --groups senders sender")
    site.run("getent passwd keeper || useradd --create-home --groups operators keeper")
    (site.root / "home/sender/event.json").write_text(json.dumps(event(3)), encoding="utf-8")
    (site.root / "home/keeper/event.json").write_text(json.dumps(event(4)), encoding="utf-8")
    send = "forwarder send --to unix:/run/forwarder/stream.sock event.json"
    groups = {
        "ingest": {"socket_group": "senders"},
        "admin": {"socket_group": "operators", "socket_mode": "0660"},
    }
    with configured(site, **groups):
        assert site.run("systemctl reload forwarder", check=False).returncode != 0
        assert "SupplementaryGroups=" in site.show("forwarder", "StatusText")
    with site.drop_in("[Service]\nSupplementaryGroups=senders operators\n"), configured(site, **groups):
        site.run("systemctl reload forwarder")
        site.run(send, user="sender")
        assert "main" in site.run("forwarder status", user="keeper").stdout
        assert site.run("forwarder status", user="sender", check=False).returncode == 69
        assert site.run(send, user="keeper", check=False).returncode == 69


def test_journal(site: Site) -> None:
    """journalctl shows the lines of the daemon, each of them JSON."""
    lines = [json.loads(line) for line in site.journal().splitlines() if line.startswith("{")]
    assert "forwarder.started" in [line["event"] for line in lines]


def test_thousands_of_connections(site: Site) -> None:
    """Two thousand clients are connected at one time, and each is served."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4096:
        pytest.skip(f"needs 4096 open files, may have {hard}")
    sent = numbered(2000)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    try:
        with ExitStack() as stack:
            peers = [stack.enter_context(connect(site.intake / "stream.sock")) for _ in sent]
            for peer, found in zip(peers, sent, strict=True):
                peer.sendall(json.dumps(found).encode() + b"\n")
            assert {peer.makefile("rb").readline() for peer in peers} == {b'{"ack": 1}\n'}
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    site.until_arrived(ids(sent))


# --- reload ------------------------------------------------------------------------------------


def test_reload(site: Site) -> None:
    """A destination that is added is delivered to after `systemctl reload`, without a restart."""
    before = site.main_pid()
    with configured(site, destinations={"audit": {"match": {"eventType": ["audit"]}}}):
        reload(site)
        assert post(site.intake / "http.sock", numbered(5, eventType="audit")) == 202
        site.until(lambda: account(site, "audit")["delivered"] == 5)
    assert site.main_pid() == before


def test_a_reload_with_a_mistake_fails(site: Site) -> None:
    """`systemctl reload` fails, status and journal name the mistake, and the old configuration goes on."""
    before, start = site.main_pid(), time.time()
    with configured(site, destinations={"main": {"timeout": "soon"}}):
        assert site.run("systemctl reload forwarder", check=False).returncode != 0
        shown = site.run("systemctl status --full --no-pager forwarder").stdout
        for text in (shown, site.journal(since=start)):
            assert "/etc/forwarder/forwarder.yaml" in text
            assert "destinations.main.timeout: `soon` is not a duration" in text
        sent = numbered(5)
        assert post(site.intake / "http.sock", sent) == 202
        site.until_arrived(ids(sent))
    assert site.main_pid() == before


def test_what_only_the_daemon_can_refuse(site: Site) -> None:
    """A mistake that shows only when the change is made fails the reload, too, and is told until one is good."""
    taken = socket.socket(socket.AF_UNIX)
    taken.bind(str(site.path("/run/taken.sock")))
    taken.listen()
    file = site.root / "etc/forwarder/forwarder.yaml"
    before = file.read_text(encoding="utf-8")
    with taken:
        file.write_text(before.replace("unix:/run/forwarder/http.sock", "unix:/run/taken.sock"), encoding="utf-8")
        assert site.run("systemctl reload forwarder", check=False).returncode != 0
        site.until_status("the last reload was refused: cannot listen at unix:/run/taken.sock")
        file.write_text(before, encoding="utf-8")
        site.run("systemctl reload forwarder")
        site.until(lambda: "refused" not in site.show("forwarder", "StatusText"))
    site.path("/run/taken.sock").unlink()


# --- killed ------------------------------------------------------------------------------------


def test_killed(site: Site) -> None:
    """After SIGKILL systemd starts it again; no client was refused meanwhile, and what was accepted arrives."""
    before = site.main_pid()
    with producers(site.intake) as running:
        site.until(lambda: all(len(producer.accepted) > 50 for producer in running))
        site.run(f"kill -KILL {before}")
        until_restarted(site, before)
        then = [len(producer.accepted) for producer in running]
        site.until(lambda: all(len(one.accepted) > count for one, count in zip(running, then, strict=True)))
    assert [producer.not_connected for producer in running] == [[], []]
    site.until_arrived([found for producer in running for found in producer.accepted])


def test_stuck(site: Site) -> None:
    """A daemon that stands still is killed by the watchdog and started again; nothing accepted is lost."""
    with site.drop_in("[Service]\nWatchdogSec=5s\n"):
        before, start = site.main_pid(), time.time()
        with producers(site.intake) as running:
            site.until(lambda: all(len(producer.accepted) > 50 for producer in running))
            site.run(f"kill -STOP {before}")
            until_restarted(site, before)
            then = [len(producer.accepted) for producer in running]
            site.until(lambda: all(len(one.accepted) > count for one, count in zip(running, then, strict=True)))
        assert "Watchdog timeout" in site.journal(since=start)
        assert [producer.not_connected for producer in running] == [[], []]
        site.until_arrived([found for producer in running for found in producer.accepted])


def test_a_start_that_fails_keeps_clients_waiting(site: Site) -> None:
    """With a mistake at the start, the sockets stay open; once it is mended, who waited is answered."""
    sent = numbered(5)
    with configured(site, destinations={"main": {"timeout": "soon"}}):
        site.run("systemctl restart forwarder", check=False)
        with connect(site.intake / "stream.sock") as peer:
            peer.sendall(b"".join(json.dumps(found).encode() + b"\n" for found in sent))
            site.until(lambda: int(site.show("forwarder", "NRestarts")) >= 2)
            assert site.run("systemctl is-active forwarder.socket forwarder-stream.socket").stdout.split() == [
                "active",
                "active",
            ]
            file = site.root / "etc/forwarder/forwarder.yaml"
            file.write_text(file.read_text(encoding="utf-8").replace("soon", "30s"), encoding="utf-8")
            assert json.loads(peer.makefile("rb").readline())["ack"] <= 5
    site.until_arrived(ids(sent))


# --- stopped -----------------------------------------------------------------------------------


def test_stop_delivers_what_waits(site: Site) -> None:
    """`systemctl stop` delivers what is queued, though no batch is full and none is old enough."""
    sent = numbered(7)
    with configured(site, destinations={"main": {"batch": {"max_age": "1h"}}}):
        reload(site)
        assert post(site.intake / "http.sock", sent) == 202
        assert account(site)["queued"] == 7
        site.run("systemctl stop forwarder.socket forwarder-stream.socket forwarder.service")
        assert set(ids(sent)) <= set(site.arrived())
        assert site.show("forwarder", "Result") == "success"
    site.run("systemctl start forwarder.socket forwarder-stream.socket forwarder.service")


def test_the_queue_outlives_service_and_machine(site: Site) -> None:
    """What is queued is still there after a restart of the service and of the machine, and is then delivered."""
    sent = numbered(20)
    site.run("systemctl disable --now receiver")
    assert post(site.intake / "http.sock", sent) == 202
    before = account(site)
    assert before["queued"] == 20
    # A stop does not wait long for a receiver that is not there.
    with configured(site, shutdown_timeout="100ms"):
        reload(site)
        site.run("systemctl restart forwarder")
        site.until_status("20 events queued")
        site.switch_off()
        site.boot()
        site.until(lambda: site.show("forwarder", "ActiveState") == "active")
    after = account(site)
    assert (after["accepted"], after["queued"]) == (before["accepted"], 20)
    site.run("systemctl enable --now receiver; forwarder queue flush")
    site.until_arrived(ids(sent))


# --- keys --------------------------------------------------------------------------------------


def register(site: Site, name: str) -> None:
    """Let the receiver trust the key that is about to be used."""
    site.run(f"forwarder keys show /etc/forwarder/new.pem > /etc/receiver/{name}.pem; systemctl restart receiver")


def test_a_new_key_in_a_credential(site: Site) -> None:
    """The documented commands bring in a new key by a restart in which no client is refused and nothing is lost."""
    commands = sample("systemd/README.md", "A new key", "sh", "systemctl restart forwarder")
    generate, show, move, restart = commands.splitlines()
    start = time.time()
    with producers(site.intake) as running:
        site.run(generate.replace("generate", "generate --bits 3072"), user="admin")
        site.run(show, user="admin")
        register(site, "credential")
        site.run(f"{move}\n{restart}", user="admin")
        then = [len(producer.accepted) for producer in running]
        site.until(lambda: all(len(one.accepted) > count for one, count in zip(running, then, strict=True)))
    assert [producer.not_connected for producer in running] == [[], []]
    assert '"alg": "RS384"' in site.journal(since=start)
    site.until_arrived([found for producer in running for found in producer.accepted])


def test_a_new_key_without_a_restart(site: Site) -> None:
    """A key that belongs to the service is in use seconds after the documented command, in the same process."""
    site.run("chown forwarder /etc/forwarder/key.pem")
    with configured(site, destinations={"main": {"signing": {"key_file": "/etc/forwarder/key.pem"}}}):
        reload(site)
        before, start = site.main_pid(), time.time()
        site.run("sudo forwarder keys generate --bits 4096 /etc/forwarder/new.pem", user="admin")
        register(site, "file")
        with producers(site.intake) as running:
            site.run(sample("systemd/README.md", "A new key", "sh", "chown forwarder"), user="admin")
            site.until(lambda: '"alg": "RS512"' in site.journal(since=start), 15)
        site.until_arrived([found for producer in running for found in producer.accepted])
        assert site.main_pid() == before
        assert (account(site)["dead"], account(site)["dropped"]) == (0, 0)
    # As the daemon sees it; not even root could write there.
    with pytest.raises(OSError, match="Read-only file system"):
        site.path(f"/proc/{site.main_pid()}/root/etc/forwarder/key.pem").touch()


# --- the disk of the queue ---------------------------------------------------------------------


def test_a_disk_that_is_not_mounted(site: Site) -> None:
    """No queue is begun beneath the mount point; clients wait, and the service starts once the disk is there."""
    fstab = site.root / "etc/fstab"
    before = fstab.read_text(encoding="utf-8")
    site.run("systemctl stop forwarder.socket forwarder-stream.socket forwarder.service")
    site.run("mkdir -p /srv/disk; mv /var/lib/private/forwarder /srv/kept")
    sent = numbered(5)
    try:
        fstab.write_text(f"{before}/srv/absent.img /var/lib/private/forwarder ext4 loop,nofail 0 0\n")
        site.run("systemctl daemon-reload; systemctl start forwarder.socket forwarder-stream.socket")
        start = time.time()
        with connect(site.intake / "stream.sock") as peer:
            peer.sendall(b"".join(json.dumps(found).encode() + b"\n" for found in sent))
            site.until(lambda: int(site.show("forwarder", "NRestarts")) >= 2)
            assert "the disk of the queue is not mounted" in site.journal(since=start)
            assert list((site.root / "var/lib/private/forwarder").iterdir()) == []
            fstab.write_text(f"{before}/srv/disk /var/lib/private/forwarder none bind,nofail 0 0\n")
            site.run("systemctl daemon-reload")
            assert json.loads(peer.makefile("rb").readline())["ack"] <= 5
        site.until_arrived(ids(sent))
        assert (site.root / "srv/disk/queue.db").exists()
    finally:
        site.run("systemctl stop forwarder.socket forwarder-stream.socket forwarder.service")
        fstab.write_text(before, encoding="utf-8")
        site.run("umount /var/lib/private/forwarder; systemctl daemon-reload; rmdir /var/lib/private/forwarder")
        site.run("mv /srv/kept /var/lib/private/forwarder; systemctl reset-failed")
        site.run("systemctl start forwarder.socket forwarder-stream.socket forwarder.service")


def test_a_queue_elsewhere(site: Site) -> None:
    """Any folder of the user `forwarder` holds the queue, once the unit lets the daemon write there."""
    site.run("install -d -o forwarder -m 0700 /srv/queue")
    sent = numbered(5)
    with site.drop_in("[Service]\nReadWritePaths=/srv/queue\nEnvironment=FORWARDER_QUEUE__PATH=/srv/queue/queue.db\n"):
        assert post(site.intake / "http.sock", sent) == 202
        site.until_arrived(ids(sent))
    assert (site.root / "srv/queue/queue.db").exists()


def test_the_units_that_were_tested(site: Site) -> None:
    """What is installed is what the project ships."""
    shipped = Path(__file__).parents[2] / "systemd"
    for file in shipped.glob("forwarder*"):
        assert (site.root / "etc/systemd/system" / file.name).read_bytes() == file.read_bytes()
