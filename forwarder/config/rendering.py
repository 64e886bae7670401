"""The configuration as others see it: the effective YAML, its JSON Schema, the commented starter."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from forwarder.config.containers import MapOf
from forwarder.config.document import dump
from forwarder.config.groups import Group, Setting, TaggedUnion, stand_in
from forwarder.config.schema import CONFIG, Config, DestinationConfig, SigningConfig

_WIDTH = 110
_PREFACE = """\
# The configuration of the forwarder: every setting, with its default. A line that is left out keeps its default.
#
# Sizes are bytes, or numbers with KiB, MiB, GiB, kB, MB or GB. Durations are seconds, or numbers with ms, s, min, h
# or d. In paths, ${NAME} stands for a variable of the environment, such as ${CREDENTIALS_DIRECTORY}/key.pem.
# A setting can also come from the environment, which wins: FORWARDER_QUEUE__MAX_BYTES=8GiB.
# To check a change: forwarder check -c FILE.
"""


def to_yaml(config: Config) -> str:
    """Return the configuration as YAML that `load` reads back, apart from secrets, which are masked."""
    return dump(CONFIG.show(config))


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a configuration file."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Configuration of the forwarder"}
    return head | CONFIG.schema()


def starter() -> str:
    """Return a configuration file with every setting, each explained, and one destination as an example."""
    main = DestinationConfig(
        url="https://example.event.10duke.com/put", signing=SigningConfig(key_file=Path("/etc/forwarder/key.pem"))
    )
    lines = commented(CONFIG, Config(destinations={"main": main}))
    return _PREFACE + "\n".join(lines) + "\n"


def commented(kind: Group[Any] | TaggedUnion[Any], value: object, indent: str = "") -> Iterator[str]:
    """Yield the lines of a document with every setting explained; what `value` could be instead, as comments."""
    if isinstance(kind, Group):
        for setting in kind.settings.values():
            yield from _setting(setting, getattr(value, setting.name), indent)
        return
    used = getattr(value, kind.tag)
    yield from commented(kind.groups[used], value, indent)
    for word, group in kind.groups.items():
        if word != used:
            yield f"{indent}# With `{kind.tag}: {word}`, in place of these:"
            yield from (f"{indent}#{line}" for line in commented(group, stand_in(group), " "))


def _setting(setting: Setting, value: Any, indent: str) -> Iterator[str]:
    if not indent:
        yield ""
    yield from textwrap.wrap(setting.about, _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
    match setting.kind:
        case Group() | TaggedUnion() as kind:
            yield f"{indent}{setting.name}:"
            yield from commented(kind, value, indent + "  ")
        case MapOf(kind=Group() | TaggedUnion() as kind):
            yield f"{indent}{setting.name}:"
            for key, entry in value.items():
                yield f"{indent}  {key}:"
                yield from commented(kind, entry, indent + "    ")
        case kind:
            yield f"{indent}{setting.name}: {dump(kind.show(value), inline=True)}"
