"""`forwarder queue`: inspect the queue of a destination, and control its delivery."""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import urlencode

import click

from forwarder.cli.client import AdminClient, destination_path, usage, with_admin
from forwarder.cli.output import open_output
from forwarder.cli.text import counted, on_terminal, printable

destination_option = click.option(
    "--destination", "-d", metavar="NAME", help="Which destination; may be left out where there is only one."
)

source_option = click.option("--source", metavar="NAME", help="Those with this eventSourceId.")
object_option = click.option(
    "--object", "about", metavar="TYPE:ID", help="Those about one person or thing: eventObjectType and eventObjectId."
)


@click.group("queue")
def queue_group() -> None:
    """Inspect the queue of a destination, and control its delivery."""


@queue_group.command()
@click.option("--limit", type=click.IntRange(min=1), default=10, show_default=True, help="How many events.")
@destination_option
@with_admin
def peek(admin: AdminClient, destination: str | None, limit: int) -> None:
    """Print the oldest queued events, one a line, without taking them."""
    name = admin.destination(destination, removed=True)
    found = 0
    for line in admin.lines(destination_path(name, "queue"), {"limit": limit}):
        found += 1
        # An event may contain control characters, which must not reach a terminal. A program gets it unchanged.
        click.echo(printable(line.decode(errors="replace")) if on_terminal() else line)
    if not found:
        click.echo(f"{name}: nothing is queued", err=True)


@queue_group.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write to FILE, when complete.")
@destination_option
@with_admin
def export(admin: AdminClient, destination: str | None, output: Path | None) -> None:
    """Write all queued events, oldest first, one a line, without taking them.

    `forwarder send` reads such a file.
    """
    name = admin.destination(destination, removed=True)
    written = 0
    with open_output(output) as stream:
        for line in admin.lines(destination_path(name, "queue")):
            stream.write(line + b"\n")
            written += 1
    click.echo(f"{name}: {counted(written, 'event')} exported", err=True)


@queue_group.command()
@destination_option
@with_admin
def flush(admin: AdminClient, destination: str | None) -> None:
    """Attempt a delivery now, without waiting for a fuller batch or for the back-off."""
    _steer(admin, destination, "flush", "attempting a delivery now")


@queue_group.command()
@destination_option
@with_admin
def pause(admin: AdminClient, destination: str | None) -> None:
    """Stop delivering, even across restarts. Events are still accepted and queued."""
    _steer(admin, destination, "pause", "paused")


@queue_group.command()
@destination_option
@with_admin
def resume(admin: AdminClient, destination: str | None) -> None:
    """Deliver again after a pause. A destination that is held is tried again at once."""
    _steer(admin, destination, "resume", "resumed")


def _steer(admin: AdminClient, destination: str | None, verb: str, done: str) -> None:
    name = admin.destination(destination)
    admin.ask("POST", destination_path(name, verb))
    click.echo(f"{name}: {done}")


@queue_group.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--destination", "-d", metavar="NAME", help="Which destination.")
@click.option("--all", "everything", is_flag=True, help="Every destination.")
@source_option
@object_option
@with_admin
@click.pass_context
def purge(
    ctx: click.Context,
    admin: AdminClient,
    destination: str | None,
    everything: bool,
    source: str | None,
    about: str | None,
    yes: bool,
) -> None:
    """Drop all queued events of a destination, or some of them, for good. They are counted as dropped.

    Needs --destination or --all. Events that are being sent at this moment, or arrive later, are not dropped.
    """
    if everything == (destination is not None):
        raise usage("say which: --destination NAME, or --all for every destination")
    found = admin.status().destinations
    names = sorted(found) if destination is None else [destination]
    # For an unknown name no number can be shown; the daemon will refuse it.
    number = sum(found[name].queued for name in names if name in found)
    queued = f"the {counted(number, 'event')} queued" if found.keys() >= set(names) else "everything queued"
    query = [(name, value) for name, value in (("source", source), ("object", about)) if value is not None]
    if query:
        queued = printable(f"what is queued with {', '.join(f'{name} {value}' for name, value in query)}")
    if not agreed(f"Drop {queued} for {destination or 'all destinations'}, for good?", yes):
        ctx.exit(1)
    for name in names:
        path = destination_path(name, "queue") + (f"?{urlencode(query)}" if query else "")
        dropped = admin.count("DELETE", path, "dropped")
        click.echo(f"{name}: {counted(dropped, 'event')} dropped")


def agreed(question: str, yes: bool) -> bool:
    """Ask for confirmation unless `yes`; exits with code 2 if there is nobody to ask."""
    if yes:
        return True
    if sys.stdin is None or not sys.stdin.isatty():
        raise usage("this drops events for good and there is no terminal to ask on; give --yes")
    if click.confirm(question, err=True):
        return True
    click.echo("nothing was dropped", err=True)
    return False
