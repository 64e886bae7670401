"""The kinds of settings that hold others: what may be absent, lists, maps."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from forwarder.config.document import Node, Scalar, Section, join
from forwarder.config.mistakes import SettingError
from forwarder.config.reading import Kind, Reading, entries
from forwarder.config.values import Leaf, describe

T = TypeVar("T")
K = TypeVar("K")

_is_name = re.compile("[A-Za-z0-9_-]{1,64}").fullmatch


@dataclass(frozen=True)
class Maybe(Generic[T]):
    """A value that may be absent: null, or the word `none`."""

    kind: Leaf[T]
    none: str | None = None
    example: ClassVar[str] = "null"

    def read(self, node: Node, path: str, reading: Reading) -> T | None:
        if isinstance(node, Scalar) and (node.type == "null" or node.text == self.none):
            return None
        return self.kind.read(node, reading.environ)

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
    """Why the list must not be empty; without a reason, it may be."""

    @property
    def example(self) -> str:
        return f"[{self.kind.example}]"

    def read(self, node: Node, path: str, reading: Reading) -> tuple[T, ...]:
        if isinstance(node, Section) or (isinstance(node, Scalar) and node.type == "null"):
            remedy = f"Write it like {self.example}{'' if self.none else ', or [] for none'}."
            raise SettingError(f"{describe(node, secret=True)}, but a list is wanted", remedy)
        parts = (
            {path: node} if isinstance(node, Scalar) else {f"{path}[{i}]": part for i, part in enumerate(node.items)}
        )
        if not parts and self.none:
            raise SettingError(f"the list is empty: {self.none}", f"Write it like {self.example}.")
        values: list[T] = []
        for where, part in parts.items():
            with reading.recording(where, part.source):
                values.append(reading.read(self.kind, part, where))
        return tuple(values)

    def show(self, value: tuple[T, ...]) -> Any:
        return [self.kind.show(item) for item in value]

    def schema(self) -> dict[str, Any]:
        item = self.kind.schema()
        return {"anyOf": [item, {"type": "array", "items": item} | ({"minItems": 1} if self.none else {})]}


@dataclass(frozen=True)
class MapOf(Generic[K, T]):
    """Values by names that the operator chooses; two names that are equal after `fold` mean the same."""

    key: Leaf[K]
    kind: Kind[T]
    fold: Callable[[K], object] = lambda key: key
    none: str = ""
    """Why the map must not be empty; without a reason, it may be."""
    example: str = "{}"

    @property
    def secret(self) -> bool:
        """Whether values may be secrets; a name may be one by mistake, such as all of `Authorization: Bearer …`."""
        value = self.kind.kind if isinstance(self.kind, ListOf | Maybe) else self.kind
        return isinstance(value, Leaf) and value.secret

    def read(self, node: Node, path: str, reading: Reading) -> dict[K, T]:
        if not entries(node) and self.none:
            raise SettingError(self.none, f"Write it like {self.example}.")
        values: dict[K, T] = {}
        seen: dict[object, str] = {}
        for name, part in entries(node).items():
            where = join(path, name) if not self.secret or _is_name(name) else path
            with reading.recording(where, part.source):
                key = self.key.parse(name, reading.environ)
                first = seen.setdefault(self.fold(key), name)
                if first != name:
                    raise SettingError(f"means the same as `{first}`", "Leave one of the two.")
                values[key] = reading.read(self.kind, part, where)
        return values

    def show(self, value: dict[K, T]) -> Any:
        return {str(key): self.kind.show(item) for key, item in value.items()}

    def schema(self) -> dict[str, Any]:
        names = self.key.schema()
        if "enum" in names:
            known = {name: self.kind.schema() for name in names["enum"]}
            return {"type": ["object", "null"], "properties": known, "additionalProperties": False}
        shape = {"type": "object", "minProperties": 1} if self.none else {"type": ["object", "null"]}
        return shape | {"propertyNames": names, "additionalProperties": self.kind.schema()}
