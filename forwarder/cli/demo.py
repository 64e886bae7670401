"""`forwarder demo`: run the whole path on this machine, without any setup, and with faults.

It makes a key, a temporary folder and a receiver that verifies every signature, starts a daemon of its
own, and sends events over HTTP and over the stream socket. The receiver fails in several ways, and
half-way the daemon is killed without warning and started again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import click
import msgspec
from rich.console import Console
from rich.table import Table

from forwarder.admin.status import DestinationState, Status
from forwarder.envelope import new_ids
from forwarder.errors import ForwarderError
from forwarder.model import Address
from forwarder.receiver import Receiver, Record
from forwarder.signing import Signer, generate_key

# What the receiver does to the first requests: it answers that it is overloaded, stores a batch but loses
# the answer, asks the client to wait, and hangs up. After that it works normally.
FAULTS = "ok,503,cut-after-store,429:1,cut"
_ARRAY = 50
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
    session: aiohttp.ClientSession
    accepted: list[str] = field(default_factory=list)
    """Ids of the events that the daemon has acknowledged as stored."""


async def _demo(events: int, *, keep: bool) -> bool:
    async with AsyncExitStack() as stack:
        setup = await stack.enter_async_context(_prepared())
        async with _daemon(setup) as daemon:
            _say("you", f"send {(events + 1) // 2:,} events over HTTP, {_ARRAY} a request")
            await _send_http(setup, 0, (events + 1) // 2)
            _say("demo", f"kills the daemon (SIGKILL, process {daemon.pid}) and starts it again")
            daemon.kill()
            await daemon.wait()
        async with _daemon(setup):
            _say("you", f"send {events // 2:,} events over the stream socket")
            await _send_stream(setup, (events + 1) // 2, events // 2)
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
        connector = aiohttp.UnixConnector(str(folder / "http.sock"))
        async with receiver, aiohttp.ClientSession(connector=connector) as session:
            (folder / "forwarder.yaml").write_text(_CONFIG.format(folder=folder, url=receiver.url), encoding="utf-8")
            _say("demo", f"works in {folder}; the receiver is at {receiver.url} and will fail: {FAULTS}")
            yield _Setup(folder, receiver, session)


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
        with contextlib.suppress(aiohttp.ClientError, OSError):
            await _status(setup)
            return
        await asyncio.sleep(0.05)
    raise DemoError("the daemon did not start", hint="its own words stand above")


async def _status(setup: _Setup) -> Status:
    connector = aiohttp.UnixConnector(str(setup.folder / "admin.sock"))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get("http://localhost/v1/status") as answer,
    ):
        return msgspec.json.decode(await answer.read(), type=Status)


def _event(number: int) -> dict[str, object]:
    """Return a sample event without an id, so that the daemon gives it one."""
    return {
        "eventSourceId": "demo",
        "eventType": ("login", "feature_use", "logout")[number % 3],
        "eventObjectType": "user",
        "eventObjectId": f"user-{number % 17}",
        "data": {"eventTime": int(time.time() * 1000), "number": number},
    }


async def _send_http(setup: _Setup, first: int, count: int) -> None:
    for start in range(first, first + count, _ARRAY):
        events = [_event(number) for number in range(start, min(start + _ARRAY, first + count))]
        async with setup.session.post("http://localhost/v1/events?return=ids", json=events) as answer:
            body = await answer.json()
            if answer.status != 202:
                raise DemoError(f"the daemon answered {answer.status}: {body.get('detail')}")
            setup.accepted += body["eventIds"]


async def _send_stream(setup: _Setup, first: int, count: int) -> None:
    """Send events with ids of our own, one a line, and read acks until the last one."""
    ids = new_ids(os.urandom, count)
    lines = [msgspec.json.encode({**_event(first + number), "eventId": ids[number]}) + b"\n" for number in range(count)]
    reader, writer = await asyncio.open_unix_connection(str(setup.folder / "stream.sock"))
    writer.writelines(lines)
    writer.write_eof()
    acked = 0
    while line := await reader.readline():
        answer = msgspec.json.decode(line, type=dict[str, object])
        if "ack" not in answer:
            raise DemoError(f"the daemon refused a line: {answer.get('detail')}")
        acked = int(str(answer["ack"]))
    writer.close()
    setup.accepted += ids[:acked]
    _say("daemon", f"acked {acked:,} lines")


async def _drained(setup: _Setup, patience: float) -> DestinationState:
    """Wait until the queue is empty."""
    deadline = time.monotonic() + patience
    while (status := (await _status(setup)).destinations["main"]).queued:
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
