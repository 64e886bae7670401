"""A small queue that drops the oldest, and gets many times what fits while its destination is away."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from forwarder.model import Address
from forwarder.receiver import Receiver
from tests.integration.process import Forwarder
from tests.load.finding import Finding
from tests.load.peers import MIB, connected, free_port, number_of, send_all

# Events that may be in hand, to be delivered next: a few batches of the usual thousand.
_HELD = 5 * 1000


async def overflow(folder: Path, count: int, max_bytes: int) -> list[Finding]:
    """Send `count` events into a queue of `max_bytes`, then let all that was kept be delivered.

    All must be accepted and every drop counted; the disk stays within bounds; but for the batches
    in hand, the newest are kept, and arrive in order.
    """
    port = free_port()
    arrived: list[bytes] = []
    queue = {"max_bytes": max_bytes, "when_full": "drop_oldest"}
    forwarder = Forwarder(folder, f"http://127.0.0.1:{port}/put", queue=queue)
    async with forwarder:
        most, answers = await _fill(forwarder, count)
        account = await forwarder.account()
        kept = account["queued"]
        assert account["dropped"] > 0, "all of it fits: nothing was put to the test"
        keys = [forwarder.signer.public("pem")]
        address = Address(host="127.0.0.1", port=port)
        async with Receiver(address, public_keys=keys, keep="counts", on_events=arrived.extend):
            settled = await forwarder.settled()
    found = [number_of(event) for event in arrived]
    # The first batches were on their way, to be sent again: those are not dropped.
    held = next((place for place, number in enumerate(found) if place != number), len(found))
    wanted = [*range(held), *range(count - kept + held, count)]
    return [
        Finding("events sent", count, "events"),
        Finding("events dropped, and counted as such", account["dropped"], "events"),
        Finding("events delivered", settled["delivered"], "events"),
        Finding("lines refused, or not acked", _unsettled(answers, count), "events", 0),
        Finding("events sent and in no account", abs(count - kept - account["dropped"]), "events", 0),
        Finding("events kept and not delivered", abs(kept - settled["delivered"]), "events", 0),
        Finding("events dropped while there was room", settled["dropped"] - account["dropped"], "events", 0),
        Finding("events kept as they were in hand", held, "events", _HELD),
        Finding("events that are not the newest, or not in order", _differing(found, wanted), "events", 0),
        Finding("most disk in use", round(most / MIB, 1), "MiB", round(max_bytes / MIB, 1)),
    ]


async def _fill(forwarder: Forwarder, count: int) -> tuple[int, list[bytes]]:
    """Send all events; return the most bytes that the queue took meanwhile, and the answers."""
    most = 0
    with connected(forwarder.folder / "stream.sock", 1) as [peer]:
        sending = asyncio.create_task(asyncio.to_thread(send_all, peer, count))
        while not sending.done():
            await forwarder.account()
            most = max(most, forwarder.on_disk())
        return max(most, forwarder.on_disk()), await sending


def _unsettled(answers: list[bytes], count: int) -> int:
    refused = sum(b"refused" in answer for answer in answers)
    return refused + count - int(json.loads(answers[-1])["ack"])


def _differing(found: list[int], wanted: list[int]) -> int:
    return sum(one != other for one, other in zip(found, wanted, strict=False)) + abs(len(found) - len(wanted))
