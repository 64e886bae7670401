"""Where the running daemon is: by what it says of itself, by its configuration, or by the usual address.

A configuration that cannot be used, because of a typo perhaps, is no reason not to find the daemon that runs with what
it read before. The mistake is told on standard error, so that it is not overlooked.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import click

from forwarder import running
from forwarder.cli.connection import is_answered
from forwarder.cli.text import printable
from forwarder.config import AdminConfig, Config, IngestConfig, SettingError, config_file, load, parse_address
from forwarder.errors import ConfigError
from forwarder.model import Address

# Where systemd puts the credentials of forwarder.service; the shell of an operator lacks the variable.
CREDENTIALS = {"CREDENTIALS_DIRECTORY": "/run/credentials/forwarder.service"}


@dataclass(frozen=True, slots=True)
class Way:
    """Addresses of one kind, and the file with the token that they want."""

    addresses: tuple[Address, ...] = ()
    token_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """What is known of a daemon."""

    admin: Way = Way()
    http: Way = Way()
    stream: Way = Way()
    max_event_bytes: int = IngestConfig().max_event_bytes


def find(config_path: Path | None) -> Whereabouts:
    """Return where the daemon is that runs with this configuration file. Raises ConfigError where nothing tells."""
    said = running.find(config_file(config_path, os.environ), os.environ)
    noted = None if said is None else _noted(said)
    try:
        config = load(config_path, {**CREDENTIALS, **os.environ})
    except ConfigError as error:
        found = noted or _usual()
        if found is None:
            raise
        _warn(error)
        return found
    if noted is None:
        return _configured(config)
    return Whereabouts(noted.admin, noted.http, noted.stream, config.ingest.max_event_bytes)


def find_if_possible(config_path: Path | None) -> Whereabouts:
    """Return what is known of the daemon, without a word about what is not: it is needed for its tokens only."""
    try:
        return _configured(load(config_path, {**CREDENTIALS, **os.environ}))
    except ConfigError:
        return Whereabouts()


def _noted(said: running.Running) -> Whereabouts | None:
    """Return what a daemon says of itself; None where it is not there any more."""
    admin = _way(said.admin, said.admin_token_file)
    if not any(map(is_answered, admin.addresses)):
        return None
    return Whereabouts(admin, _way(said.http, said.ingest_token_file), _way(said.stream, said.ingest_token_file))


def _way(texts: list[str], token_file: str | None) -> Way:
    addresses = []
    for text in texts:
        try:
            addresses.append(parse_address(text))
        except SettingError:
            # A socket in the abstract namespace, from systemd: for others to use.
            continue
    return Way(tuple(addresses), None if token_file is None else Path(token_file))


def _configured(config: Config) -> Whereabouts:
    ingest = config.ingest
    return Whereabouts(
        Way(config.admin.listen, config.admin.token_file),
        Way(ingest.http.listen, ingest.token_file),
        Way(ingest.stream.listen, ingest.token_file),
        ingest.max_event_bytes,
    )


def _usual() -> Whereabouts | None:
    """Return the addresses that a daemon has by default, if one answers there."""
    admin, ingest = AdminConfig(), IngestConfig()
    if not any(map(is_answered, admin.listen)):
        return None
    return Whereabouts(Way(admin.listen), Way(ingest.http.listen), Way(ingest.stream.listen))


def _warn(error: ConfigError) -> None:
    for problem in error.problems:
        click.echo(f"forwarder: {printable(str(problem))}", err=True)
    click.echo("forwarder: the daemon goes on with the configuration that it has read before", err=True)
