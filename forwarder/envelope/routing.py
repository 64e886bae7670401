"""Find the destinations of an event: those whose patterns it matches, field by field."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import translate
from operator import attrgetter
from typing import Any

from forwarder.envelope.fields import Fields

# Results are remembered, so that patterns are matched once for each kind of event rather than for each event. The
# values come from producers, so their number and their total length are limited: at 4 bytes a character, to 4 MiB.
_MAX_ROUTES = 4096
_MAX_CHARACTERS = 256


class Routing:
    """`routes` maps each destination to the patterns that an event must match (empty: every event)."""

    def __init__(self, routes: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
        self._all = tuple(routes)
        self._patterns = {
            name: [(key, re.compile("|".join(map(translate, globs))).match) for key, globs in match.items()]
            for name, match in routes.items()
        }
        # The fields that decide where an event goes, and the destinations remembered for their values.
        self._wanted = sorted({key for match in routes.values() for key in match})
        self._key: Callable[[Fields], Any] | None = attrgetter(*self._wanted) if self._wanted else None
        self._remembered: dict[Any, tuple[str, ...]] = {}

    def of(self, events: list[Fields]) -> list[tuple[str, ...]]:
        """Return the destinations of each event; an event that matches none has an empty tuple."""
        return [self._all] * len(events) if self._key is None else list(map(self.of_one, events))

    def of_one(self, event: Fields) -> tuple[str, ...]:
        """Return the destinations of one event."""
        if self._key is None:
            return self._all
        key = self._key(event)
        names = self._remembered.get(key)
        if names is None:
            names = self._match(event)
            self._remember(key, names)
        return names

    def _match(self, event: Fields) -> tuple[str, ...]:
        return tuple(
            name
            for name, match in self._patterns.items()
            if all((value := getattr(event, key)) is not None and matches(value) for key, matches in match)
        )

    def _remember(self, key: Any, names: tuple[str, ...]) -> None:
        values = key if len(self._wanted) > 1 else (key,)
        if sum(len(value) for value in values if value is not None) > _MAX_CHARACTERS:
            return
        if len(self._remembered) >= _MAX_ROUTES:
            self._remembered.clear()
        self._remembered[key] = names
