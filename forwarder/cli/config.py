"""`forwarder config`: show the effective configuration or its JSON Schema, or write a commented starter file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from forwarder.cli.options import config_option
from forwarder.cli.whereabouts import CREDENTIALS
from forwarder.config import json_schema, load, starter, to_yaml, warnings
from forwarder.errors import InputOutputError


@click.group("config")
def config_group() -> None:
    """Show, describe or begin a configuration."""


@config_group.command("show")
@config_option
def show_command(config_path: Path | None) -> None:
    """Print the effective configuration, with defaults and environment applied and secrets masked."""
    effective = load(config_path, {**CREDENTIALS, **os.environ})
    click.echo(to_yaml(effective), nl=False)
    for warning in warnings(effective):
        click.echo(f"warning: {warning}", err=True)


@config_group.command("schema")
def schema_command() -> None:
    """Print the JSON Schema of the configuration, for editors."""
    click.echo(json.dumps(json_schema(), indent=2))


@config_group.command("init")
@click.argument("file", type=click.Path(path_type=Path), default=Path("forwarder.yaml"))
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
def init_command(file: Path, force: bool) -> None:
    """Write a configuration with every setting explained to FILE.  [default: forwarder.yaml]"""
    try:
        with file.open("w" if force else "x", encoding="utf-8") as stream:
            stream.write(starter())
        # The file holds no secret, and the daemon's user must be able to read it. A device keeps its mode.
        if file.is_file():
            file.chmod(0o644)
    except FileExistsError:
        raise InputOutputError(f"{file} exists", hint="--force replaces it") from None
    except FileNotFoundError:
        raise InputOutputError(f"the folder of {file} does not exist", hint=f"mkdir -p {file.parent}") from None
    except OSError as error:
        raise InputOutputError(f"{file} cannot be written: {error.strerror}", hint="choose another FILE") from None
    click.echo(f"Wrote {file}. Set url and key_file, then: forwarder check -c {file}")
