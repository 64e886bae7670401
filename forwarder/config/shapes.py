"""The kinds of settings that are made of others: groups, unions, lists, maps, and what may be absent.

A shape collects what is wrong with each of its parts in a `Reading` and goes on with a stand-in,
so that one run finds every mistake.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import cache, cached_property
from typing import Any, ClassVar, Generic, Protocol, TypeAlias, TypeVar, get_args, get_type_hints

from forwarder.config.document import Node, Scalar, Section, join
from forwarder.config.kinds import Leaf, OneOf, describe
from forwarder.config.mistakes import SettingError, did_you_mean
from forwarder.errors import Problem

T = TypeVar("T")
K = TypeVar("K")


_is_name = re.compile("[A-Za-z0-9_-]{1,64}").fullmatch


@dataclass(slots=True)
class Reading:
    """What comes to light while a document is read."""

    environ: Mapping[str, str]
    """The variables that `${NAME}` in paths stands for."""
    problems: list[Problem] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)
    """Where each setting stands, by its dotted path."""

    def refuse(self, path: str, source: str, mistake: SettingError) -> None:
        self.problems.append(Problem(source, path, mistake.problem, mistake.remedy))

    def source(self, path: str) -> str:
        """Return where a setting stands; for a default, where the group around it stands."""
        while path not in self.sources and path:
            path = path.rpartition(".")[0] if not path.endswith("]") else path.rpartition("[")[0]
        return self.sources[path]

    def failed(self, path: str) -> bool:
        """Whether the setting, a part of it or a group around it was refused."""
        return any(_within(problem.path, path) or _within(path, problem.path) for problem in self.problems)


def _within(inner: str, outer: str) -> bool:
    return inner == outer or inner.startswith((f"{outer}.", f"{outer}["))


def hides(kind: Kind[Any], path: str) -> bool:
    """Whether what stands below a dotted path may be a secret, or is nothing that is known: names included.

    `path` begins at `kind`. Secrecy belongs to the whole of what is at a place, whatever is found there.
    """
    return _hides(kind, list(filter(None, re.split(r"[.]|\[[0-9]+\]", path))))


def _hides(kind: Kind[Any], names: Sequence[str]) -> bool:
    match kind, names:
        case Group(settings=settings), [name, *rest] if name in settings:
            return _hides(settings[name].kind, rest)
        case TaggedUnion(), [name, *_]:
            # The word may come later, or be wrong: what one of the groups hides is hidden.
            owners = [group for group in kind.groups.values() if name in group.settings]
            return not owners or any(_hides(group, names) for group in owners)
        case MapOf(kind=inner), [_, *rest] if not kind.secret:
            return _hides(inner, rest)
    return bool(names) or not isinstance(kind, Group | TaggedUnion | MapOf) or kind.secret


class Shape(Protocol[T]):
    """A kind that reports the mistakes of its parts itself; its own raise SettingError."""

    @property
    def secret(self) -> bool: ...
    @property
    def example(self) -> str: ...
    def read(self, node: Node, path: str, reading: Reading) -> T: ...
    def fallback(self) -> T: ...
    def show(self, value: T) -> Any: ...
    def schema(self) -> dict[str, Any]: ...


Kind: TypeAlias = Leaf[T] | Shape[T]


def _read(kind: Kind[T], node: Node, path: str, reading: Reading) -> T:
    reading.sources[path] = node.source
    return kind.read(node, reading.environ) if isinstance(kind, Leaf) else kind.read(node, path, reading)


def _entries(node: Node) -> Mapping[str, Node]:
    """Return the entries of a mapping; a group of which every line is commented out has none."""
    if isinstance(node, Section):
        return node.entries
    if isinstance(node, Scalar) and node.type == "null":
        return {}
    raise SettingError(
        f"{describe(node, secret=True)}, but a group of settings is wanted",
        "Write `name: value` lines below it, indented.",
    )


@dataclass(frozen=True)
class Maybe(Generic[T]):
    """A value that may be absent: null, or the word `none`."""

    kind: Leaf[T]
    none: str | None = None

    @property
    def secret(self) -> bool:
        return self.kind.secret

    @property
    def example(self) -> str:
        return self.kind.example

    def read(self, node: Node, path: str, reading: Reading) -> T | None:
        if isinstance(node, Scalar) and (node.type == "null" or node.text == self.none):
            return None
        return self.kind.read(node, reading.environ)

    def fallback(self) -> T | None:
        return None

    def show(self, value: T | None) -> Any:
        return self.none if value is None else self.kind.show(value)

    def schema(self) -> dict[str, Any]:
        absent: dict[str, Any] = {"type": "null"} if self.none is None else {"enum": [self.none, None]}
        return {"anyOf": [absent, self.kind.schema()]}


@dataclass(frozen=True)
class ListOf(Generic[T]):
    """A list. A single value counts as a list of one."""

    kind: Leaf[T]
    none: str = ""
    """Why the list must not be empty, where it must not."""

    @property
    def secret(self) -> bool:
        return self.kind.secret

    @property
    def example(self) -> str:
        return f"[{self.kind.example}]"

    def read(self, node: Node, path: str, reading: Reading) -> tuple[T, ...]:
        if isinstance(node, Section) or (isinstance(node, Scalar) and node.type == "null"):
            remedy = f"Write it like {self.example}{'' if self.none else ', or [] for none'}."
            raise SettingError(f"{describe(node, secret=True)}, but a list is wanted", remedy)
        parts = [node] if isinstance(node, Scalar) else node.items
        if not parts and self.none:
            raise SettingError(f"the list is empty: {self.none}", f"Write it like {self.example}.")
        values: list[T] = []
        for index, part in enumerate(parts):
            where = path if isinstance(node, Scalar) else f"{path}[{index}]"
            try:
                values.append(_read(self.kind, part, where, reading))
            except SettingError as mistake:
                reading.refuse(where, part.source, mistake)
        return tuple(values)

    def fallback(self) -> tuple[T, ...]:
        return ()

    def show(self, value: tuple[T, ...]) -> Any:
        return [self.kind.show(item) for item in value]

    def schema(self) -> dict[str, Any]:
        item = self.kind.schema()
        return {"anyOf": [item, {"type": "array", "items": item} | ({"minItems": 1} if self.none else {})]}


@dataclass(frozen=True)
class MapOf(Generic[K, T]):
    """Values by names that the operator chooses; `fold` makes names equal that mean the same."""

    key: Leaf[K]
    kind: Kind[T]
    fold: Callable[[K], object] = lambda key: key
    none: str = ""
    """Why the map must not be empty, where it must not."""
    example: str = "{}"

    @property
    def secret(self) -> bool:
        return self.kind.secret

    def read(self, node: Node, path: str, reading: Reading) -> dict[K, T]:
        entries = _entries(node)
        if not entries and self.none:
            raise SettingError(self.none, f"Write it like {self.example}.")
        values: dict[K, T] = {}
        seen: dict[object, str] = {}
        for name, part in entries.items():
            # What is no name may be all of `Authorization: Bearer …`.
            where = join(path, name) if not self.secret or _is_name(name) else path
            try:
                key = self.key.parse(name, reading.environ)
                if seen.setdefault(self.fold(key), name) == name:
                    values[key] = _read(self.kind, part, where, reading)
                else:
                    twice = f"means the same as `{seen[self.fold(key)]}`"
                    reading.refuse(where, part.source, SettingError(twice, "Leave one of the two."))
            except SettingError as mistake:
                reading.refuse(where, part.source, mistake)
        return values

    def fallback(self) -> dict[K, T]:
        return {}

    def show(self, value: dict[K, T]) -> Any:
        return {str(key): self.kind.show(item) for key, item in value.items()}

    def schema(self) -> dict[str, Any]:
        names = self.key.schema()
        if "enum" in names:
            known = {name: self.kind.schema() for name in names["enum"]}
            return {"type": ["object", "null"], "properties": known, "additionalProperties": False}
        shape = {"type": "object", "minProperties": 1} if self.none else {"type": ["object", "null"]}
        return shape | {"propertyNames": names, "additionalProperties": self.kind.schema()}


@dataclass(frozen=True)
class Setting:
    """One setting of a group, as its dataclass declares it."""

    name: str
    kind: Kind[Any]
    about: str
    field: Field[Any]

    @property
    def required(self) -> bool:
        return self.field.default is MISSING and self.field.default_factory is MISSING

    def default(self) -> Any:
        """Return the default, or what stands in for a required value that is wrong."""
        if self.field.default is not MISSING:
            return self.field.default
        return self.field.default_factory() if self.field.default_factory is not MISSING else self.kind.fallback()


@dataclass(frozen=True)
class Group(Generic[T]):
    """The settings of a dataclass: each field is `Annotated[type, kind, description]` or another such class."""

    of: type[T]
    # Each of its settings knows for itself.
    secret: ClassVar[bool] = False
    example: ClassVar[str] = ""

    @property
    def settings(self) -> dict[str, Setting]:
        of: type = self.of
        return _settings(of)

    def read(self, node: Node, path: str, reading: Reading) -> T:
        entries = _entries(node)
        for name, part in entries.items():
            if name not in self.settings:
                remedy = f"{did_you_mean(name, self.settings)}Known here: {', '.join(self.settings)}."
                reading.refuse(join(path, name), part.source, SettingError("is not a setting", remedy))
        return self.of(**{s.name: self._value(s, entries, node.source, path, reading) for s in self.settings.values()})

    def _value(self, setting: Setting, entries: Mapping[str, Node], source: str, path: str, reading: Reading) -> Any:
        where = join(path, setting.name)
        part = entries.get(setting.name)
        if part is None and isinstance(setting.kind, Group | TaggedUnion):
            # Read as if it were there and empty, so that what it requires is missed by its own name.
            part = Section({}, source)
        if part is None:
            if setting.required:
                mistake = SettingError("is missing", f"Add it, such as `{setting.name}: {setting.kind.example}`.")
                reading.refuse(where, source, mistake)
            return setting.default()
        try:
            return _read(setting.kind, part, where, reading)
        except SettingError as mistake:
            reading.refuse(where, part.source, mistake)
            return setting.default()

    def fallback(self) -> T:
        return self.of(**{setting.name: setting.default() for setting in self.settings.values()})

    def show(self, value: T) -> Any:
        return {name: setting.kind.show(getattr(value, name)) for name, setting in self.settings.items()}

    def schema(self, *, required: Sequence[str] = ()) -> dict[str, Any]:
        """Return the JSON Schema; `required` names settings that have a default and must be there all the same."""
        required = [name for name, setting in self.settings.items() if setting.required or name in required]
        shape = {"type": "object", "required": required} if required else {"type": ["object", "null"]}
        known = {name: _described(setting) for name, setting in self.settings.items()}
        return shape | {"properties": known, "additionalProperties": False}


@dataclass(frozen=True)
class TaggedUnion(Generic[T]):
    """One of several groups, told apart by a word: the value of their setting `tag`.

    `of` is a dataclass or a union of them (`A | B`). The default that the tag has in each is its word; where a document
    leaves the tag out, the first is meant.
    """

    of: Any
    tag: str
    refused: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Why a word that could be expected is not known."""
    secret: ClassVar[bool] = False
    example: ClassVar[str] = ""

    @cached_property
    def groups(self) -> dict[str, Group[T]]:
        """The groups by their words."""
        groups = [Group[T](of) for of in get_args(self.of) or (self.of,)]
        return {group.settings[self.tag].default(): group for group in groups}

    def likely(self, node: Node | None) -> list[Group[T]]:
        """Return the groups, beginning with the one that a document means, mistaken as it may be."""
        word = node.entries.get(self.tag) if isinstance(node, Section) else None
        meant = word.text if isinstance(word, Scalar) else ""
        return [self.groups[word] for word in sorted(self.groups, key=lambda word: word != meant)]

    def read(self, node: Node, path: str, reading: Reading) -> T:
        entries = dict(_entries(node))
        word, is_known = next(iter(self.groups)), True
        if (tag := entries.get(self.tag)) is not None:
            try:
                word = OneOf(choices=tuple(self.groups), refused=self.refused).read(tag, reading.environ)
            except SettingError as mistake:
                reading.refuse(join(path, self.tag), tag.source, mistake)
                del entries[self.tag]
                is_known = False
        for name in [*entries]:
            owners = [owner for owner, group in self.groups.items() if name in group.settings]
            if not owners or word in owners:
                continue
            part = entries.pop(name)
            # Beside an unknown word, it may well be right.
            if is_known:
                problem = f"is a setting of `{self.tag}: {owners[0]}`, and this is `{self.tag}: {word}`"
                reading.refuse(
                    join(path, name), part.source, SettingError(problem, "Change the one or leave out the other.")
                )
        return self.groups[word].read(Section(entries, node.source), path, reading)

    def fallback(self) -> T:
        return next(iter(self.groups.values())).fallback()

    def show(self, value: T) -> Any:
        return self.groups[getattr(value, self.tag)].show(value)

    def schema(self) -> dict[str, Any]:
        first, *others = self.groups.values()
        if not others:
            return first.schema()
        return {"oneOf": [first.schema(), *(group.schema(required=[self.tag]) for group in others)]}


def _described(setting: Setting) -> dict[str, Any]:
    described = {"description": setting.about} | setting.kind.schema()
    if not setting.required and not isinstance(setting.kind, Group | TaggedUnion):
        described["default"] = setting.kind.show(setting.default())
    return described


@cache
def _settings(of: type) -> dict[str, Setting]:
    hints = get_type_hints(of, include_extras=True)
    found = {}
    for declared in fields(of):
        hint = hints[declared.name]
        if isinstance(hint, type):
            found[declared.name] = Setting(declared.name, Group(hint), (hint.__doc__ or "").strip(), declared)
        else:
            kind, about = hint.__metadata__
            found[declared.name] = Setting(declared.name, kind, about, declared)
    return found
