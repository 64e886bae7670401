"""`forwarder status`: show what the daemon is doing, once or again and again."""

from __future__ import annotations

import os
import shutil
import sys
import time
from datetime import UTC, datetime
from typing import NoReturn

import click

from forwarder.admin.status import Status
from forwarder.cli.client import AdminClient, with_admin
from forwarder.cli.overview import Line, details, drawing, head, table
from forwarder.cli.text import clock, on_terminal
from forwarder.errors import NegativeAnswerError, NotReachableError

# Seconds between two looks; the daemon itself finds out its rates and conditions as often.
_SECONDS = 2.0
# Erase the screen and what was scrolled out of it, and begin at its top (ECMA-48; xterm for the second).
_CLEAR = "\x1b[2J\x1b[3J\x1b[H"


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print the daemon's answer as it is.")
@click.option("--watch", is_flag=True, help="Look again every two seconds, until Ctrl-C.")
@with_admin
@click.pass_context
def status_command(ctx: click.Context, admin: AdminClient, as_json: bool, watch: bool) -> None:
    """Show what the daemon is doing now.

    Exits with 0 if it can accept events, with 1 if it runs but cannot, and with 69 if it does not answer.
    """
    if watch:
        _watch(admin, as_json)
    body = admin.ask("GET", "/v1/status")
    status = admin.decode(body, Status)
    _print(body, status, as_json)
    if not status.ready:
        ctx.exit(1)


def _watch(admin: AdminClient, as_json: bool) -> NoReturn:
    """Print the status again and again: in place on a terminal, one after the other elsewhere."""
    clears = on_terminal() and not as_json
    while True:
        try:
            body = admin.ask("GET", "/v1/status")
            status = admin.decode(body, Status)
        except (NotReachableError, NegativeAnswerError) as error:
            # It may be restarting, and whoever watches wants to see it come back.
            click.echo(f"{_CLEAR if clears else ''}forwarder: {error.message}", err=not clears)
        else:
            if not as_json:
                click.echo(_CLEAR if clears else f"--- {clock(datetime.now(UTC))}", nl=not clears)
            _print(body, status, as_json)
        sys.stdout.flush()
        time.sleep(_SECONDS)


def _print(body: bytes, status: Status, as_json: bool) -> None:
    if as_json:
        click.echo(body)
        return
    # A reader of a pipe may search for names and reasons, so nothing is cut there.
    width = shutil.get_terminal_size().columns if on_terminal() else None
    how = drawing(width, getattr(sys.stdout, "encoding", None) or "ascii")
    colours = on_terminal() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    for line in head(status, how):
        _echo(line, colours)
    click.echo()
    for line in table(status.destinations, how):
        _echo(line, colours)
    told = list(details(status.destinations, how))
    if told:
        click.echo()
    for line in told:
        _echo(line, colours)


def _echo(line: Line, colours: bool) -> None:
    click.echo("".join(_styled(text, style) if colours else text for text, style in line).rstrip())


def _styled(text: str, style: str) -> str:
    if style in {"bold", "dim"}:
        return click.style(text, bold=style == "bold" or None, dim=style == "dim" or None)
    return click.style(text, fg=style) if style else text
