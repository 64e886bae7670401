"""Find dead letters, and put those together that died of the same, in bounded memory.

What a destination answers may differ for every event. So only so many different answers are kept apart; the
letters of all others are one group for each destination, reason and status.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from forwarder.envelope import is_about
from forwarder.model import Burial, DeadFilter, DeadGroup, DeadLetter

# Groups that are kept apart while counting, and those that are told apart in the end.
_KEPT = 2000
_TOLD = 200

_Key = tuple[str, str, int | None, str | None]


def finds(wanted: DeadFilter, letter: DeadLetter) -> bool:
    """Return whether a filter selects a letter."""
    ids = wanted.ids
    return (
        wanted.destination in {None, letter.destination}
        and wanted.takes_burial(Burial(letter.reason, letter.status, letter.detail))
        and (wanted.died_before is None or letter.died_at < wanted.died_before)
        and wanted.after < letter.id
        and (wanted.last is None or letter.id <= wanted.last)
        and (not ids or str(letter.id) in ids or (letter.event_id != "" and letter.event_id in ids))
        and is_about(letter.event, wanted.about)
    )


class Groups:
    """Sums up groups that are found one after the other."""

    def __init__(self) -> None:
        self._found: dict[_Key, DeadGroup] = {}

    def add(self, group: DeadGroup) -> None:
        """Count a group, or a part of one."""
        key = _key(group)
        if key not in self._found and len(self._found) >= _KEPT:
            group = replace(group, detail=None)
            key = _key(group)
        known = self._found.get(key)
        self._found[key] = group if known is None else _both(known, group)

    def largest(self) -> list[DeadGroup]:
        """Return the groups, the largest first; the small ones are put together if there are too many."""
        ordered = _ordered(self._found.values())
        if len(ordered) <= _TOLD:
            return ordered
        rest: dict[_Key, DeadGroup] = {}
        for group in [replace(small, detail=None) for small in ordered[_TOLD:]]:
            key = _key(group)
            rest[key] = _both(rest[key], group) if key in rest else group
        told = {_key(group): group for group in ordered[:_TOLD]}
        for key, group in rest.items():
            told[key] = _both(told[key], group) if key in told else group
        return _ordered(told.values())


def _key(group: DeadGroup) -> _Key:
    return group.destination, group.reason, group.status, group.detail


def _ordered(groups: Iterable[DeadGroup]) -> list[DeadGroup]:
    return sorted(groups, key=lambda group: (-group.events, group.destination, group.reason, group.first))


def _both(one: DeadGroup, other: DeadGroup) -> DeadGroup:
    events, first, last = one.events + other.events, min(one.first, other.first), max(one.last, other.last)
    return replace(one, events=events, first=first, last=last)
