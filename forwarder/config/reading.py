"""One run over a document, which finds every mistake in it, and what every kind of setting can do.

A kind that is made of others records the mistake of each in the `Reading` and goes on with a value that stands in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, TypeVar

from forwarder.config.document import Node, Scalar, Section
from forwarder.config.mistakes import SettingError
from forwarder.config.values import Leaf, describe
from forwarder.errors import Problem

T = TypeVar("T")


class Shape(Protocol[T]):
    """A kind that is made of others: it records their mistakes, and raises SettingError for its own."""

    @property
    def example(self) -> str: ...
    def read(self, node: Node, path: str, reading: Reading) -> T: ...
    def show(self, value: T) -> Any: ...
    def schema(self) -> dict[str, Any]: ...


Kind: TypeAlias = Leaf[T] | Shape[T]


@dataclass(slots=True)
class Reading:
    """One run over a document; `environ` has the variables that `${NAME}` in paths stands for."""

    environ: Mapping[str, str]
    problems: list[Problem] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)
    """Where each setting stands, by its dotted path."""

    def read(self, kind: Kind[T], node: Node, path: str) -> T:
        """Return the value of the node at `path`. Raises SettingError."""
        self.sources[path] = node.source
        return kind.read(node, self.environ) if isinstance(kind, Leaf) else kind.read(node, path, self)

    @contextmanager
    def recording(self, path: str, source: str) -> Iterator[None]:
        """Record a SettingError that the block raises as a problem of `path`, and go on after the block."""
        try:
            yield
        except SettingError as mistake:
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


def entries(node: Node) -> Mapping[str, Node]:
    """Return the entries of a mapping; null, a group with every line commented out, has none. Raises SettingError."""
    if isinstance(node, Section):
        return node.entries
    if isinstance(node, Scalar) and node.type == "null":
        return {}
    raise SettingError(
        f"{describe(node, secret=True)}, but a group of settings is wanted",
        "Write `name: value` lines below it, indented.",
    )
