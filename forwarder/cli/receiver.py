"""`forwarder receiver`: run a stand-in for the Event API in the foreground."""

from __future__ import annotations

import asyncio
import shlex
import signal
from datetime import datetime
from pathlib import Path
from typing import get_args

import click
import uvloop

from forwarder import keys
from forwarder.cli.options import parsed
from forwarder.cli.text import counted, printable, size
from forwarder.config import format_size, parse_address, parse_size
from forwarder.errors import SigningKeyError
from forwarder.model import Address
from forwarder.receiver import MAX_BYTES, Faults, Keep, Receiver, Record
from forwarder.receiver.faults import GRAMMAR
from forwarder.receiver.payload import one_line
from forwarder.signing import PublicKey, Signer, holds_private_key


@click.command(
    "receiver",
    epilog="\b\nFaults are a list of entries, separated by commas.\n" + GRAMMAR,
)
@click.option(
    "--listen", callback=parsed(parse_address), default="tcp:127.0.0.1:7780", show_default=True, metavar="ADDRESS"
)
@click.option(
    "--public-key",
    "key_files",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="A key that may sign: PEM, JWK or JWKS. Of a private key, the public half is used. May be repeated.",
)
@click.option(
    "--faults", callback=parsed(Faults.parse), default="", metavar="SCRIPT", help="What to do to requests; see below."
)
@click.option("--max-events", type=click.IntRange(min=1), metavar="N", help="Answer 413 for more events.")
@click.option(
    "--max-bytes",
    callback=parsed(parse_size),
    default=str(format_size(MAX_BYTES)),
    show_default=True,
    metavar="SIZE",
    help="Answer 413 for more bytes.",
)
@click.option(
    "--keep",
    type=click.Choice(get_args(Keep)),
    default="events",
    show_default=True,
    help="What is kept in memory: events can be read back, ids show duplicates, counts need none.",
)
@click.option("--store", type=click.Path(path_type=Path), metavar="FILE", help="Append stored events, one a line.")
@click.option("--quiet", is_flag=True, help="Print no line for each request.")
@click.option("--print-events", is_flag=True, help="Print each event to standard output, the rest to standard error.")
def receiver_command(
    listen: Address,
    key_files: tuple[Path, ...],
    faults: Faults,
    max_events: int | None,
    max_bytes: int,
    keep: Keep,
    store: Path | None,
    quiet: bool,
    print_events: bool,
) -> None:
    """Stand in for the Event API: verify, keep and print what arrives, and fail on demand.

    POST /put takes events, GET /get/FEED and /get/TYPE/ID give them back; GET /stats counts, and
    POST /faults changes the script. Ctrl-C ends it.
    """
    if not key_files:
        raise click.UsageError(
            "no --public-key FILE. Give the key that signs; to make one: forwarder keys generate key.pem"
        )
    output = _Output(quiet=quiet, print_events=print_events)
    receiver = Receiver(
        listen,
        public_keys=[_public_half(file) for file in key_files],
        faults=faults,
        keep=keep,
        max_events=max_events,
        max_bytes=max_bytes,
        store=store,
        on_request=output.request,
        on_events=output.events if print_events else None,
    )
    uvloop.run(_serve(receiver, output))
    click.echo(_summary(receiver), err=True)


class _Output:
    """Prints what happens while the receiver runs; `closed` is set when that ends, or nobody reads it any more."""

    def __init__(self, *, quiet: bool, print_events: bool) -> None:
        self.closed = asyncio.Event()
        self.broken = False
        self._quiet = quiet
        self._print_events = print_events

    def request(self, record: Record) -> None:
        if not self._quiet:
            self._write(_line(record), err=self._print_events)

    def events(self, stored: list[bytes]) -> None:
        self._write(b"\n".join(map(one_line, stored)), err=False)

    def _write(self, text: str | bytes, *, err: bool) -> None:
        try:
            click.echo(text, err=err)
        except BrokenPipeError:
            # That the output is closed is no fault of the request, so it is answered before the receiver ends.
            self.broken = True
            self.closed.set()


async def _serve(receiver: Receiver, output: _Output) -> None:
    """Serve until SIGINT or SIGTERM. Raises BrokenPipeError when nobody reads the output any more."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, output.closed.set)
    async with receiver:
        for key in receiver.verifier.keys:
            click.echo(f"Trusts the RSA key of {key.bits} bits with the thumbprint {key.thumbprint}", err=True)
        click.echo(f"Listens at {receiver.address}, takes events at {receiver.url}", err=True)
        await output.closed.wait()
    if output.broken:
        raise BrokenPipeError


def _public_half(file: Path) -> str:
    """Return the public keys in a file as text; raises SigningKeyError."""
    data = keys.read(file, secret=False)
    if not holds_private_key(data):
        PublicKey.parse(data, str(file))
        return data.decode()
    try:
        signer = Signer.load(file)
    except SigningKeyError as error:
        shown = shlex.quote(str(file))
        raise SigningKeyError(
            error.message, hint=f"give the public half: forwarder keys show {shown} > public.pem"
        ) from None
    click.echo(f"Note: {file} is a private key; only its public half is used.", err=True)
    return signer.public("pem")


def _line(record: Record) -> str:
    """Return the line for a request: time, status, events, duplicates, algorithm, feeds."""
    moment = datetime.fromtimestamp(record.at).astimezone().strftime("%H:%M:%S.%f")[:-3]
    parts = [moment, str(record.status or "---"), counted(record.events, "event"), size(record.size)]
    if record.duplicates:
        parts.append(counted(record.duplicates, "duplicate"))
    parts += [part for part in (record.alg, " ".join(record.feeds), record.detail) if part]
    if record.fault != "ok":
        parts.append(f"[{record.fault}]")
    return "  ".join(map(printable, parts))


def _summary(receiver: Receiver) -> str:
    stats = receiver.stats
    parts = [counted(stats.requests, "request"), f"{counted(stats.stored, 'event')} stored"]
    if stats.distinct is not None and stats.duplicates is not None:
        parts += [counted(stats.distinct, "distinct id"), counted(stats.duplicates, "duplicate")]
    parts += [f"{counted(stats.refused, 'request')} refused", f"{stats.faults:,} met a fault"]
    return ", ".join(parts)
