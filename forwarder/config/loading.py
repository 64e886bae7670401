"""Read the configuration: the file, then the environment over it, then everything checked.

One run finds every mistake. Nothing but the file itself is opened: keys and tokens are read by
those who use them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from forwarder import files
from forwarder.config.contradictions import contradictions
from forwarder.config.document import Section, parse
from forwarder.config.environment import CONFIG_FILE, overlay
from forwarder.config.groups import hides
from forwarder.config.reading import Reading
from forwarder.config.schema import CONFIG, Config
from forwarder.config.values import describe
from forwarder.errors import ConfigError, FileError, Problem

DEFAULT_PATH = Path("/etc/forwarder/forwarder.yaml")

# A thousand destinations fit into it; what is larger is something else, such as a device.
_MAX_FILE_BYTES = 1024 * 1024
# Seconds to wait for a configuration that comes through a pipe, such as `-c <(…)`.
_PIPE_SECONDS = 5.0


def load(path: Path | None, environ: Mapping[str, str]) -> Config:
    """Return the configuration in `path`, with the settings of the environment in place of its own.

    Without a path it is `$FORWARDER_CONFIG`, else /etc/forwarder/forwarder.yaml; where that does
    not exist, an environment that names a destination is enough. Raises ConfigError with all
    problems.
    """
    problems: list[Problem] = []
    document = _root(path, environ, problems)
    # Without the file nothing can be said about settings: whatever it sets would seem to be missing.
    unreadable = document is None and bool(problems)
    root = overlay(document or Section({}, "the environment"), CONFIG, environ, problems)
    if unreadable:
        raise ConfigError(problems)
    reading = Reading(environ, problems, {"": root.source})
    config = CONFIG.read(root, "", reading)
    for found in contradictions(config):
        if not any(map(reading.failed, found.paths)):
            place = found.paths[0]
            problems.append(Problem(reading.source(place), place, found.problem, found.remedy))
    if problems:
        raise ConfigError(problems)
    return config


def config_file(path: Path | None, environ: Mapping[str, str]) -> Path:
    """Return the file that `load` reads, or would read."""
    return path or (Path(environ[CONFIG_FILE]) if environ.get(CONFIG_FILE) else DEFAULT_PATH)


def _root(path: Path | None, environ: Mapping[str, str], problems: list[Problem]) -> Section | None:
    """Return the document of the file; None if there is none and none is needed, or if it cannot be read."""
    file = config_file(path, environ)
    is_chosen = path is not None or bool(environ.get(CONFIG_FILE))
    content = b""
    try:
        content = files.read(file, _MAX_FILE_BYTES, secret=False, pipe_seconds=_PIPE_SECONDS)
        text = content.decode("utf-8-sig")
    except FileError as error:
        if error.is_missing and not is_chosen and _names_destination(environ):
            return None
        remedy = _how_to_begin(file) if error.is_missing else f"Hint: {error.hint}"
        problems.append(Problem(str(file), "", error.problem, remedy))
        return None
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problems.append(Problem(str(file), "", f"the file is not UTF-8 (line {line})", "Save it in UTF-8."))
        return None
    known = len(problems)
    node = parse(text, lambda line: f"{file}:{line}", problems, hides=partial(hides, CONFIG))
    if isinstance(node, Section):
        return node
    if node is not None:
        # Not even its first words: it may be a file with a token or a key.
        is_what = describe(node, secret=True).removeprefix("what stands here ")
        problem = f"the file as a whole {is_what}, but `name: value` lines are wanted"
        problems.append(Problem(node.source, "", problem, "See `forwarder config init` for an example."))
    elif len(problems) == known:
        problems.append(Problem(str(file), "", "the file is empty", _how_to_begin(file)))
    return None


def _names_destination(environ: Mapping[str, str]) -> bool:
    names = [name.upper() for name in environ if name.startswith("FORWARDER_DESTINATIONS")]
    url = any(name.endswith("__URL") for name in names)
    key = any(name.endswith("__SIGNING__KEY_FILE") for name in names)
    return (url and key) or "FORWARDER_DESTINATIONS" in names


def _how_to_begin(file: Path) -> str:
    return f"Write one with `forwarder config init {file}`, or name another with -c or FORWARDER_CONFIG."
