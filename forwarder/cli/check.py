"""`forwarder check`: find everything that would keep the daemon from working, before it is started.

It does what the daemon does: it reads each key, token and certificate, listens for a moment at each
address and, if asked to, connects to each destination. The result depends on the user who runs it. So
the check says which user that is, and root can run it as the user of the service.
"""

from __future__ import annotations

import codecs
import os
import pwd
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from forwarder import running
from forwarder.cli.options import config_option
from forwarder.cli.text import counted
from forwarder.cli.trial import Occupant, try_address
from forwarder.cli.whereabouts import CREDENTIALS
from forwarder.config import Config, config_file, load, token, warnings
from forwarder.errors import ConfigError, ForwarderError

if TYPE_CHECKING:
    from forwarder.destination.kinds import Kinds
    from forwarder.queue.backends import Backend

Line = tuple[str, str]
"""The result of a check (ok, note or FAIL), and its words."""


@click.command("check")
@config_option
@click.option("--remote", is_flag=True, help="Also connect to each destination, TLS included; no event is sent.")
@click.option("--as", "user", metavar="USER", help="Check as this user would find it, by name or number; for root.")
def check_command(config_path: Path | None, remote: bool, user: str | None) -> None:
    """Check the configuration, keys, permissions, paths and addresses; one line a check.

    Exits with 0 if the daemon can start, 1 if a check failed, 78 if the configuration cannot be read.
    """
    # Imported here, as the help of all commands loads this module, and before the user changes, as another user may not
    # be allowed to read the program.
    from forwarder.destination.kinds import KINDS
    from forwarder.queue.backends import BACKENDS

    # Read the note before changing the user: root believes the note of any user of the service, others only their own.
    note = running.find(config_file(config_path, os.environ), os.environ)
    if user is not None:
        _become(user)
    config = load(config_path, {**CREDENTIALS, **os.environ})
    failed = 0
    for verdict, words in _checks(config, note, KINDS, BACKENDS[type(config.queue)], remote=remote):
        click.echo(f"{verdict:<4}  {words}")
        failed += verdict == "FAIL"
    if failed:
        raise click.exceptions.Exit(1)


def _become(user: str) -> None:
    """Become another user for the rest of the process."""
    try:
        found = pwd.getpwuid(int(user)) if user.isascii() and user.isdigit() else pwd.getpwnam(user)
        name, uid, gid = found.pw_name, found.pw_uid, found.pw_gid
    except KeyError:
        if not user.isdigit():
            words = f"--as: there is no user {user}; the user of a service may be there only while it runs"
            raise click.UsageError(words) from None
        # It may be the number of a container's user, whom this machine does not know.
        name, uid, gid = "", int(user), int(user)
    if uid == os.geteuid():
        return
    # Python loads these codecs on first use. The other user may not be allowed to read the program's files, so they
    # have to be loaded before.
    for name_of_codec in ("utf-8-sig", "idna"):
        with suppress(LookupError):
            codecs.lookup(name_of_codec)
    try:
        os.initgroups(name, gid) if name else os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    except (PermissionError, OverflowError):
        raise click.UsageError(f"--as {user}: only root can check as somebody else") from None


def _checks(
    config: Config, note: running.Running | None, kinds: Kinds, backend: Backend, *, remote: bool
) -> Iterator[Line]:
    yield _speaks_for()
    yield "ok", f"configuration: {counted(len(config.destinations), 'destination')}"
    for words in warnings(config):
        yield "note", words
    for name, destination in config.destinations.items():
        for subject, look in kinds[type(destination)].checks(name, destination, remote):
            yield from _check(f"destination {name}, {subject}", look)
    for path, file in config.token_files.items():
        if file is not None:
            subject = path.replace(".", " ").replace("_", " ").removesuffix(" file")
            yield from _check(subject, partial(_token, file))
    yield from _check("queue", partial(backend.check, config.queue))
    for note_of in backend.notes:
        yield from _note("queue", partial(note_of, config.queue))
    yield from _addresses(config, note, backend.holder(config.queue))


def _speaks_for() -> Line:
    uid = os.geteuid()
    try:
        who = f"user {pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        who = f"user {uid}"
    if uid == 0:
        return "note", f"as {who}, who may do everything: for the user of the service, give --as USER"
    return "ok", f"as {who}"


def _addresses(config: Config, note: running.Running | None, holder: str | None) -> Iterator[Line]:
    occupant = _occupant(note, holder)
    ingest, admin = config.ingest, config.admin
    of_intake, of_operators = (ingest.socket_mode, ingest.socket_group), (admin.socket_mode, admin.socket_group)
    of_viewers = admin.viewer_socket_mode, admin.viewer_socket_group
    for kind, setting, (mode, group), addresses in (
        ("http", "ingest.token_file", of_intake, ingest.http.listen),
        ("stream", "ingest.token_file", of_intake, ingest.stream.listen),
        ("admin", "admin.token_file", of_operators, admin.listen),
        ("viewer", "admin.viewer_token_file", of_viewers, admin.viewer_listen),
    ):
        for address in addresses:
            trying = partial(
                try_address,
                address,
                mode=mode,
                group=group,
                has_token=config.token_files[setting] is not None,
                setting=setting,
                running=occupant,
            )
            yield from _check(f"{kind} address", trying)


def _occupant(note: running.Running | None, holder: str | None) -> Occupant | None:
    """Return the running daemon that has the queue of this configuration open, if there is one."""
    # A note alone proves nothing, as a daemon that was killed leaves its own behind. It is believed if the daemon that
    # it names holds the queue, or if it cannot be found out who does.
    if note is not None and holder in {None, str(note.pid)}:
        return Occupant(note.pid, frozenset([*note.http, *note.stream, *note.admin, *note.viewer]))
    return Occupant(int(holder), frozenset()) if holder and holder.isdigit() else None


def _check(subject: str, act: Callable[[], str]) -> Iterator[Line]:
    """Run one check; `act` returns the words for a success, or raises the error."""
    try:
        yield "ok", f"{subject}: {act()}"
    except ConfigError as error:
        yield "FAIL", f"{subject}: {'; '.join(map(str, error.problems))}"
    except ForwarderError as error:
        yield "FAIL", f"{subject}: {error.message}" + (f". {error.hint}" if error.hint else "")
    except OSError as error:
        yield "FAIL", f"{subject}: {f'{error.filename}: ' if error.filename else ''}{error.strerror or error}"


def _note(subject: str, act: Callable[[], str | None]) -> Iterator[Line]:
    """Report what is worth knowing, if anything is; a file that cannot be read has already failed another check."""
    try:
        words = act()
    except OSError:
        return
    if words is not None:
        yield "note", f"{subject}: {words}"


def _token(file: Path) -> str:
    token(file)
    return str(file)
