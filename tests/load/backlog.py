"""A deep queue from its first event to its last: filled while the destination is away, killed, started, drained.

What it took at each step is measured; whether that is more than a nearly empty queue takes is seen
by running one through the same steps.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from forwarder.model import Address
from forwarder.receiver import Receiver
from tests.benchmarks.load import peak_memory
from tests.integration.process import PATIENCE, Forwarder
from tests.load.arrivals import Arrivals
from tests.load.finding import Finding
from tests.load.peers import MIB, connected, event, free_port, send_all

# As slow as a busy machine may be at anything, in events a second.
_SLOWEST = 1000
# Seconds between two looks at what is left.
_LOOK = 0.5
# Bytes that a queue may keep on the disk after it was drained: 16 MiB of its file for reuse, as much in reserve for
# a full disk, and as much again for the log and what is in use.
LEFT = 48 * MIB
# Bytes of memory that the process may ever have had resident: some batches on their way, at any depth of the queue.
PEAK = 110 * MIB


@dataclass(slots=True)
class Backlog:
    """A queue of `events` events, and what it took: seconds and peaks of memory by step, bytes of the disk."""

    events: int
    unsettled: int = 0
    """Lines that were refused, or not acked."""
    seconds: dict[str, float] = field(default_factory=dict)
    peaks: dict[str, int] = field(default_factory=dict)
    full: int = 0
    left: int = 0
    arrivals: Arrivals = field(default_factory=Arrivals)
    account: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, size: int) -> Backlog:
        """Return one of about `size` bytes."""
        return cls(size // (len(event(0)) + 1))

    async def run(self, folder: Path, max_bytes: int) -> None:
        """Go through all steps, in a folder of its own."""
        port = free_port()
        forwarder = Forwarder(folder, f"http://127.0.0.1:{port}/put", queue={"max_bytes": max_bytes})
        keys = [forwarder.signer.public("pem")]
        address = Address(host="127.0.0.1", port=port)
        async with forwarder:
            with self._measured("filled", forwarder):
                self.unsettled = await _fill(forwarder, self.events)
            self.full = forwarder.on_disk()
            await forwarder.kill()
            await asyncio.to_thread(_leave_memory, Path(forwarder.config["queue"]["path"]).parent)
            with self._measured("started", forwarder):
                await forwarder.start()
                await forwarder.until(lambda: _is_ready(forwarder))
            with self._measured("drained", forwarder):
                async with Receiver(address, public_keys=keys, keep="counts", on_events=self.arrivals.take):
                    self.account = await _settled(forwarder, PATIENCE + self.events / _SLOWEST)
            with self._measured("handed back", forwarder), contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    while forwarder.on_disk() > LEFT:
                        await asyncio.sleep(_LOOK)
            self.left = forwarder.on_disk()

    def findings(self, few: Backlog, start: float) -> list[Finding]:
        """Return what was found, beside a nearly empty queue; it was to be ready within `start` seconds."""
        steps = [Finding(f"seconds until {step}", round(took, 2), "s") for step, took in self.seconds.items()]
        return [
            Finding("events queued", self.events, "events"),
            Finding("disk in use when filled", round(self.full / MIB), "MiB"),
            *(step for step in steps if step.what != "seconds until started"),
            Finding("seconds from its start until ready", round(self.seconds["started"], 2), "s", start),
            *(
                Finding(f"peak of memory until {step}", round(peak / MIB, 1), "MiB", PEAK / MIB)
                for step, peak in self.peaks.items()
            ),
            Finding(f"the same with {few.events:,} queued", round(max(few.peaks.values()) / MIB, 1), "MiB"),
            Finding("lines refused, or not acked", self.unsettled, "events", 0),
            *self.arrivals.findings(self.events),
            Finding("events not accounted as delivered", abs(self.account["delivered"] - self.events), "events", 0),
            Finding("disk in use when drained", round(self.left / MIB, 1), "MiB", LEFT / MIB),
        ]

    @contextlib.contextmanager
    def _measured(self, step: str, forwarder: Forwarder) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[step] = time.monotonic() - began
        assert forwarder.process is not None
        self.peaks[step] = peak_memory(forwarder.process.pid)


async def _fill(forwarder: Forwarder, count: int) -> int:
    """Send so many events; return how many of them were not stored."""
    with connected(forwarder.folder / "stream.sock", 1) as [peer]:
        answers = await asyncio.to_thread(send_all, peer, count)
    refused = sum(b"refused" in answer for answer in answers)
    return refused + count - int(json.loads(answers[-1])["ack"])


def _leave_memory(folder: Path) -> None:
    """Let the system forget what it has read and written of these files, as if it had been started again."""
    for path in folder.iterdir():
        descriptor = os.open(path, os.O_RDONLY)
        try:
            # What is not on the disk yet is not forgotten.
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


async def _is_ready(forwarder: Forwarder) -> bool:
    return bool((await forwarder.status())["ready"])


async def _settled(forwarder: Forwarder, patience: float) -> dict[str, int]:
    """Wait until nothing is queued; return the account. A look now and then leaves the forwarder to its work."""
    async with asyncio.timeout(patience):
        while (account := await forwarder.account())["queued"]:
            await asyncio.sleep(_LOOK)
    return account
