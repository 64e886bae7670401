"""A small queue that drops the oldest: all is accepted, the disk stays within bounds, the newest arrive."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

from forwarder.model import Address
from forwarder.receiver import Receiver
from tests.integration.process import Forwarder
from tests.load.peers import MIB, connected, lines, number_of

COUNT = 200_000
MAX_BYTES = 40 * MIB
# Events that may be in hand, to be delivered next: a few batches of the usual thousand.
HELD = 5 * 1000
# Events that are sent at a time.
_STEP = 1000


def send_all(peer: socket.socket) -> list[bytes]:
    """Send all events over a stream; return every answer."""
    for first in range(0, COUNT, _STEP):
        peer.sendall(lines(first, _STEP))
    peer.shutdown(socket.SHUT_WR)
    with peer.makefile("rb") as file:
        return file.readlines()


def on_disk(forwarder: Forwarder) -> int:
    """Return what the queue takes: its file, the log, the reserve and whatever else stands beside them."""
    return sum(path.stat().st_size for path in (forwarder.folder / "queue").iterdir())


async def test_the_newest_are_kept(tmp_path: Path) -> None:
    """Several times what fits is accepted; but for the batches in hand, the newest are kept and arrive in order."""
    port = free_port()
    arrived: list[bytes] = []
    queue = {"max_bytes": MAX_BYTES, "when_full": "drop_oldest"}
    forwarder = Forwarder(tmp_path / "f", f"http://127.0.0.1:{port}/put", queue=queue)
    async with forwarder:
        with connected(forwarder.folder / "stream.sock", 1) as [peer]:
            sending = asyncio.create_task(asyncio.to_thread(send_all, peer))
            most = 0
            while not sending.done():
                account = await forwarder.account()
                most = max(most, on_disk(forwarder))
            answers = await sending
        assert json.loads(answers[-1]) == {"ack": COUNT}
        assert not [answer for answer in answers if b"refused" in answer]
        account = await forwarder.account()
        kept = account["queued"]
        assert account["accepted"] == COUNT == kept + account["dropped"]
        assert account["dropped"] > 0
        assert max(most, on_disk(forwarder)) <= MAX_BYTES
        keys = [forwarder.signer.public("pem")]
        address = Address(host="127.0.0.1", port=port)
        async with Receiver(address, public_keys=keys, keep="counts", on_events=arrived.extend):
            settled = await forwarder.settled()
        assert (settled["delivered"], settled["dropped"]) == (kept, account["dropped"])
    found = [number_of(event) for event in arrived]
    # The first batches were on their way, to be sent again: those are not dropped.
    held = next(place for place, number in enumerate(found) if place != number)
    assert held <= HELD
    assert found == [*range(held), *range(COUNT - kept + held, COUNT)]


def free_port() -> int:
    """Return a port that nothing listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
