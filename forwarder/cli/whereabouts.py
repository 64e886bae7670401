"""Find the running daemon: by the note that it left, by its configuration, or at the usual address.

The daemon keeps running with the configuration that it has read, so it has to be found even if somebody
has since put a typo into the file. The mistake is reported on standard error, so that it is not overlooked.
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

# Where systemd puts the credentials of forwarder.service; an operator's shell does not have the variable.
CREDENTIALS = {"CREDENTIALS_DIRECTORY": "/run/credentials/forwarder.service"}


@dataclass(frozen=True, slots=True)
class Way:
    """Addresses of one kind, and the file with the token that they need."""

    addresses: tuple[Address, ...] = ()
    token_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """What is known about a daemon."""

    admin: Way = Way()
    http: Way = Way()
    stream: Way = Way()
    max_event_bytes: int = IngestConfig().max_event_bytes


def find(config_path: Path | None) -> Whereabouts:
    """Return where the daemon that runs with this configuration file is. Raises ConfigError if that is unknown."""
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
    """Return what the configuration says, without complaining about mistakes: only its tokens are needed."""
    try:
        return _configured(load(config_path, {**CREDENTIALS, **os.environ}))
    except ConfigError:
        return Whereabouts()


def _noted(said: running.Running) -> Whereabouts | None:
    """Return what a daemon's note says, or None if that daemon no longer answers."""
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
            # A socket in the abstract namespace, passed by systemd, which the commands cannot use.
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
    """Return the default addresses of a daemon, if one answers there."""
    admin, ingest = AdminConfig(), IngestConfig()
    if not any(map(is_answered, admin.listen)):
        return None
    return Whereabouts(Way(admin.listen), Way(ingest.http.listen), Way(ingest.stream.listen))


def _warn(error: ConfigError) -> None:
    for problem in error.problems:
        click.echo(f"forwarder: {printable(str(problem))}", err=True)
    click.echo("forwarder: the daemon goes on with the configuration that it has read before", err=True)
