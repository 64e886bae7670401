"""Which kinds of destination there are: the type of its settings says of which kind a destination is.

A new kind is a folder beside `http_put`, its settings in the configuration, and a line in `KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from forwarder.config import DestinationConfig
from forwarder.destination.base import Destination
from forwarder.destination.http_put import checks, put

Check: TypeAlias = tuple[str, Callable[[], str]]
"""What is looked at, and the look: it returns what is good, or raises what is not."""


class Kind(NamedTuple):
    """What can be done with the settings of a destination; each is given them, and its name where errors tell it."""

    build: Callable[[str, Any], Destination]
    """Read keys and certificates, and return the destination. Raises ConfigError."""
    files: Callable[[Any], Iterable[Path | None]]
    """The files that `build` reads: one that is replaced makes it another destination."""
    checks: Callable[[str, Any, bool], Iterable[Check]]
    """What `forwarder check` looks at, each by itself; the last argument says whether to connect."""


Kinds: TypeAlias = Mapping[type[Any], Kind]

KINDS: Kinds = {DestinationConfig: Kind(put.build, put.files, checks.checks)}
