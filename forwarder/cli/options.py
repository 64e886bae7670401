"""What the options of several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from forwarder.config import SettingError
from forwarder.errors import FaultScriptError

T = TypeVar("T")

config_option = click.option(
    "-c",
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The configuration file.  [default: $FORWARDER_CONFIG, else /etc/forwarder/forwarder.yaml]",
)


def parsed(parse: Callable[[str], T]) -> Callable[[click.Context, click.Parameter, str | None], T | None]:
    """Return a callback that reads the value of an option; an option that is not given stays None."""

    def read(_context: click.Context, _option: click.Parameter, value: str | None) -> T | None:
        try:
            return None if value is None else parse(value)
        except SettingError as error:
            raise click.BadParameter(str(error)) from None
        except FaultScriptError as error:
            raise click.BadParameter(f"{error.message}\n{error.hint}") from None

    return read
