"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

config_option = click.option(
    "-c",
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The configuration file.  [default: $FORWARDER_CONFIG, else /etc/forwarder/forwarder.yaml]",
)
