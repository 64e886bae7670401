"""Build everything that a configuration needs before any of it takes effect: keys, tokens, TLS, rules.

Whatever can be wrong with a configuration, apart from its text, shows up here. So a reload either takes
effect as a whole or changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from forwarder.config import Config, DestinationConfig, token
from forwarder.destination.base import Destination
from forwarder.destination.kinds import KINDS, Kinds
from forwarder.envelope import Envelope
from forwarder.errors import ConfigError, ForwarderError, Problem
from forwarder.model import INVALID
from forwarder.queue.base import Share
from forwarder.web.listening import group_id

Files = tuple[tuple[Path, tuple[int, ...] | None], ...]
"""Files, each with the attributes that tell one version of it from another; None if it does not exist."""


@dataclass(frozen=True, slots=True)
class BuiltDestination:
    """One destination as built from its configuration, ready to be delivered to."""

    config: DestinationConfig
    destination: Destination
    files: Files
    """The files that were read for it, such as the key, as they were at that time."""

    def is_same(self, other: BuiltDestination) -> bool:
        """Return whether nothing about the destination has changed."""
        return self.config == other.config and self.files == other.files


@dataclass(frozen=True, slots=True)
class Assembly:
    """A configuration, with all the files and names in it read and checked."""

    config: Config
    envelope: Envelope
    shares: dict[str, Share]
    destinations: dict[str, BuiltDestination]
    tokens: dict[str, str | None]
    """The bearer tokens of `ingest`, of `admin` and of viewers (`viewer`); None where none is needed."""
    token_files: Files
    socket_gids: dict[str, int | None]
    """The groups of the unix sockets of `ingest`, `admin` and `viewer`; None leaves the group that a new file gets."""

    @property
    def keeps_invalid(self) -> bool:
        """Whether invalid events are kept as dead letters."""
        return self.config.ingest.invalid == "dead_letter"

    @property
    def files(self) -> Files:
        """The keys, tokens and certificates that were read, as they were at that time."""
        return self.token_files + tuple(file for built in self.destinations.values() for file in built.files)

    def files_now(self) -> Files:
        """The same files as they are now."""
        return look_at(path for path, _ in self.files)

    @classmethod
    def build(cls, config: Config, kinds: Kinds = KINDS) -> Assembly:
        """Read keys, tokens and certificates. Raises ConfigError with every problem found."""
        problems: list[Problem] = []
        destinations: dict[str, BuiltDestination] = {}
        for name, destination in config.destinations.items():
            kind = kinds[type(destination)]
            with _collecting(problems, f"destinations.{name}"):
                # Look before reading: a file that changes while it is being read then counts as changed.
                files = look_at(kind.files(destination))
                destinations[name] = BuiltDestination(destination, kind.build(name, destination), files)
        if config.otel.endpoint is not None and not _has_telemetry():
            install = "Install the extra: pip install 'event-forwarder[otel]'. Or set it to null."
            problems.append(Problem("otel.endpoint", "", "OpenTelemetry is not installed", install))
        token_files = look_at(config.token_files.values())
        tokens, gids = _tokens(config, problems), _gids(config, problems)
        if problems:
            raise ConfigError(problems)
        return cls(config, envelope_of(config), shares_of(config), destinations, tokens, token_files, gids)


def _tokens(config: Config, problems: list[Problem]) -> dict[str, str | None]:
    """Read the tokens, by whose they are."""
    viewer = "admin.viewer_token_file"
    settings = {"ingest": "ingest.token_file", "admin": "admin.token_file", "viewer": viewer}
    tokens = dict[str, str | None].fromkeys(settings)
    for whose, setting in settings.items():
        file = config.token_files[setting]
        if file is not None:
            with _collecting(problems, setting):
                tokens[whose] = token(file)
    if tokens["viewer"] is not None and tokens["viewer"] == tokens["admin"]:
        words = "holds the same token as admin.token_file", "Viewers must not have the operator's: make them another."
        problems.append(Problem(viewer, "", *words))
    return tokens


def _gids(config: Config, problems: list[Problem]) -> dict[str, int | None]:
    """Look up the groups of the unix sockets, by whose sockets they are."""
    groups = {
        "ingest": ("ingest.socket_group", config.ingest.socket_group),
        "admin": ("admin.socket_group", config.admin.socket_group),
        "viewer": ("admin.viewer_socket_group", config.admin.viewer_socket_group),
    }
    gids = dict[str, int | None].fromkeys(groups)
    for whose, (path, group) in groups.items():
        if group is not None:
            with _collecting(problems, path):
                gids[whose] = group_id(group)
    return gids


def _has_telemetry() -> bool:
    """Say whether the extra `otel` is installed."""
    try:
        return find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:
        # What holds it is not there either.
        return False


@contextmanager
def _collecting(problems: list[Problem], path: str) -> Iterator[None]:
    """Turn an error into problems, so that all of them can be reported together."""
    try:
        yield
    except ConfigError as error:
        problems.extend(error.problems)
    except ForwarderError as error:
        problems.append(Problem(path, "", error.message, error.hint))


def look_at(paths: Iterable[Path | None]) -> Files:
    """Return the attributes of these files as they are now; a file that was replaced has another inode or time."""
    return tuple((path, _attributes(path)) for path in paths if path is not None)


def _attributes(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_mode


def envelope_of(config: Config) -> Envelope:
    """Return the rules for events."""
    return Envelope(
        routes={name: destination.match for name, destination in config.destinations.items()},
        defaults=config.ingest.defaults,
        max_event_bytes=config.ingest.max_event_bytes,
    )


def shares_of(config: Config) -> dict[str, Share]:
    """Return how much of the queue each destination and invalid events may use, and what happens when that is full."""
    shares = {
        name: Share(
            destination.queue.max_bytes,
            drop_oldest=(destination.queue.when_full or config.queue.when_full) == "drop_oldest",
        )
        for name, destination in config.destinations.items()
    }
    return shares | {INVALID: Share(config.ingest.invalid_max_bytes, setting="ingest.invalid_max_bytes")}
