"""The kinds of single values that a setting can have: text, words, numbers, sizes, durations.

A kind reads a value from a document, shows it as it would be written in one, and describes it as JSON Schema. Reading
raises SettingError and never guesses: a scalar that YAML takes for another type than was probably meant (`on`, `1.10`,
`0660`) is accepted where it can mean only one thing, and refused everywhere else.
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
# No disk holds more than an exbibyte, and SQLite counts to eight of them.
_MAX_SIZE = 2**60
# A hundred years: beyond it, dates can no longer be computed.
_MAX_DURATION = 36500 * 86400.0
_MEANINGS = {
    "bool": "yes or no in YAML",
    "int": "a number in YAML",
    "float": "a number in YAML",
    "timestamp": "a date in YAML",
}


def describe(node: Node, *, secret: bool = False) -> str:
    """Return words for what stands in a document; a secret is not repeated."""
    match node:
        case Items():
            return "is a list"
        case Section():
            return "is a group of settings"
        case Scalar(type="null"):
            return "is empty"
    text = "what stands here" if secret else quoted(node.text)
    return f"{text} is {_MEANINGS.get(node.type, 'text')}"


class Leaf(ABC, Generic[T]):
    """A kind of single value: `wants` names it in messages, `takes` has the YAML types in which it may be written.

    `advice` is the remedy for everything else, `pattern` what JSON Schema can check of its text.
    """

    wants: ClassVar[str]
    takes: ClassVar[frozenset[str]] = frozenset({"str"})
    secret: ClassVar[bool] = False
    advice: ClassVar[str] = "Write it like {example}."
    pattern: str = ""

    @property
    @abstractmethod
    def example(self) -> str:
        """A value as it stands in a document."""

    def read(self, node: Node, environ: Mapping[str, str]) -> T:
        """Return the value of a node. Raises SettingError."""
        if not isinstance(node, Scalar) or node.type not in self.takes:
            problem = f"{describe(node, secret=self.secret)}, but {self.wants} is wanted"
            raise SettingError(problem, self._remedy(node))
        return self.parse(node.text, environ)

    @abstractmethod
    def parse(self, text: str, environ: Mapping[str, str]) -> T:
        """Return the value that the text stands for. Raises SettingError."""

    def show(self, value: T) -> str | int | float | bool:
        """Return the value as it would be written in a document, secrets masked."""
        return str(value)

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of a value."""
        return {"type": "string"} | ({"pattern": self.pattern} if self.pattern else {})

    def _remedy(self, node: Node | None = None) -> str:
        return self.advice.format(example=self.example)


@dataclass(frozen=True, kw_only=True)
class Text(Leaf[str]):
    """Text that is not empty and stands on one line; where a pattern restricts it, `form` says how in words."""

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

    def schema(self) -> dict[str, Any]:
        return super().schema() | {"minLength": 1}

    def _remedy(self, node: Node | None = None) -> str:
        # A number, a date or a yes is fine as text; only the quotes are missing.
        if isinstance(node, Scalar) and node.type != "null":
            return f'Put it in quotes: "{printable(node.text)}".'
        return super()._remedy(node)


@dataclass(frozen=True, kw_only=True)
class OneOf(Leaf[Any]):
    """One of a few words. `refused` has words that an operator might expect, and why each of them cannot be used."""

    wants = "one of a few words"
    choices: tuple[str, ...]
    refused: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def example(self) -> str:
        return self.choices[0]

    def parse(self, text: str, environ: Mapping[str, str]) -> Any:
        if text in self.refused:
            raise SettingError(f"{quoted(text)} cannot stand here: {self.refused[text]}", self._remedy())
        if text not in self.choices:
            remedy = f"{did_you_mean(text, self.choices)}{self._remedy()}"
            raise SettingError(f"{quoted(text)} is not known", remedy)
        return text

    def schema(self) -> dict[str, Any]:
        return {"enum": list(self.choices)} if len(self.choices) > 1 else {"const": self.choices[0]}

    def _remedy(self, node: Node | None = None) -> str:
        return f"Write {'one of ' if len(self.choices) > 1 else ''}{', '.join(self.choices)}."


class Flag(Leaf[bool]):
    """True or false."""

    wants = "true or false"
    takes = frozenset({"bool"})
    example = "true"

    def parse(self, text: str, environ: Mapping[str, str]) -> bool:
        return text.lower() in {"true", "yes", "on"}

    def show(self, value: bool) -> bool:
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


@dataclass(frozen=True, kw_only=True)
class Measure(Leaf[N]):
    """A number with bounds, both inclusive. One that may have a unit, and so be text, has a `pattern`."""

    advice = "Write digits without quotes, such as {example}."
    json: ClassVar[str]
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

    def show(self, value: N) -> str | int | float:
        return int(value) if value == int(value) else value

    def schema(self) -> dict[str, Any]:
        number = {"type": self.json, "minimum": self.at_least, "maximum": self.at_most}
        return {"anyOf": [number, super().schema()]} if self.pattern else number

    def _digits(self, text: str, pattern: str) -> str:
        # A leading zero is octal in YAML 1.1 and decimal in 1.2; 0x10, 1_000 and 1:30 are numbers in 1.1 only.
        if not re.fullmatch(rf"[+-]?(0|[1-9][0-9]{{0,17}}){pattern}", text):
            raise SettingError(
                f"{quoted(text)} is not {self.wants} in plain decimal digits", f"Write it like {self.example}."
            )
        return text


@dataclass(frozen=True, kw_only=True)
class Whole(Measure[int]):
    """A whole number."""

    wants = "a whole number"
    takes = frozenset({"int"})
    json = "integer"
    example: str = "1"

    def convert(self, text: str) -> int:
        return int(self._digits(text, ""))


@dataclass(frozen=True, kw_only=True)
class Number(Measure[float]):
    """A number that need not be whole."""

    wants = "a number"
    takes = frozenset({"int", "float"})
    json = "number"
    example: str = "2"

    def convert(self, text: str) -> float:
        return float(self._digits(text, r"(\.[0-9]{1,18})?"))


@dataclass(frozen=True, kw_only=True)
class Size(Measure[int]):
    """A number of bytes."""

    wants = "a size"
    takes = frozenset({"str", "int", "float"})
    json = "integer"
    advice = f"Write {units.SIZE_FORMS}, such as {{example}}."
    at_most: int = _MAX_SIZE
    example: str = "4GiB"
    pattern = units.SIZE_PATTERN

    def convert(self, text: str) -> int:
        return units.parse_size(text)

    def show(self, value: int) -> str | int:
        return units.format_size(value)


@dataclass(frozen=True, kw_only=True)
class Duration(Measure[float]):
    """A time in seconds."""

    wants = "a duration"
    takes = frozenset({"str", "int", "float"})
    json = "number"
    advice = f"Write {units.DURATION_FORMS}, such as {{example}}."
    at_most: float = _MAX_DURATION
    example: str = "30s"
    pattern = units.DURATION_PATTERN

    def convert(self, text: str) -> float:
        return units.parse_duration(text)

    def show(self, value: float) -> str:
        return units.format_duration(value)
