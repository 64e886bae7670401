"""Cut the power of a machine that runs the forwarder, again and again, and look for what it had accepted.

The daemon runs in qemu with its queue on an ext4 file system, on a drive whose write cache is volatile: what
was not flushed can be lost, in any order. Producers send over the stream and HTTP and report each accept to
this side at once. At a random moment the drive stops, qemu is killed, and chance decides what of the drive's
cache had reached the platter. The next machine boots from what is left: its kernel recovers the file system,
the daemon its queue, and every event that was ever accepted must be queued, dead or delivered. After some cuts
a machine is left running until the queue is empty, and the next queue begins on a new drive.

Needs qemu-system-x86, linux-image-cloud-amd64, busybox-static and e2fsprogs. A cut takes half a
minute on two cores, longer where others compute.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from forwarder.model import Address
from forwarder.receiver import Receiver
from forwarder.signing import Signer, generate_key
from tests.campaigns.power.drive import Disk, Drive
from tests.campaigns.power.events import UNWANTED
from tests.campaigns.power.image import Image, MissingPackageError, build_image, make_ext4
from tests.campaigns.power.ledger import Ledger
from tests.campaigns.power.machine import Machine, MachineError

LEVELS = {"sync-off": "OFF", "normal": "NORMAL"}
# So many cuts a queue survives before it is drained: recovery meets what earlier recoveries left.
_CUTS_A_QUEUE = 5
_DISK_MEBIBYTES = 128
_BATCH = 50
# A machine that computes in software, at the lowest priority, on a busy host.
_PATIENCE = 300.0
_UNAVAILABLE = 69
_TROUBLES = 20


@dataclass(frozen=True, slots=True)
class Plan:
    """One boot: when the power goes, and how the destination is."""

    moment: str
    writes: int | None
    """The power goes at this write to the drive, …"""
    seconds: float
    """… or after so long, whichever comes first; from the boot on, or from when the producers begin."""
    faults: str


@dataclass(slots=True)
class Cut:
    """One power cut and what was found after it."""

    number: int
    moment: str
    accepted: int = 0
    """Events that this machine accepted."""
    cached: int = 0
    """Sectors in the drive's cache at the cut."""
    dropped: int = 0
    """Those of them that were lost with it."""
    lost: int = 0
    """Those of the accepted events that a look has not found, after this cut or a later one."""
    duplicates: int = 0
    """Events that were delivered a second time while this machine ran; after the last cut, also by the next one."""


@dataclass(slots=True)
class Report:
    """All cuts of a campaign."""

    seed: int
    sabotage: str | None
    cuts: list[Cut] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def total(self) -> dict[str, int]:
        """Return the figures of all cuts together."""
        names = ("accepted", "lost", "duplicates", "cached", "dropped")
        sums = {name: sum(getattr(cut, name) for cut in self.cuts) for name in names}
        return {"cuts": len(self.cuts), "found": sums["accepted"] - sums["lost"], **sums}

    @property
    def is_good(self) -> bool:
        return not self.troubles and not any(cut.lost for cut in self.cuts)


def draw_plan(chance: random.Random) -> Plan:
    """Return when the power goes, and how the destination is by then."""
    trouble = chance.choice(("", "503*100000", "503,ok*4,429:1,cut,ok*3,loop"))
    faults = ",".join(filter(None, (trouble, f"reject:{UNWANTED}")))
    match chance.choice(("start", "write", "write", "write", "time")):
        case "start":
            # Recovery of the file system and of the queue, and the first look, are over after about so many.
            return Plan("start", chance.randint(1, 40), 60, faults)
        case "write":
            return Plan("write", chance.randint(10, 300), 30, faults)
    return Plan("time", None, chance.uniform(1, 10), faults)


class Life:
    """One queue from its first start, over its power cuts, until it is empty."""

    def __init__(self, campaign: Campaign, number: int) -> None:
        self._campaign = campaign
        self._number = number
        self._boots = 0
        # In every other queue the log is so short that checkpoints come several times a second.
        self._max_bytes = "64MiB" if number % 2 == 0 else "8MiB"
        self._disk = campaign.new_disk()
        self.ledger = Ledger()
        # By the producers whose events were accepted before it.
        self._cuts: dict[str, Cut] = {}

    async def survive(self, cut: Cut, plan: Plan) -> None:
        """Boot, look what is left from before, send until the power goes."""
        self._campaign.receiver.faults = plan.faults
        kinds = (("stream", "s0", 40), ("stream", "s1", 1), ("post", "h0", 20))
        producers = [(kind, f"{self._number}b{self._boots}{name}", burst) for kind, name, burst in kinds]
        for kind, name, burst in producers:
            self.ledger.expect(name, burst if kind == "post" else 1)
            self._cuts[name] = cut
        accepted = self.ledger.accepted
        await self._boot(cut, producers, lambda drive, sending: self._moment(plan, drive, sending))
        fate = self._disk.cut(self._campaign.chance)
        cut.cached, cut.dropped = fate.cached, fate.dropped
        cut.accepted = self.ledger.accepted - accepted

    async def drain(self, last: Cut) -> None:
        """Boot, and let everything be delivered."""
        self._campaign.receiver.faults = f"reject:{UNWANTED}"
        await self._boot(last, [], lambda _drive, empty: empty.wait())

    async def _boot(
        self,
        cut: Cut,
        producers: list[tuple[str, str, int]],
        moment: Callable[[Drive, asyncio.Event], Coroutine[None, None, object]],
    ) -> None:
        """Let a machine run until the moment has come, then end it without warning."""
        self._boots += 1
        before = self.ledger.duplicates
        drive = Drive(self._disk, self._campaign.folder / "drive.sock")
        orders = {"drain": not producers, "producers": producers, **self._campaign.orders(self._max_bytes)}
        async with drive, Machine(self._campaign.image, drive, self._campaign.folder, orders) as machine:
            sending = asyncio.Event()
            hearing = asyncio.create_task(self._hear(machine, sending, drains=not producers))
            try:
                await _first(hearing, moment(drive, sending))
                await machine.cut()
                await hearing
            finally:
                hearing.cancel()
        duplicates = self.ledger.duplicates - before
        cut.duplicates += duplicates
        # Those that were in flight when the power went the last time: `in_flight` batches and one more.
        if duplicates > 2 * _BATCH:
            self.ledger.troubles.append(f"around cut {cut.number}, {duplicates} events came twice")

    async def _moment(self, plan: Plan, drive: Drive, sending: asyncio.Event) -> None:
        """Return when the power is to go."""
        if plan.moment != "start":
            await sending.wait()
        if plan.writes is not None:
            drive.cut_off_after(plan.writes)
        # Where the queue does not sync, or the host is slow, so many writes may take very long.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(plan.seconds):
                await drive.stopped.wait()

    async def _hear(self, machine: Machine, sending: asyncio.Event, *, drains: bool) -> None:
        """Enter what the guest says."""
        queued: list[Any] = []
        dead: list[Any] = []
        account: dict[str, Any] = {}
        async for report in machine.heard(_PATIENCE):
            match report:
                case {"accepted": run}:
                    self.ledger.accept(run)
                case {"status": status}:
                    account = status["destinations"]["main"]
                    self.ledger.check(account)
                case {"queued": found, "altered": altered}:
                    queued += found
                    self._check_altered(altered)
                case {"dead": found, "altered": altered}:
                    dead += found
                    self._check_altered(altered)
                    if not found:
                        self._look(queued, dead, account["accepted"] if drains and not queued else None)
                        queued, dead = [], []
                case {"sending": True}:
                    sending.set()
                case {"trouble": text}:
                    self.ledger.troubles.append(f"the daemon says: {text}")

    def _look(self, queued: list[Any], dead: list[Any], stored: int | None) -> None:
        for name, missing in self.ledger.look(queued, dead, stored).items():
            self._cuts[name].lost += missing

    def _check_altered(self, altered: int) -> None:
        if altered:
            self.ledger.troubles.append(f"{altered} events in the queue are not what was sent")


class Campaign:
    """Lives of queues, one after the other, with one receiver on this side."""

    def __init__(self, folder: Path, image: Image, seed: int, sabotage: str | None) -> None:
        self.folder = folder
        self.image = image
        self.chance = random.Random(seed)
        self.report = Report(seed, sabotage)
        self._life: Life | None = None
        key_file = folder / "key.pem"
        key_file.touch(mode=0o600)
        key_file.write_bytes(generate_key(2048))
        self._key = key_file.read_text(encoding="ascii")
        public = Signer.load(key_file).public("pem")
        self.receiver = Receiver(
            Address(host="127.0.0.1", port=0), public_keys=[public], keep="counts", on_events=self._receive
        )

    async def run(self, cuts: int) -> None:
        """Cut the power so many times; what was found is in `report`."""
        began = time.monotonic()
        async with self.receiver:
            for first in range(0, cuts, _CUTS_A_QUEUE):
                self._life = Life(self, first // _CUTS_A_QUEUE)
                try:
                    await self._live(self._life, range(first, min(cuts, first + _CUTS_A_QUEUE)))
                except MachineError as error:
                    self.report.troubles.append(str(error))
                self.report.troubles += self._life.ledger.troubles
        if not self.report.total()["accepted"]:
            self.report.troubles.append("no event was accepted: nothing was put to the test")
        self.report.seconds = round(time.monotonic() - began, 1)

    async def _live(self, life: Life, numbers: range) -> None:
        cut = Cut(numbers.start, "")
        for number in numbers:
            plan = draw_plan(self.chance)
            cut = Cut(number + 1, plan.moment)
            await life.survive(cut, plan)
            self.report.cuts.append(cut)
            sectors = f"{cut.dropped} of {cut.cached} sectors dropped"
            _say(f"cut {cut.number}, {plan.moment}: {cut.accepted} accepted, {sectors}; {life.ledger.lost} lost before")
        await life.drain(cut)
        _say(f"drained: {life.ledger.accepted} accepted, {life.ledger.lost} lost, {life.ledger.duplicates} duplicates")

    def _receive(self, events: list[bytes]) -> None:
        assert self._life is not None
        self._life.ledger.receive(events)

    def new_disk(self) -> Disk:
        """Return a drive with a new, empty file system."""
        file = self.folder / "queue.ext4"
        make_ext4(file, _DISK_MEBIBYTES)
        return Disk(file.read_bytes())

    def orders(self, max_bytes: str) -> dict[str, Any]:
        """Return what every machine is told: the program, its key and its configuration."""
        sabotage = self.report.sabotage
        return {
            "module": ["tests.campaigns.power.sabotage", LEVELS[sabotage]] if sabotage else ["forwarder"],
            "key": self._key,
            "config": {
                "ingest": {
                    "http": {"listen": ["unix:/tmp/http.sock"]},
                    "stream": {"listen": ["unix:/tmp/stream.sock"]},
                },
                "queue": {"path": "/queue/queue.db", "max_bytes": max_bytes},
                "destinations": {
                    "main": {
                        "url": f"http://10.0.2.2:{self.receiver.address.port}/put",
                        "signing": {"key_file": "/tmp/key.pem"},
                        "batch": {"max_age": "50ms", "max_events": _BATCH},
                        "retry": {"initial": "20ms", "max": "200ms"},
                    }
                },
                "admin": {"listen": ["unix:/tmp/admin.sock"]},
                "log": {"format": "json"},
            },
        }


async def _first(hearing: asyncio.Task[None], moment: Coroutine[None, None, object]) -> None:
    """Wait for the moment; raises MachineError where the machine ends before."""
    waiting = asyncio.ensure_future(moment)
    try:
        await asyncio.wait([hearing, waiting], return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            hearing.result()
        await waiting
    finally:
        waiting.cancel()


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this campaign."""
    parser.add_argument("--cuts", type=int, default=20, help="how many times the power is cut")
    parser.add_argument("--seed", type=int, default=1, help="of what is left to chance on this side")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--sabotage", choices=LEVELS, help="weaken SQLite's synchronous: losses must be found")


def run(words: argparse.Namespace) -> int:
    """Run the campaign; return 0, or 1 if a promise was broken, or 69 if a package is missing."""
    with tempfile.TemporaryDirectory() as name:
        try:
            campaign = Campaign(Path(name), build_image(Path(name)), words.seed, words.sabotage)
            asyncio.run(campaign.run(words.cuts))
        except MissingPackageError as error:
            _say(str(error))
            return _UNAVAILABLE
    _print(campaign.report, as_json=words.json)
    return 0 if campaign.report.is_good else 1


def _print(report: Report, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"total": report.total(), "is_good": report.is_good, **asdict(report)}, indent=1))  # noqa: T201
        return
    columns = ("cut", "moment", "accepted", "found", "lost", "duplicates", "sectors cached", "of these dropped")
    table = Table(*columns)
    for cut in report.cuts:
        figures = (cut.accepted, cut.accepted - cut.lost, cut.lost, cut.duplicates, cut.cached, cut.dropped)
        table.add_row(str(cut.number), cut.moment, *(f"{figure:,}" for figure in figures))
    total = report.total()
    table.add_section()
    table.add_row(
        f"{total['cuts']}",
        f"{report.seconds:,.0f} s",
        *(f"{total[name]:,}" for name in ("accepted", "found", "lost", "duplicates", "cached", "dropped")),
    )
    console = Console(width=120)
    console.print(table)
    for trouble in report.troubles[:_TROUBLES]:
        console.print(trouble, markup=False)
    if len(report.troubles) > _TROUBLES:
        console.print(f"and {len(report.troubles) - _TROUBLES} more")
