"""`forwarder demo`: run the whole path on this machine, without any setup, and with faults.

It makes a key, a temporary folder and a receiver that verifies every signature, starts a daemon of its
own, and sends events with `forwarder send`, over HTTP and over the stream socket. The receiver fails in
several ways, and half-way the daemon is killed without warning and started again.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.table import Table

from forwarder.admin.status import DestinationState
from forwarder.cli.client import AdminClient
from forwarder.cli.text import counted
from forwarder.envelope import new_ids
from forwarder.errors import ForwarderError
from forwarder.model import Address
from forwarder.receiver import Receiver, Record
from forwarder.signing import Signer, generate_key

# What the receiver does to the first requests: it answers that it is overloaded, stores a batch but loses
# the answer, asks the client to wait, and hangs up. After that it works normally.
FAULTS = "ok,503,cut-after-store,429:1,cut"
# Seconds within which everything must have arrived, in addition to some for each event.
_PATIENCE = 60.0

_CONFIG = """\
ingest:
  http: {{listen: ["unix:{folder}/http.sock"]}}
  stream: {{listen: ["unix:{folder}/stream.sock"]}}
queue: {{path: {folder}/queue/queue.db}}
destinations:
  main:
    url: {url}
    signing: {{key_file: {folder}/key.pem}}
    batch: {{max_events: 100, max_age: 200ms}}
    retry: {{initial: 200ms, max: 2s}}
admin: {{listen: ["unix:{folder}/admin.sock"]}}
log: {{level: error, format: auto}}
"""


class DemoError(ForwarderError):
    """The demo could not be completed; the message says what it was waiting for."""


@click.command("demo")
@click.option("--events", type=click.IntRange(1, 1_000_000), default=1000, show_default=True, help="How many to send.")
@click.option("--keep", is_flag=True, help="Leave it running and print how to send to it; Ctrl-C ends it.")
def demo_command(events: int, keep: bool) -> None:
    """Show the main job on this machine, with faults injected.

    Exits with 0 only if every accepted event arrived at the receiver and its signature was verified.
    """
    if not asyncio.run(_demo(events, keep=keep)):
        raise DemoError("not every accepted event arrived and verified", hint="the table above says how many did not")


@dataclass(slots=True)
class _Setup:
    """The things that the demo runs with."""

    folder: Path
    receiver: Receiver
    admin: AdminClient
    accepted: list[str] = field(default_factory=list)
    """Ids of the events that the daemon has acknowledged as stored."""


async def _demo(events: int, *, keep: bool) -> bool:
    async with AsyncExitStack() as stack:
        setup = await stack.enter_async_context(_prepared())
        async with _daemon(setup) as daemon:
            await _send(setup, f"http+unix:{setup.folder}/http.sock", (events + 1) // 2)
            _say("demo", f"kills the daemon (SIGKILL, process {daemon.pid}) and starts it again")
            daemon.kill()
            await daemon.wait()
        async with _daemon(setup):
            await _send(setup, f"unix:{setup.folder}/stream.sock", events // 2)
            status = await _drained(setup, _PATIENCE + events / 1000)
            _show(setup, status)
            if keep:
                await _keep(setup)
        return set(setup.accepted) <= setup.receiver.ids and len(setup.accepted) == events


@asynccontextmanager
async def _prepared() -> AsyncIterator[_Setup]:
    """Make a folder with a key and a configuration, and start the receiver."""
    with tempfile.TemporaryDirectory(prefix="forwarder-demo-") as name:
        folder = Path(name)
        key_file = folder / "key.pem"
        key_file.touch(mode=0o600)
        key_file.write_bytes(generate_key(2048))
        signer = Signer.load(key_file)
        receiver = Receiver(
            Address(host="127.0.0.1", port=0),
            public_keys=[signer.public("pem")],
            faults=FAULTS,
            keep="ids",
            on_request=_say_request,
        )
        async with receiver:
            (folder / "forwarder.yaml").write_text(_CONFIG.format(folder=folder, url=receiver.url), encoding="utf-8")
            _say("demo", f"works in {folder}; the receiver is at {receiver.url} and will fail: {FAULTS}")
            yield _Setup(folder, receiver, AdminClient(Address(path=str(folder / "admin.sock"))))


@asynccontextmanager
async def _daemon(setup: _Setup) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a daemon until the block ends."""
    config = str(setup.folder / "forwarder.yaml")
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "forwarder", "run", "-c", config)
    try:
        await _ready(setup, process)
        _say("daemon", f"is ready (process {process.pid})")
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


async def _ready(setup: _Setup, process: asyncio.subprocess.Process) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline and process.returncode is None:
        with suppress(ForwarderError):
            await asyncio.to_thread(setup.admin.status)
            return
        await asyncio.sleep(0.05)
    raise DemoError("the daemon did not start", hint="its own words stand above")


def _event(number: int, event_id: str) -> bytes:
    """Return a sample event, as a line of JSON."""
    event = {
        "eventId": event_id,
        "eventSourceId": "demo",
        "eventType": ("login", "feature_use", "logout")[number % 3],
        "eventObjectType": "user",
        "eventObjectId": f"user-{number % 17}",
        "data": {"eventTime": int(time.time() * 1000), "number": number},
    }
    return msgspec.json.encode(event) + b"\n"


async def _send(setup: _Setup, to: str, count: int) -> None:
    """Send so many events to an address, and wait until they are stored."""
    _say("you", f"send {counted(count, 'event')}: forwarder send --to {to}")
    ids = new_ids(os.urandom, count)
    command = [sys.executable, "-m", "forwarder", "send", "-c", f"{setup.folder}/forwarder.yaml", "--to", to]
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
    said, _ = await process.communicate(b"".join(map(_event, range(count), ids)))
    if process.returncode != 0:
        raise DemoError("the daemon did not accept every event", hint="the words above say why")
    setup.accepted += ids
    _say("send", said.decode().strip())


async def _drained(setup: _Setup, patience: float) -> DestinationState:
    """Wait until the queue is empty."""
    deadline = time.monotonic() + patience
    while (status := (await asyncio.to_thread(setup.admin.status)).destinations["main"]).queued:
        if time.monotonic() > deadline:
            raise DemoError(f"{status.queued:,} events are still queued: {status.last_error}")
        await asyncio.sleep(0.1)
    return status


def _show(setup: _Setup, status: DestinationState) -> None:
    accepted = set(setup.accepted)
    table = Table(title="every accepted event, and what became of it", title_justify="left")
    for column in ("accepted", "delivered", "verified by the receiver", "duplicates", "dead"):
        table.add_column(column, justify="right")
    verified, duplicates = len(accepted & setup.receiver.ids), setup.receiver.stats.duplicates or 0
    table.add_row(*(f"{n:,}" for n in (len(accepted), status.delivered, verified, duplicates, status.dead)))
    Console().print(table)
    if duplicates:
        click.echo(
            "Duplicates have the eventId of the first copy: an answer was lost on purpose, so a batch came twice."
        )


async def _keep(setup: _Setup) -> None:
    folder = setup.folder
    event = '{"eventSourceId": "demo", "eventType": "login"}'
    click.echo(f"""
It goes on running; Ctrl-C ends it.
  send:   curl --unix-socket {folder}/http.sock http://localhost/v1/events \\
            -H 'Content-Type: application/json' -d '{event}'
  stream: {folder}/stream.sock
  look:   forwarder status -c {folder}/forwarder.yaml""")
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()


def _say_request(record: Record) -> None:
    answered = record.status or "no answer"
    told = f"stored {record.events} events, verified {record.alg}" if record.events else "stored nothing"
    fault = "" if record.fault == "ok" else f" (fault: {record.fault})"
    _say("receiver", f"{answered}: {told}{fault}")


def _say(who: str, what: str) -> None:
    click.echo(f"{time.strftime('%H:%M:%S')} {who:>8}  {what}")
