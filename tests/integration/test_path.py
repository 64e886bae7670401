"""The whole path with a real process: what was accepted arrives, signed, in order, as it was written."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
from pathlib import Path

import pytest
from jwcrypto import jwk, jws

from tests.integration.process import Forwarder, events
from tests.integration.receiving import point, receiver_for
from tests.queue.building import numbers


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
    found = numbers(receiver.events)
    assert found[:4997] == [number for number in range(5000) if number not in {17, 2500, 4800}]
    assert sorted(found[4997:]) == [17, 2500, 4800]


async def test_too_large_is_learned(tmp_path: Path) -> None:
    """A destination that takes 100 events at most gets smaller batches, and is not asked for long."""
    forwarder, receiver = receiver_for(tmp_path / "f", max_events=100)
    async with receiver, point(forwarder, receiver):
        await forwarder.post(events(0, 5000))
        account = await forwarder.settled()
    assert (account["delivered"], account["dead"]) == (5000, 0)
    assert numbers(receiver.events) == list(range(5000))
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
    assert numbers(receiver.events) == list(range(account["dead"], 2000))


async def test_held_while_the_key_is_unknown(tmp_path: Path) -> None:
    """401 and 403 hold the queue; nothing is dropped, and all arrives once the key is known."""
    forwarder, receiver = receiver_for(tmp_path / "f", faults="403,401,403")
    async with receiver, point(forwarder, receiver):
        await forwarder.post(events(0, 10))
        account = await forwarder.settled()
    assert (account["delivered"], account["dead"]) == (10, 0)
    (began,) = forwarder.logged("destination.held")
    (ended,) = forwarder.logged("destination.recovered")
    assert (began["level"], began["events"], began["status"]) == ("warning", 10, 403)
    assert (ended["attempts"], ended["events"]) == (3, 10)
    assert ended["seconds"] > 0
    assert not forwarder.logged("batch.held")


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
