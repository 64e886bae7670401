"""`forwarder check`: everything that would keep the daemon from doing its work, found before it starts."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import click

from forwarder.cli.options import config_option
from forwarder.cli.whereabouts import CREDENTIALS
from forwarder.config import Config, DestinationConfig, format_size, load, token
from forwarder.daemon.parts import load_signer
from forwarder.delivery.attempt import Client
from forwarder.delivery.tls import tls_context
from forwarder.errors import ConfigError, ForwarderError
from forwarder.model import Address
from forwarder.queue.first_page import begins_as_queue
from forwarder.queue.lock import InstanceLock

# Seconds for the connection to a destination.
_PATIENCE = 10.0

Line = tuple[str, str]
"""How a check went (ok, note or FAIL), and what there is to say."""


@click.command("check")
@config_option
@click.option("--remote", is_flag=True, help="Also connect to each destination, TLS included; no event is sent.")
def check_command(config_path: Path | None, remote: bool) -> None:
    """Check the configuration, keys, permissions and paths; one line a check.

    Exits with 0 if the daemon can start, 1 if a check failed, 78 if the configuration cannot be read.
    """
    config = load(config_path, {**CREDENTIALS, **os.environ})
    failed = 0
    for verdict, words in _checks(config, remote=remote):
        click.echo(f"{verdict:<4}  {words}")
        failed += verdict == "FAIL"
    if failed:
        raise click.exceptions.Exit(1)


def _checks(config: Config, *, remote: bool) -> Iterator[Line]:
    yield "ok", f"configuration: {_count(len(config.destinations), 'destination')}"
    for words in config.warnings():
        yield "note", words
    for name, destination in config.destinations.items():
        yield _check(f"destination {name}, key", partial(_key, destination))
        yield _check(f"destination {name}, TLS", partial(_tls, name, destination))
        if remote:
            yield _check(f"destination {name}, connection", partial(_connection, name, destination))
    for section, file in (("ingest", config.ingest.token_file), ("admin", config.admin.token_file)):
        if file is not None:
            yield _check(f"{section} token", partial(_token, file))
    yield _check("queue", partial(_queue, config))
    yield from _foreign(config)
    yield from _space(config)
    for kind, addresses in (
        ("http", config.ingest.http.listen),
        ("stream", config.ingest.stream.listen),
        ("admin", config.admin.listen),
    ):
        for address in addresses:
            yield _check(f"{kind} address", partial(_address, address))


def _check(subject: str, act: Callable[[], str]) -> Line:
    """Run one check; `act` returns what is good, or raises what is not."""
    try:
        return "ok", f"{subject}: {act()}"
    except ConfigError as error:
        return "FAIL", f"{subject}: {'; '.join(map(str, error.problems))}"
    except ForwarderError as error:
        return "FAIL", f"{subject}: {error.message}" + (f". {error.hint}" if error.hint else "")


def _key(config: DestinationConfig) -> str:
    signer = load_signer(config)
    return f"{config.signing.key_file}, RSA {signer.bits} bits, {signer.alg}, thumbprint {signer.thumbprint}"


def _tls(name: str, config: DestinationConfig) -> str:
    if urlsplit(config.url).scheme != "https":
        return "not used, the URL is http"
    tls_context(config.tls, f"destinations.{name}.tls")
    return f"{config.tls.ca_file or 'the certificates of the system'}" + (
        f", client certificate {config.tls.cert_file}" if config.tls.cert_file else ""
    )


def _token(file: Path) -> str:
    token(file)
    return str(file)


def _queue(config: Config) -> str:
    path = config.queue.path
    folder = next(parent for parent in path.parents if parent.exists())
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CheckError(f"user {os.getuid()} may not write to {folder}", hint=f"Run: chown {os.getuid()} {folder}")
    if path.is_dir():
        raise CheckError(f"{path} is a folder", hint=f"Let queue.path name a file: {path / 'queue.db'}")
    if folder != path.parent:
        return f"{path}, to be made with its folder"
    used = path.stat().st_size if path.exists() else 0
    state = f"{path}, {format_size(used)} of {format_size(config.queue.max_bytes)}"
    return f"{state}, held by process {holder}" if (holder := InstanceLock(path).holder()) else state


def _foreign(config: Config) -> Iterator[Line]:
    """Say if what stands in the queue's place does not look like one: it would be taken for a damaged queue."""
    path = config.queue.path
    if path.is_file() and os.access(path, os.R_OK) and not begins_as_queue(path):
        words = f"it will be renamed to {path.name}.damaged-…, and a new one begun with what can be read of it"
        yield "note", f"queue: {path} does not begin as a queue; {words}"


def _space(config: Config) -> Iterator[Line]:
    """Say if the disk is smaller than the queue may become: a full disk refuses events before the limit does."""
    path = config.queue.path
    free = shutil.disk_usage(next(parent for parent in path.parents if parent.exists())).free
    used = path.stat().st_size if path.exists() else 0
    if free + used < config.queue.max_bytes:
        limit = format_size(config.queue.max_bytes)
        yield (
            "note",
            f"queue: the disk has {format_size(free // 1024 * 1024)} free, less than queue.max_bytes ({limit})",
        )


def _address(address: Address) -> str:
    if address.path is not None:
        folder = Path(address.path).parent
        if not folder.is_dir():
            raise CheckError(f"{address}: there is no folder {folder}", hint=f"Run: mkdir -p {folder}")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise CheckError(
                f"{address}: user {os.getuid()} may not write to {folder}", hint=f"Run: chown {os.getuid()} {folder}"
            )
        return str(address)
    try:
        socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise CheckError(f"{address}: {error.strerror}", hint="Name an address of this machine") from None
    return str(address)


class CheckError(ForwarderError):
    """One check says no; the hint says what to do."""


def _connection(name: str, config: DestinationConfig) -> str:
    """Connect as the daemon does, and send nothing."""
    return asyncio.run(Client(name, replace(config, timeout=min(config.timeout, _PATIENCE))).probe())


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
