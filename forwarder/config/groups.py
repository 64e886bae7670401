"""Groups of settings, as dataclasses declare them, and tagged unions: groups that are told apart by a word in them.

Each field of such a dataclass is `Annotated[type, kind, description]`, or another such dataclass, whose docstring is
the description. A field with a default may be left out of a document.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import cached_property
from typing import Any, ClassVar, Generic, TypeVar, get_args, get_type_hints

from forwarder.config.containers import MapOf
from forwarder.config.document import Node, Scalar, Section, join, parse
from forwarder.config.mistakes import SettingError, did_you_mean
from forwarder.config.reading import Kind, Reading, entries
from forwarder.config.values import OneOf
from forwarder.errors import Problem

T = TypeVar("T")


@dataclass(frozen=True)
class Setting:
    """One setting of a group."""

    name: str
    kind: Kind[Any]
    about: str
    field: Field[Any]

    @property
    def required(self) -> bool:
        return self.field.default is MISSING and self.field.default_factory is MISSING

    def default(self) -> Any:
        """Return the default; for a required setting the example, which stands in for a value that is wrong."""
        if self.required:
            return stand_in(self.kind)
        return self.field.default if self.field.default_factory is MISSING else self.field.default_factory()

    def read(self, node: Node | None, source: str, path: str, reading: Reading) -> Any:
        """Return the value, or the default; without a node, `source` is where the setting could stand."""
        if node is None and isinstance(self.kind, Group | TaggedUnion):
            # Read as if it were there and empty, so that each setting which it requires is named as missing.
            node = Section({}, source)
        with reading.recording(path, source if node is None else node.source):
            if node is not None:
                return reading.read(self.kind, node, path)
            if self.required:
                raise SettingError("is missing", f"Add it, such as `{self.name}: {self.kind.example}`.")
        return self.default()

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the value, with what it means."""
        described = {"description": self.about} | self.kind.schema()
        if not self.required and not isinstance(self.kind, Group | TaggedUnion):
            described["default"] = self.kind.show(self.default())
        return described


@dataclass(frozen=True)
class Group(Generic[T]):
    """The settings of a dataclass."""

    of: type[T]
    example: ClassVar[str] = "{}"

    @cached_property
    def settings(self) -> dict[str, Setting]:
        """The settings by their names, in the order in which they are declared."""
        of: type = self.of
        hints = get_type_hints(of, include_extras=True)
        found = {}
        for declared in fields(of):
            hint = hints[declared.name]
            kind, about = (Group(hint), hint.__doc__ or "") if isinstance(hint, type) else hint.__metadata__
            found[declared.name] = Setting(declared.name, kind, about, declared)
        return found

    def read(self, node: Node, path: str, reading: Reading) -> T:
        parts = entries(node)
        for name, part in parts.items():
            if name not in self.settings:
                remedy = f"{did_you_mean(name, self.settings)}Known here: {', '.join(self.settings)}."
                reading.problems.append(Problem(part.source, join(path, name), "is not a setting", remedy))
        values = {
            name: setting.read(parts.get(name), node.source, join(path, name), reading)
            for name, setting in self.settings.items()
        }
        return self.of(**values)

    def show(self, value: T) -> Any:
        return {name: setting.kind.show(getattr(value, name)) for name, setting in self.settings.items()}

    def schema(self, *, required: Sequence[str] = ()) -> dict[str, Any]:
        """Return the JSON Schema; `required` names settings that must be there although they have a default."""
        required = [name for name, setting in self.settings.items() if setting.required or name in required]
        shape = {"type": "object", "required": required} if required else {"type": ["object", "null"]}
        known = {name: setting.schema() for name, setting in self.settings.items()}
        return shape | {"properties": known, "additionalProperties": False}


@dataclass(frozen=True)
class TaggedUnion(Generic[T]):
    """One of several groups, told apart by the value of their setting `tag`, which is a word.

    `of` is a dataclass or a union of dataclasses (`A | B`). Each gives its tag a default, and that is its word. A
    document that leaves the tag out means the first of them.
    """

    of: Any
    tag: str
    refused: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Words that an operator might expect, and why each of them cannot be used."""
    example: ClassVar[str] = "{}"

    @cached_property
    def groups(self) -> dict[str, Group[T]]:
        """The groups by their words."""
        groups = [Group[T](of) for of in get_args(self.of) or (self.of,)]
        return {group.settings[self.tag].default(): group for group in groups}

    def likely(self, node: Node | None) -> list[Group[T]]:
        """Return the groups, first the one whose word the node has; the node may be wrong, or not there yet."""
        word = node.entries.get(self.tag) if isinstance(node, Section) else None
        meant = word.text if isinstance(word, Scalar) else ""
        return [self.groups[word] for word in sorted(self.groups, key=lambda word: word != meant)]

    def read(self, node: Node, path: str, reading: Reading) -> T:
        parts = dict(entries(node))
        word = next(iter(self.groups))
        tag = parts.pop(self.tag, None)
        is_known = tag is None
        if tag is not None:
            where = join(path, self.tag)
            with reading.recording(where, tag.source):
                word = reading.read(OneOf(choices=tuple(self.groups), refused=self.refused), tag, where)
                is_known = True
        for name in [*parts]:
            owners = [owner for owner, group in self.groups.items() if name in group.settings]
            if owners and word not in owners:
                source = parts.pop(name).source
                # With an unknown word, the setting may well be right for the word that was meant.
                if is_known:
                    problem = f"is a setting of `{self.tag}: {owners[0]}`, and this is `{self.tag}: {word}`"
                    remedy = "Change the one or leave out the other."
                    reading.problems.append(Problem(source, join(path, name), problem, remedy))
        return self.groups[word].read(Section(parts, node.source), path, reading)

    def show(self, value: T) -> Any:
        return self.groups[getattr(value, self.tag)].show(value)

    def schema(self) -> dict[str, Any]:
        first, *others = self.groups.values()
        if not others:
            return first.schema()
        return {"oneOf": [first.schema(), *(group.schema(required=[self.tag]) for group in others)]}


def stand_in(kind: Kind[T]) -> T:
    """Return the example of a kind, as a value for what is missing or wrong, so that the rest can be checked."""
    node = parse(kind.example, str, [])
    return Reading({}).read(kind, node or Section({}, ""), "")


def hides(kind: Kind[Any], path: str) -> bool:
    """Whether nothing below a dotted path may be shown, not even names; the path begins at `kind`.

    That is so where a secret may stand, and where no setting is known. It holds for all that is found there, of
    whatever shape: somebody may have put the secret where a name belongs.
    """
    return _hides(kind, list(filter(None, re.split(r"[.]|\[[0-9]+\]", path))))


def _hides(kind: Kind[Any], names: Sequence[str]) -> bool:
    match kind, names:
        case Group(settings=settings), [name, *rest] if name in settings:
            return _hides(settings[name].kind, rest)
        case TaggedUnion(), [name, *_]:
            # The tag may stand further down, or be wrong: what one of the groups hides is hidden in all.
            owners = [group for group in kind.groups.values() if name in group.settings]
            return not owners or any(_hides(group, names) for group in owners)
        case MapOf(kind=inner), [_, *rest] if not kind.secret:
            return _hides(inner, rest)
        case Group() | TaggedUnion(), []:
            return False
        case MapOf(), []:
            return kind.secret
    return True
