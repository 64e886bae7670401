"""The whole path with a real process: what was accepted arrives, signed, in order, as it was written."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import subprocess
import time
from functools import partial
from pathlib import Path

import pytest
from jwcrypto import jwk, jws

from forwarder.model import Address
from forwarder.receiver import Receiver
from forwarder.signing import Signer, generate_key
from tests.integration.process import Forwarder, events, numbers

LOCAL = Address(host="127.0.0.1", port=0)


@pytest.fixture
def key_folder(tmp_path: Path) -> Path:
    return tmp_path / "forwarder"


def receiver_for(folder: Path, **more: object) -> tuple[Forwarder, Receiver]:
    """Return a forwarder and the receiver that trusts its key; the URL is set once it listens."""
    forwarder = Forwarder(folder, "http://127.0.0.1:1/put")
    return forwarder, Receiver(LOCAL, public_keys=[forwarder.signer.public("pem")], **more)  # type: ignore[arg-type]


def point(forwarder: Forwarder, receiver: Receiver) -> Forwarder:
    forwarder.config["destinations"]["main"]["url"] = receiver.url
    return forwarder


async def test_what_the_producer_wrote_arrives(tmp_path: Path) -> None:
    """Posted with curl, events arrive token for token; an eventId is put in only where it was missing."""
    bodies: list[bytes] = []
    forwarder, receiver = receiver_for(tmp_path / "f", on_events=bodies.extend)
    login = b'{"eventSourceId": "my-app", "eventType": "login", "data": {"n": 1.50, "big": 1e400, "u": "\\u00e4"}}'
    array = (
        b'[{"eventType": "feature_use", "eventSourceId": "my-app",\n'
        b' "eventId": "6F1C2F7E-7d9e-4f6a-9d0a-1c2d3e4f5a6b"},'
        b' {"eventSourceId": "my-app", "eventId": null, "eventType": "feature_use", "x": 12345678901234567890123}]'
    )
    async with receiver, point(forwarder, receiver):
        for body in (login, array):
            done = subprocess.run(
                ["curl", "-sS", "--unix-socket", str(tmp_path / "f/http.sock"), "http://localhost/v1/events"]
                + ["-H", "Content-Type: application/json", "--data-binary", "@-"],
                input=body,
                capture_output=True,
                check=True,
            )
            assert json.loads(done.stdout)["accepted"] == (1 if body is login else 2)
        await receiver.wait_stored(3, 30)
    plain = [event.replace(b" ", b"").replace(b"\n", b"") for event in bodies]
    assert plain[0].endswith(login.replace(b" ", b"")[1:])
    assert plain[0].startswith(b'{"eventId":"')
    assert (
        plain[1]
        == b'{"eventType":"feature_use","eventSourceId":"my-app","eventId":"6F1C2F7E-7d9e-4f6a-9d0a-1c2d3e4f5a6b"}'
    )
    assert plain[2].startswith(b'{"eventSourceId":"my-app","eventId":"')
    assert plain[2].endswith(b'","eventType":"feature_use","x":12345678901234567890123}')


async def test_another_library_verifies(tmp_path: Path) -> None:
    """The body is a compact JWS with the header {"alg":"RS256"} that another JOSE library verifies."""
    requests: list[tuple[str, bytes]] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        size = int(next(line.split(":")[1] for line in head.splitlines() if line.lower().startswith("content-length")))
        requests.append((head, await reader.readexactly(size)))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, Forwarder(tmp_path / "f", f"http://127.0.0.1:{port}/some/put") as forwarder:
        await forwarder.post(events(0, 3))
        await forwarder.settled()
    [(head, body)] = requests
    assert head.startswith("POST /some/put HTTP/1.1\r\n")
    assert "content-type: application/jose" in head.lower()
    token = jws.JWS()
    token.deserialize(body.decode(), jwk.JWK.from_pem(forwarder.signer.public("pem").encode()))
    assert body.split(b".")[0] == b"eyJhbGciOiJSUzI1NiJ9"
    assert [event["data"]["n"] for event in json.loads(token.payload)] == [0, 1, 2]


async def test_order_through_failures(tmp_path: Path) -> None:
    """With one batch in flight, events arrive in the accepted order whatever the destination does."""
    script = "503*3,cut,timeout:0.3,429:1,cut-after-store,garbage,500,ok,503,cut"
    forwarder, receiver = receiver_for(tmp_path / "f", faults=script)
    forwarder.config["destinations"]["main"] |= {"timeout": "1s", "batch": {"max_events": 50, "max_age": "20ms"}}
    async with receiver, point(forwarder, receiver):
        for first in range(0, 1000, 20):
            assert (await forwarder.post(events(first, 20)))[0] == 202
        account = await forwarder.settled()
    assert (account["delivered"], account["dead"]) == (1000, 0)
    first_seen = list(dict.fromkeys(numbers(receiver.events)))
    assert first_seen == list(range(1000))


async def test_three_bad_events_among_many(tmp_path: Path) -> None:
    """Three events that the destination rejects die; the others arrive in order."""
    forwarder, receiver = receiver_for(tmp_path / "f")
    bad = {f"00000000-0000-4000-8000-{number:012d}" for number in (17, 2500, 4800)}
    receiver.faults = ",".join(f"reject:{name}" for name in sorted(bad))
    async with receiver, point(forwarder, receiver):
        for first in range(0, 5000, 500):
            body = [
                {**event, "eventId": f"00000000-0000-4000-8000-{event['data']['n']:012d}"}
                for event in events(first, 500)
            ]
            assert (await forwarder.post(body))[0] == 202
        account = await forwarder.settled()
        assert (account["delivered"], account["dead"]) == (4997, 3)
        listed = forwarder.command("dead", "list", "--json")
        assert {json.loads(line)["event_id"] for line in listed.stdout.splitlines()} == bad
        receiver.faults = ""
        assert forwarder.command("dead", "replay", "--all").returncode == 0
        account = await forwarder.settled()
        assert (account["delivered"], account["dead"]) == (5000, 0)
    found = list(numbers(receiver.events))
    assert found[:4997] == [number for number in range(5000) if number not in {17, 2500, 4800}]
    assert sorted(found[4997:]) == [17, 2500, 4800]


async def test_too_large_is_learned(tmp_path: Path) -> None:
    """A destination that takes 100 events at most gets smaller batches, and is not asked for long."""
    forwarder, receiver = receiver_for(tmp_path / "f", max_events=100)
    async with receiver, point(forwarder, receiver):
        await forwarder.post(events(0, 5000))
        account = await forwarder.settled()
    assert (account["delivered"], account["dead"]) == (5000, 0)
    assert list(numbers(receiver.events)) == list(range(5000))
    assert sum(record.status == 413 for record in receiver.requests) < 10


async def test_rejecting_everything_holds(tmp_path: Path) -> None:
    """A destination that answers 400 to everything does not empty the queue into the dead letters."""
    forwarder, receiver = receiver_for(tmp_path / "f", faults="400,loop")
    forwarder.config["destinations"]["main"]["retry"] = {"initial": "10ms", "max": "1h"}
    async with receiver, point(forwarder, receiver):
        await forwarder.post(events(0, 2000))

        async def holding() -> bool:
            return bool((await forwarder.account())["state"] == "holding")

        await forwarder.until(holding)
        account = await forwarder.account()
        assert account["dead"] == 0
        assert account["last_error"]["status"] == 400
        assert 0 < account["next_attempt_in_seconds"] <= 30
        receiver.faults = ""
        assert forwarder.command("queue", "resume").returncode == 0
        account = await forwarder.settled()
    assert account["delivered"] == 2000 - account["dead"]
    assert list(numbers(receiver.events)) == list(range(account["dead"], 2000))


async def test_held_while_the_key_is_unknown(tmp_path: Path) -> None:
    """401 and 403 hold the queue; nothing is dropped, and all arrives once the key is known."""
    forwarder, receiver = receiver_for(tmp_path / "f", faults="403,401,403")
    async with receiver, point(forwarder, receiver):
        await forwarder.post(events(0, 10))
        account = await forwarder.settled()
    assert (account["delivered"], account["dead"]) == (10, 0)
    assert len(forwarder.logged("batch.held")) == 3


async def test_one_dead_destination_does_not_hold_up_another(tmp_path: Path) -> None:
    """An event goes to every destination that matches; one that is down delays only itself."""
    forwarder, receiver = receiver_for(tmp_path / "f")
    main = forwarder.config["destinations"]["main"]
    forwarder.config["destinations"]["down"] = {
        **main,
        "url": "http://127.0.0.1:1/put",
        "match": {"eventType": ["log*"]},
    }
    async with receiver, point(forwarder, receiver):
        await forwarder.post([*events(0, 5), *events(5, 5, eventType="other")])
        await receiver.wait_stored(10, 30)
        await forwarder.settled()
        assert (await forwarder.account("down"))["queued"] == 5
        status, problem = await forwarder.post({"eventSourceId": "x"})
        assert (status, problem["errors"][0]["field"]) == (422, "eventType")


@pytest.mark.parametrize("seed", range(3))
async def test_killed_again_and_again(tmp_path: Path, seed: int) -> None:
    """Killed without warning at random moments, it delivers every event that it had accepted, in order."""
    chance = random.Random(seed)
    forwarder, receiver = receiver_for(tmp_path / "f", faults=f"random:0.2:{seed}")
    forwarder.config["destinations"]["main"]["batch"] = {"max_events": 20, "max_age": "5ms"}
    accepted: list[int] = []
    async with receiver:
        point(forwarder, receiver)
        number = 0
        for _ in range(6):
            await forwarder.start()
            stopping = asyncio.create_task(asyncio.sleep(chance.uniform(0.05, 0.4)))
            while not stopping.done():
                try:
                    status, _ = await forwarder.post(events(number, 5))
                except Exception:
                    break
                assert status == 202
                accepted += range(number, number + 5)
                number += 5
            await forwarder.kill()
        receiver.faults = ""
        async with forwarder:
            account = await forwarder.settled()
    arrived = list(dict.fromkeys(numbers(receiver.events)))
    assert set(accepted) <= set(arrived)
    assert arrived == sorted(arrived)
    assert account["delivered"] == account["accepted"] - account["dead"] == account["accepted"]


async def test_stop_delivers_what_waits(tmp_path: Path) -> None:
    """SIGTERM delivers what waits, though no batch is full and none is old enough."""
    forwarder, receiver = receiver_for(tmp_path / "f")
    forwarder.config["destinations"]["main"]["batch"]["max_age"] = "1h"
    async with receiver, point(forwarder, receiver):
        await forwarder.post(events(0, 10))
        assert (await forwarder.account())["queued"] == 10
        assert await forwarder.stop() == 0
        assert list(numbers(receiver.events)) == list(range(10))
    assert not (tmp_path / "f/http.sock").exists()


async def test_stop_with_a_dead_destination(tmp_path: Path) -> None:
    """With a destination that is down, a stop does not wait for it; the events are still there afterwards."""
    forwarder, receiver = receiver_for(tmp_path / "f")
    forwarder.config["destinations"]["main"]["retry"] = {"initial": "1h", "max": "1h"}
    async with forwarder:
        await forwarder.post(events(0, 10))

        async def failed() -> bool:
            return bool((await forwarder.account())["last_error"])

        await forwarder.until(failed)
        assert await forwarder.stop() == 0
    async with receiver, point(forwarder, receiver):
        await forwarder.settled()
    assert list(numbers(receiver.events)) == list(range(10))


async def test_a_second_signal_leaves_at_once(tmp_path: Path) -> None:
    """While a stop waits for a slow destination, a second signal ends the process; nothing is lost."""
    forwarder, receiver = receiver_for(tmp_path / "f", faults="timeout:30")
    async with receiver, point(forwarder, receiver):
        await forwarder.post(events(0, 10))
        await forwarder.until(lambda: receiver.requests)
        assert forwarder.process is not None
        forwarder.process.terminate()
        await forwarder.until(lambda: forwarder.logged("forwarder.stopping"))
        assert await forwarder.stop() == 128 + 15
        async with forwarder:
            await forwarder.settled()
    assert set(numbers(receiver.events)) == set(range(10))


async def test_a_second_instance_is_refused(tmp_path: Path) -> None:
    """Two daemons never share a queue: the second one leaves with exit code 75 and says who holds it."""
    forwarder, receiver = receiver_for(tmp_path / "f")
    async with receiver, point(forwarder, receiver):
        second = forwarder.command("run")
        assert second.returncode == 75
        assert f"process {forwarder.process.pid}" in second.stderr.decode()  # type: ignore[union-attr]
        assert (await forwarder.post(events(0, 1)))[0] == 202
        await forwarder.settled()


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


def is_reloaded(forwarder: Forwarder, times: int) -> bool:
    return len(forwarder.logged("reload.done")) == times


async def test_a_destination_that_is_removed_and_wanted_again(tmp_path: Path) -> None:
    """What is being sent is finished before anything else is: order holds."""
    forwarder, receiver = receiver_for(tmp_path / "f", faults="timeout:6")
    async with receiver, point(forwarder, receiver):
        assert forwarder.process is not None
        with_main = dict(forwarder.config["destinations"])
        await forwarder.post(events(0, 1))
        await forwarder.until(lambda: receiver.requests)
        other = {**with_main["main"], "match": {"eventSourceId": "nobody"}}
        for reloads, destinations in enumerate(({"other": other}, with_main), start=1):
            forwarder.config["destinations"] = destinations
            forwarder.write_config()
            forwarder.process.send_signal(1)
            await forwarder.until(partial(is_reloaded, forwarder, reloads))
        assert (await forwarder.post(events(1, 2)))[0] == 202
        account = await forwarder.settled()
    assert (account["delivered"], account["dead"]) == (3, 0)
    assert list(numbers(receiver.events)) == [0, 1, 2]


async def test_a_stop_waits_for_nobody_who_does_not_read(tmp_path: Path) -> None:
    """Clients that stand still take no more than the seconds that README allows beside `shutdown_timeout`."""
    forwarder, receiver = receiver_for(tmp_path / "f", faults="timeout:90")
    forwarder.config["shutdown_timeout"] = "1s"
    async with receiver, point(forwarder, receiver):
        for first in range(0, 2000, 200):
            await forwarder.post(events(first, 200, version="x" * 4000))
        with socket.socket(socket.AF_UNIX) as reader, socket.socket(socket.AF_UNIX) as writer:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.connect(str(forwarder.folder / "admin.sock"))
            reader.sendall(b"GET /v1/destinations/main/queue HTTP/1.1\r\nHost: x\r\n\r\n")
            writer.connect(str(forwarder.folder / "http.sock"))
            writer.sendall(b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
            assert await asyncio.to_thread(reader.recv, 12) == b"HTTP/1.1 200"
            began = time.monotonic()
            assert await forwarder.stop() == 0
            took = time.monotonic() - began
        assert took < 1 + 5 + 3
        assert len(forwarder.logged("forwarder.stopped")) == 1


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
    assert list(numbers(receiver.events)) == list(range(20))
