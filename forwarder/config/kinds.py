"""The kinds of single values that a setting can have: text, words, numbers, sizes, durations.

A kind reads a value from a document, shows it as it would be written in one, and describes it as
JSON Schema. Reading raises SettingError and never guesses: what YAML has mistaken for something
else (`on`, `1.10`, `0660`) is either taken as it was certainly meant, or refused.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

from forwarder.config import units
from forwarder.config.document import Items, Node, Scalar, Section
from forwarder.config.mistakes import SettingError, did_you_mean, printable, quoted

T = TypeVar("T")
N = TypeVar("N", int, float)

MASK = "***"
# No store is larger than an exbibyte, and SQLite counts to eight of them.
_MAX_SIZE = 2**60
# A hundred years: beyond it, dates can no longer be computed.
_MAX_DURATION = 36500 * 86400.0


def describe(node: Node, *, secret: bool = False) -> str:
    """Return words for what stands in a document; a secret is not repeated."""
    match node:
        case Items():
            return "is a list"
        case Section():
            return "is a group of settings"
        case Scalar(type="null"):
            return "is empty"
    text = "what stands here" if secret else f"{quoted(node.text)}"
    meaning = {
        "bool": "yes or no in YAML",
        "int": "a number in YAML",
        "float": "a number in YAML",
        "timestamp": "a date in YAML",
    }
    return f"{text} is {meaning.get(node.type, 'text')}"


@dataclass(frozen=True, kw_only=True)
class Leaf(ABC, Generic[T]):
    """A kind of single value. `example` is one as it stands in a document."""

    wants: ClassVar[str]
    takes: ClassVar[frozenset[str]] = frozenset({"str"})
    secret: ClassVar[bool] = False
    example: str = ""

    def read(self, node: Node, environ: Mapping[str, str]) -> T:
        """Return the value of a node. Raises SettingError."""
        if not isinstance(node, Scalar) or node.type not in self.takes:
            problem = f"{describe(node, secret=self.secret)}, but {self.wants} is wanted"
            raise SettingError(problem, self._remedy(node))
        return self.parse(node.text, environ)

    @abstractmethod
    def parse(self, text: str, environ: Mapping[str, str]) -> T:
        """Return the value that the text stands for. Raises SettingError."""

    def fallback(self) -> T:
        """Return a value that stands in for one that could not be read."""
        return self.parse(self.example, {})

    def show(self, value: T) -> str | int | float | bool:
        """Return the value as it would be written in a document, secrets masked."""
        return str(value)

    @abstractmethod
    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of a value."""

    def _remedy(self, node: Node) -> str:
        return f"Write it like {self.example}."


@dataclass(frozen=True, kw_only=True)
class Text(Leaf[str]):
    """Text that is not empty and stands on one line; `pattern` restricts it, `form` says how in words."""

    wants = "text"
    example: str = "my-app"
    pattern: str = ""
    form: str = ""

    def parse(self, text: str, environ: Mapping[str, str]) -> str:
        if not text:
            raise SettingError("is empty text", f"Write something like {self.example}, or leave the line out.")
        if not text.isprintable():
            raise SettingError("the text contains a line break or a control character", "Write it on one line.")
        if self.pattern and not re.fullmatch(self.pattern, text):
            raise SettingError(f"{quoted(text)} is not allowed here", self.form)
        return text

    def _remedy(self, node: Node) -> str:
        # A number, a date or a yes is fine as text; only the quotes are missing.
        if isinstance(node, Scalar) and node.type != "null":
            return f'Put it in quotes: "{printable(node.text)}".'
        return super()._remedy(node)

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "minLength": 1} | ({"pattern": self.pattern} if self.pattern else {})


@dataclass(frozen=True, kw_only=True)
class OneOf(Leaf[str]):
    """One of a few words. `refused` says of words that could be expected why they are not among them."""

    wants = "one of a few words"
    choices: tuple[str, ...]
    refused: Mapping[str, str] = field(default_factory=dict, hash=False)

    def parse(self, text: str, environ: Mapping[str, str]) -> str:
        if text in self.choices:
            return text
        remedy = f"{did_you_mean(text, self.choices)}{self._choices()}"
        if text in self.refused:
            raise SettingError(f"{quoted(text)} cannot stand here: {self.refused[text]}", self._choices())
        raise SettingError(f"{quoted(text)} is not known", remedy)

    def fallback(self) -> str:
        return self.choices[0]

    def schema(self) -> dict[str, Any]:
        return {"enum": list(self.choices)} if len(self.choices) > 1 else {"const": self.choices[0]}

    def _choices(self) -> str:
        return f"Write {'one of ' if len(self.choices) > 1 else ''}{', '.join(self.choices)}."

    def _remedy(self, node: Node) -> str:
        return self._choices()


@dataclass(frozen=True, kw_only=True)
class Flag(Leaf[bool]):
    """True or false."""

    wants = "true or false"
    takes = frozenset({"bool"})
    example: str = "true"

    def parse(self, text: str, environ: Mapping[str, str]) -> bool:
        return text.lower() in {"true", "yes", "on"}

    def show(self, value: bool) -> bool:
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


@dataclass(frozen=True, kw_only=True)
class Measure(Leaf[N]):
    """A number with bounds, both inclusive."""

    at_least: N
    at_most: N

    def parse(self, text: str, environ: Mapping[str, str]) -> N:
        value = self.convert(text)
        if value < self.at_least:
            raise SettingError(f"{quoted(text)} is too little", f"Write at least {self.show(self.at_least)}.")
        if value > self.at_most:
            raise SettingError(f"{quoted(text)} is too much", f"Write at most {self.show(self.at_most)}.")
        return value

    @abstractmethod
    def convert(self, text: str) -> N:
        """Return the number that the text stands for. Raises SettingError."""

    def _bounds(self) -> dict[str, Any]:
        return {"minimum": self.at_least, "maximum": self.at_most}


@dataclass(frozen=True, kw_only=True)
class Whole(Measure[int]):
    """A whole number."""

    wants = "a whole number"
    takes = frozenset({"int"})
    example: str = "1"

    def convert(self, text: str) -> int:
        # A leading zero is octal in YAML 1.1 and decimal in 1.2; 0x10, 1_000 and 1:30 are numbers in 1.1 only.
        if not re.fullmatch("[+-]?(0|[1-9][0-9]{0,17})", text):
            raise SettingError(
                f"{quoted(text)} is not a whole number in plain decimal digits", f"Write it like {self.example}."
            )
        return int(text)

    def show(self, value: int) -> int:
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "integer"} | self._bounds()

    def _remedy(self, node: Node) -> str:
        return f"Write digits without quotes, such as {self.example}."


@dataclass(frozen=True, kw_only=True)
class Number(Measure[float]):
    """A number that need not be whole."""

    wants = "a number"
    takes = frozenset({"int", "float"})
    example: str = "2"

    def convert(self, text: str) -> float:
        if not re.fullmatch(r"[+-]?(0|[1-9][0-9]{0,17})(\.[0-9]{1,18})?", text):
            raise SettingError(
                f"{quoted(text)} is not a number in plain decimal digits", f"Write it like {self.example}."
            )
        return float(text)

    def show(self, value: float) -> float | int:
        return int(value) if value == int(value) else value

    def schema(self) -> dict[str, Any]:
        return {"type": "number"} | self._bounds()

    def _remedy(self, node: Node) -> str:
        return f"Write digits without quotes, such as {self.example}."


@dataclass(frozen=True, kw_only=True)
class Size(Measure[int]):
    """A number of bytes."""

    wants = "a size"
    takes = frozenset({"str", "int", "float"})
    at_most: int = _MAX_SIZE
    example: str = "4GiB"

    def convert(self, text: str) -> int:
        return units.parse_size(text)

    def show(self, value: int) -> str | int:
        return units.format_size(value)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "integer"} | self._bounds(), {"type": "string", "pattern": units.SIZE_PATTERN}]}

    def _remedy(self, node: Node) -> str:
        return f"Write {units.SIZE_FORMS}, such as {self.example}."


@dataclass(frozen=True, kw_only=True)
class Duration(Measure[float]):
    """A time in seconds."""

    wants = "a duration"
    takes = frozenset({"str", "int", "float"})
    at_most: float = _MAX_DURATION
    example: str = "30s"

    def convert(self, text: str) -> float:
        return units.parse_duration(text)

    def show(self, value: float) -> str:
        return units.format_duration(value)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "number"} | self._bounds(), {"type": "string", "pattern": units.DURATION_PATTERN}]}

    def _remedy(self, node: Node) -> str:
        return f"Write {units.DURATION_FORMS}, such as {self.example}."
