"""Find the running daemon: by the note that it left, by its configuration, or at the usual address.

The daemon keeps running with the configuration that it has read, so it has to be found even if somebody
has since put a typo into the file. The mistake is reported on standard error, so that it is not overlooked.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import click

from forwarder import running
from forwarder.cli.connection import is_answered
from forwarder.cli.text import printable
from forwarder.config import AdminConfig, IngestConfig, SettingError, config_file, load, parse_address
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
        found = noted or _answering(_configured(AdminConfig(), IngestConfig()))
        if found is None:
            hint = "if the daemon runs all the same, say where: --admin ADDRESS, or for send: --to ADDRESS"
            raise ConfigError(error.problems, hint=hint) from error
        _warn(error)
        return found
    configured = _configured(config.admin, config.ingest)
    return configured if noted is None else replace(noted, max_event_bytes=configured.max_event_bytes)


def find_if_possible(config_path: Path | None) -> Whereabouts:
    """Return what the configuration says, without complaining about mistakes: only its tokens are needed."""
    try:
        config = load(config_path, {**CREDENTIALS, **os.environ})
    except ConfigError:
        return Whereabouts()
    return _configured(config.admin, config.ingest)


def _noted(said: running.Running) -> Whereabouts | None:
    """Return what a daemon's note says, or None if that daemon no longer answers."""
    admin = _way(said.admin, said.admin_token_file)
    http, stream = _way(said.http, said.ingest_token_file), _way(said.stream, said.ingest_token_file)
    return _answering(Whereabouts(admin, http, stream))


def _way(texts: list[str], token_file: str | None) -> Way:
    addresses = []
    for text in texts:
        # A socket in the abstract namespace, passed by systemd, is none that the commands can use.
        with suppress(SettingError):
            addresses.append(parse_address(text))
    return Way(tuple(addresses), None if token_file is None else Path(token_file))


def _configured(admin: AdminConfig, ingest: IngestConfig) -> Whereabouts:
    return Whereabouts(
        Way(admin.listen, admin.token_file),
        Way(ingest.http.listen, ingest.token_file),
        Way(ingest.stream.listen, ingest.token_file),
        ingest.max_event_bytes,
    )


def _answering(daemon: Whereabouts) -> Whereabouts | None:
    """Return these whereabouts if a daemon answers there."""
    return daemon if any(map(is_answered, daemon.admin.addresses)) else None


def _warn(error: ConfigError) -> None:
    for problem in error.problems:
        click.echo(f"forwarder: {printable(str(problem))}", err=True)
    click.echo("forwarder: the daemon goes on with the configuration that it has read before", err=True)
