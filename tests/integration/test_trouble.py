"""What an operator sees of trouble at a real process: the log tells it once, and the next step mends it."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import time
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from forwarder.receiver import Receiver
from forwarder.signing import Signer, generate_key
from tests.certificates import DAY, Authority
from tests.delivery.conftest import raw_server
from tests.destination.http_put.servers import OK, answering
from tests.integration.process import Forwarder, events
from tests.integration.receiving import LOCAL, point, receiver_for

# Each starts the real process.
pytestmark = pytest.mark.slow

SECRET, TOKEN = "Content-of-an-event-4711", "Token-of-the-intake-0815"


def another_key(folder: Path) -> Signer:
    """Write a new key beside the one in use, which may be put in its place."""
    fresh = folder / "fresh.pem"
    fresh.touch(mode=0o600)
    fresh.write_bytes(generate_key(2048))
    return Signer.load(fresh)


async def state_of(forwarder: Forwarder, state: str) -> dict[str, Any]:
    """Wait until the destination is in this state; return its account."""

    async def is_so() -> bool:
        return bool((await forwarder.account())["state"] == state)

    await forwarder.until(is_so)
    return await forwarder.account()


async def warned(forwarder: Forwarder, key: str, words: str) -> dict[str, Any]:
    """Wait for a warning with these words, which must come within seconds; return it."""
    found: list[dict[str, Any]] = []

    async def is_warned() -> bool:
        warnings = (await forwarder.status())["warnings"]
        found[:] = [warning for warning in warnings if warning["key"] == key and words in warning["detail"]]
        return bool(found)

    await forwarder.until(is_warned, 10)
    return found[0]


async def is_calm(forwarder: Forwarder) -> bool:
    return not (await forwarder.status())["warnings"]


async def test_a_wrong_key_is_held_and_a_replaced_one_is_tried_at_once(tmp_path: Path) -> None:
    """The wait for `retry.max` ends when the key file is replaced, and the line about the end counts from the begin."""
    forwarder = Forwarder(tmp_path / "f", "http://127.0.0.1:1/put")
    forwarder.config["destinations"]["main"]["retry"] = {"max": "1h"}
    known = another_key(forwarder.folder)
    async with Receiver(LOCAL, public_keys=[known.public("pem")]) as receiver, point(forwarder, receiver):
        await forwarder.post(events(0, 3))
        account = await state_of(forwarder, "holding")
        assert "key" in account["waiting_for"]
        assert (await warned(forwarder, "key.refused", "was answered 401"))["destination"] == "main"
        (forwarder.folder / "fresh.pem").replace(forwarder.key_file)
        began = time.monotonic()
        await forwarder.settled()
        assert time.monotonic() - began < 5
        assert (await forwarder.account())["waiting_for"] is None
        await forwarder.until(partial(is_calm, forwarder), 10)
    (held,) = forwarder.logged("destination.held")
    (recovered,) = forwarder.logged("destination.recovered")
    assert (held["status"], held["events"]) == (401, 3)
    assert "forwarder keys show" in held["hint"]
    assert (recovered["attempts"], recovered["events"]) == (1, 3)


async def test_an_outage_is_told_once(tmp_path: Path) -> None:
    """A destination that is down is one line, however often it is tried, and one at its end."""
    forwarder, receiver = receiver_for(tmp_path / "f")
    forwarder.config["destinations"]["main"]["batch"]["max_events"] = 2
    async with forwarder:
        await forwarder.post(events(0, 3))
        account = await state_of(forwarder, "backing_off")
        assert account["waiting_for"] == "the end of the back-off"
        assert account["next_step"].startswith("see whether it runs")
        # Leased ahead, or waiting: all of it has gathered.
        await forwarder.post(events(3, 9))

        async def is_tried_again() -> bool:
            return bool((await forwarder.account())["attempts"] >= 5)

        await forwarder.until(is_tried_again)
        async with receiver:
            point(forwarder, receiver).write_config()
            assert (await asyncio.to_thread(forwarder.command, "reload")).returncode == 0
            await forwarder.settled()
    (failing,) = forwarder.logged("destination.failing")
    (recovered,) = forwarder.logged("destination.recovered")
    assert failing["detail"].startswith("cannot connect")
    assert recovered["attempts"] >= 5
    # What the queue is just handing out is counted nowhere: at most as many as are leased together.
    assert 4 <= recovered["events"] <= 12
    assert not forwarder.logged("batch.deferred")


async def test_a_certificate_ends(tmp_path: Path) -> None:
    """Before its end the certificate of the server is warned of; afterwards the reason is told, and events wait."""
    authority = Authority(tmp_path, "some")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.issue("localhost"))
    async with raw_server(answering(OK, forever=True), ssl=context) as port:
        forwarder = Forwarder(tmp_path / "f", f"https://localhost:{port}/put")
        forwarder.config["destinations"]["main"]["tls"] = {"ca_file": str(authority.file)}
        async with forwarder:
            await forwarder.post(events(0, 1))
            await forwarder.settled()
            await warned(forwarder, "certificate.expires", f"the certificate of localhost:{port} ends")
            # New connections get it from now on.
            context.load_cert_chain(*authority.issue("localhost", ends_in=-5.0))
            assert (await forwarder.admin("POST", "/v1/destinations/main/flush"))[0] == 204
            await forwarder.post(events(1, 1))
            account = await state_of(forwarder, "backing_off")
            assert "certificate has expired" in account["last_error"]["detail"]
            await warned(forwarder, "certificate.expires", f"localhost:{port} has ended")
            context.load_cert_chain(*authority.issue("localhost", ends_in=90 * DAY))
            assert (await forwarder.settled())["delivered"] == 2


async def test_a_clock_that_is_off(tmp_path: Path) -> None:
    """The date of an answer that is an hour away is a warning."""
    date = formatdate(time.time() - 3600, usegmt=True).encode()
    answers = answering(b"HTTP/1.1 200 OK\r\nDate: " + date + b"\r\nContent-Length: 0\r\n\r\n", forever=True)
    async with raw_server(answers) as port, Forwarder(tmp_path / "f", f"http://127.0.0.1:{port}/put") as forwarder:
        await forwarder.post(events(0, 1))
        warning = await warned(forwarder, "clock.off", "s ahead of that of the destination")
        (line,) = forwarder.logged("clock.off")
        assert (line["level"], line["detail"], line["hint"]) == ("warning", warning["detail"], warning["hint"])


async def test_the_line_of_the_service_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`systemctl status` says which destination takes nothing, what it answered, and what is warned of."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        forwarder = Forwarder(tmp_path / "f", "http://127.0.0.1:1/put")
        stranger = another_key(forwarder.folder).public("pem")
        async with Receiver(LOCAL, public_keys=[stranger]) as receiver, point(forwarder, receiver):
            await forwarder.post(events(0, 1))
            line = b""
            while b"key.refused" not in line:
                line = await asyncio.to_thread(manager.recv, 65536)
    told = "STATUS=1 events queued; main takes nothing (401 Unauthorized), main: key.refused"
    assert line.decode().splitlines()[-1] == told


async def test_poisoned_events_are_told_by_their_ids(tmp_path: Path) -> None:
    """The line about dead letters has the ids of the events that died, and of no other."""
    forwarder, receiver = receiver_for(tmp_path / "f")
    sent = [{**event, "eventId": f"00000000-0000-4000-8000-{n:012}"} for n, event in enumerate(events(0, 30))]
    bad = sorted(event["eventId"] for event in sent if event["data"]["n"] in {3, 4, 20})
    receiver.faults = ",".join(f"reject:{name}" for name in bad)
    async with receiver, point(forwarder, receiver):
        await forwarder.post(sent)
        assert (await forwarder.settled())["dead"] == 3
    assert sorted(name for line in forwarder.logged("event.dead") for name in line["ids"]) == bad


async def test_refusals_are_summed_up(tmp_path: Path) -> None:
    """A client that is refused a hundred times is a line, within seconds, which says who it is and what it was told."""
    forwarder = Forwarder(tmp_path / "f", "http://127.0.0.1:1/put")
    async with forwarder:
        for _ in range(100):
            assert (await forwarder.post({"eventSourceId": "x"}))[0] == 422
        await forwarder.until(lambda: forwarder.logged("events.refused"), 5)
        await asyncio.sleep(2.5)
    line = forwarder.logged("events.refused")[0]
    assert (line["level"], line["way"], line["problem"]) == ("warning", "http", "invalid-event")
    assert (line["peer"], line["pid"]) == (f"uid {os.getuid()}", os.getpid())
    assert "eventType: is required" in line["detail"]
    assert len(forwarder.logged("events.refused")) == 1


async def test_what_a_stop_leaves_is_told(tmp_path: Path) -> None:
    """A stop that runs out of time says what is left of each destination, and what may arrive twice."""
    forwarder, receiver = receiver_for(tmp_path / "f", faults="timeout:30")
    forwarder.config["shutdown_timeout"] = "200ms"
    async with receiver, point(forwarder, receiver):
        await forwarder.post(events(0, 10))
        await forwarder.until(lambda: receiver.requests)
        assert await forwarder.stop() == 0
    (line,) = forwarder.logged("shutdown.timeout")
    assert (line["destination"], line["events"], line["batches"]) == ("main", 10, 1)


async def test_no_content_no_token_and_no_signature_is_logged(tmp_path: Path) -> None:
    """At the most talkative level, with everything going wrong, the log has neither events nor secrets."""
    forwarder = Forwarder(tmp_path / "f", "http://127.0.0.1:1/put", log={"level": "debug"})
    forwarder.config["destinations"]["main"]["headers"] = {"Authorization": f"Bearer {TOKEN}"}
    receiver = Receiver(LOCAL, public_keys=[forwarder.signer.public("pem")], faults=f"503,403,413,reject:{SECRET}")
    async with receiver, point(forwarder, receiver):
        poisoned = {"eventSourceId": "app", "eventType": "t", "data": {"text": SECRET}}
        assert (await forwarder.post([*events(0, 20), poisoned]))[0] == 202
        for body in (
            {**poisoned, "eventType": {"text": SECRET}},
            {**poisoned, "eventId": SECRET},
            b'{"eventSourceId": "' + SECRET.encode() + b'", "eventType": "t", "eventType": "t"}',
            b'{"' + SECRET.encode() + b'": nonsense}',
            SECRET.encode(),
            b'"' + SECRET.encode() + b'"',
            b"[" * 5000 + SECRET.encode(),
            b"\xff" + SECRET.encode(),
        ):
            assert (await forwarder.post(body))[0] in {400, 422}
        with forwarder.stream() as peer:
            peer.sendall(b'{"text": "' + SECRET.encode() + b'"}\n' + SECRET.encode() + b"\n")
            peer.shutdown(1)
            while peer.recv(4096):
                pass

        async def is_dead() -> bool:
            # What is refused alone counts for something once others are taken.
            await forwarder.post(events(0, 5))
            return bool((await forwarder.account())["dead"] == 1)

        await forwarder.until(is_dead)
        letters = await asyncio.to_thread(forwarder.command, "dead", "show", "1")
        # The answer repeats what it refuses: it stays with the event.
        assert letters.stdout.count(SECRET.encode()) >= 2
        await forwarder.until(lambda: len(forwarder.logged("events.refused")) >= 4)
        await forwarder.stop()
    text = forwarder.log_text()
    # The log was as talkative as it gets.
    assert forwarder.logged("batch.delivered")
    assert forwarder.logged("event.dead")
    for secret in (SECRET, TOKEN, forwarder.signer.sign(b"x").split(b".")[0].decode()):
        assert secret not in text
