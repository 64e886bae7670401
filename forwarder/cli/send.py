"""`forwarder send`: send events to the daemon, and wait until they are stored."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import click

from forwarder.cli import whereabouts
from forwarder.cli.client import find_token, usage, why_it_waits
from forwarder.cli.options import config_option
from forwarder.cli.over_http import HttpSender
from forwarder.cli.over_stream import SpeaksHttpError, StreamSender
from forwarder.cli.progress import show_progress
from forwarder.cli.reader import Reader
from forwarder.cli.report import Report
from forwarder.cli.splitter import MAX_LINE, Splitter
from forwarder.cli.text import counted, printable
from forwarder.cli.whereabouts import Whereabouts
from forwarder.config import SettingError, parse_address
from forwarder.errors import ForwarderError, InputOutputError
from forwarder.model import Address


@dataclass(frozen=True, slots=True)
class Target:
    """Where events are sent, and how."""

    address: Address
    http: bool
    token: str | None
    admin: Address | None = None
    """The admin address of the daemon; None if the target is not known to be the daemon's."""


@click.command("send", short_help="Send events, and wait until they are stored.")
@click.argument("file", default="-")
@click.option(
    "--to",
    metavar="ADDRESS",
    help="unix:PATH or tcp:HOST:PORT, http+unix:PATH or http://HOST:PORT.  [default: from the configuration]",
)
@click.option(
    "--token-file", type=click.Path(path_type=Path), metavar="FILE", help="A file with the bearer token of the intake."
)
@config_option
@click.pass_context
def send_command(
    ctx: click.Context, file: str, to: str | None, token_file: Path | None, config_path: Path | None
) -> None:
    """Send events from FILE, or from standard input, and wait until they are stored.

    FILE holds a JSON object, an array of objects, or newline-delimited JSON of any size. Lines, and
    the events of an array, are counted from 1.

    Exits with 0 if every event was accepted, with 1 if some were refused, and with 69 if the
    daemon cannot be reached or the connection is lost.
    """
    daemon = whereabouts.find(config_path) if to is None else whereabouts.find_if_possible(config_path)
    target = find_target(daemon, to, token_file)
    report = Report()
    splitter = Splitter(
        lambda place, detail: report.refuse(place, 413, detail),
        max_line=max(MAX_LINE, daemon.max_event_bytes),
    )
    try:
        with _open(file) as descriptor:
            chunks = Reader(descriptor, splitter)
            with show_progress(report, chunks):
                _send(target, chunks, splitter, report)
    except (ForwarderError, OSError, KeyboardInterrupt):
        _report_refusals(report)
        if report.settled:
            following = splitter.place(report.settled + 1)
            click.echo(f"{counted(report.stored, 'event')} stored durably, {following} comes next", err=True)
        raise
    _report_refusals(report)
    refused = f", {report.refused:,} refused" if report.refused else ""
    click.echo(f"{counted(report.stored, 'event')} accepted{refused}" if report.stored or refused else "0 events")
    if report.refused:
        ctx.exit(1)


def find_target(daemon: Whereabouts, to: str | None, token_file: Path | None) -> Target:
    """Return where to send: to `to`, or else to the daemon's first stream address, or else its first HTTP address."""
    stream, http = daemon.stream.addresses, daemon.http.addresses
    if to is None:
        # There is at least one, because a configuration without any address of the intake is refused.
        address, is_http = (stream[0], False) if stream else (http[0], True)
    else:
        address, is_http = parse_target(to)
    is_http = is_http or address in http
    # The stream at a unix socket needs no token, so do not require that the user can read one.
    wants = address in http or (address in stream and not address.is_unix)
    configured = daemon.http.token_file if wants else None
    is_known = address in http or address in stream
    admin = next(iter(daemon.admin.addresses), None) if is_known else None
    return Target(address, is_http, find_token(token_file, configured), admin)


def parse_target(text: str) -> tuple[Address, bool]:
    """Return the address, and whether it was given as an HTTP one. Exits with code 2 if it cannot be read."""
    try:
        if text.startswith("http+unix:"):
            return parse_address(text.removeprefix("http+")), True
        if not text.startswith(("http://", "https://")):
            return parse_address(text), False
        url = urlsplit(text)
        host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
        address = parse_address(f"tcp:{host or ''}:{url.port or 80}")
    except (SettingError, ValueError) as error:
        raise usage(f"--to: {error}") from None
    if url.scheme == "https" or url.path not in {"", "/"} or url.query or url.fragment or url.username:
        raise usage(f"--to: `{text}` is not http://HOST:PORT; the path is always /v1/events, and TLS is not spoken")
    return address, True


@contextlib.contextmanager
def _open(file: str) -> Iterator[int]:
    """Yield the descriptor to read from. Raises InputOutputError."""
    if file == "-":
        # It is None if the caller closed it (`<&-`).
        if sys.stdin is None:
            raise InputOutputError("standard input is closed", hint="name a FILE, or pipe the events in")
        yield sys.stdin.fileno()
        return
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise InputOutputError(f"{file}: {error.strerror}") from None
    try:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise InputOutputError(f"{file}: {os.strerror(errno.EISDIR)}", hint="name a file with events")
        yield descriptor
    finally:
        os.close(descriptor)


def _send(target: Target, chunks: Reader, splitter: Splitter, report: Report) -> None:
    # Read first: an error of the input is then reported without connecting, and an empty input needs no connection.
    first = chunks.next_chunk()
    if first is None:
        return
    chunks.put_back(first)
    if not target.http:
        try:
            sender = StreamSender(target.address, target.token, splitter, report, lambda: why_it_waits(target.admin))
            asyncio.run(sender.send(chunks))
            return
        except SpeaksHttpError:
            # Nothing was stored, and the input is back at its start, so send it over HTTP, below.
            pass
    HttpSender(target.address, target.token, splitter, report).send(chunks)


def _report_refusals(report: Report) -> None:
    for refusal in report.refusals:
        click.echo(f"{refusal.place}: {refusal.status} {printable(refusal.detail)}", err=True)
    if report.refused > len(report.refusals):
        click.echo(f"and {report.refused - len(report.refusals):,} more refused", err=True)
