"""`forwarder reload`: make the daemon read its configuration and keys again, and report the outcome."""

from __future__ import annotations

import click

from forwarder.cli.client import AdminClient, with_admin


@click.command("reload")
@with_admin
def reload_command(admin: AdminClient) -> None:
    """Make the daemon read configuration, keys and tokens again; wait for the outcome.

    Exits with 0 if they are in use, and with 1 if they were refused and the old ones stay in use.
    """
    admin.ask("POST", "/v1/reload")
    click.echo("reloaded")
