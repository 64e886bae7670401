"""A YAML document as nodes that still know their line and how each scalar was written.

Scalars are not converted to YAML's own types: once `0660`, `on` or `1.10` is a number or a truth value, nobody can
tell what the operator wrote, nor what is wrong with it. Only this module knows the yaml library.

No message repeats a value of the document, not even YAML's own messages: a password that begins with `*` or `!` is an
alias or a tag to YAML. Names of settings are shown, except below a place that may hold a secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import yaml

from forwarder.config.mistakes import printable
from forwarder.errors import Problem

_TAG = "tag:yaml.org,2002:"
# What YAML's messages quote from the document. Names of tokens, such as '<scalar>', and single characters may stay.
_quotations = re.compile(r"""\s*(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""")
_harmless = re.compile(r"""\s*['"](?:<[a-z ]+>|\\?.|[,\]}:?-])['"]""")
# What ends a line in YAML 1.1.
_line_end = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
# YAML has types for a plain `=` and a plain `<<`; as values, both are text like any other.
_TYPES = {each: each for each in ("str", "int", "float", "bool", "null", "timestamp")} | {
    "value": "str",
    "merge": "str",
}


@dataclass(frozen=True, slots=True)
class Scalar:
    """A value as it was written. `type` is what YAML takes it for: str, int, float, bool, null or timestamp."""

    text: str
    type: str
    source: str
    """The file and line, or the environment variable."""


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    items: Sequence[Node]
    source: str


@dataclass(frozen=True, slots=True)
class Section:
    """A mapping; keys as they were written."""

    entries: Mapping[str, Node]
    source: str


Node: TypeAlias = Scalar | Items | Section


def join(path: str, name: str) -> str:
    """Return the dotted path of what is called `name` in the group at `path`."""
    return f"{path}.{printable(name)}" if path else printable(name)


@dataclass(slots=True)
class _Reader:
    """Converts yaml's nodes to ours; what cannot be converted becomes one of the `problems`.

    `hides` says whether the names below a dotted path must not be shown.
    """

    source: Callable[[int], str]
    problems: list[Problem]
    hides: Callable[[str], bool]
    # A node that aliases share is converted once; otherwise aliases could make a small file huge.
    known: dict[int, Node]

    def node(self, node: yaml.Node, path: str) -> Node:
        if id(node) not in self.known:
            self.known[id(node)] = self._convert(node, path)
        return self.known[id(node)]

    def _convert(self, node: yaml.Node, path: str) -> Node:
        source = self.source(node.start_mark.line + 1)
        tag = node.tag.removeprefix(_TAG)
        if isinstance(node, yaml.SequenceNode) and tag == "seq":
            # What is wrong in a hidden list is reported at the list as a whole.
            places = [path if self.hides(path) else f"{path}[{index}]" for index in range(len(node.value))]
            return Items([self.node(item, place) for item, place in zip(node.value, places, strict=True)], source)
        if isinstance(node, yaml.MappingNode) and tag == "map":
            return self._section(node, path, source)
        kind = _TYPES.get(tag)
        if not isinstance(node, yaml.ScalarNode) or kind is None:
            remedy = "Write the value without a tag: in quotes, where it begins with an exclamation mark."
            self.refuse(node, path, "YAML tags are not supported", remedy)
            return Scalar("", "null", source)
        return Scalar(node.value, kind, source)

    def _section(self, node: yaml.MappingNode, path: str, source: str) -> Section:
        entries: dict[str, Node] = {}
        lines: dict[str, int] = {}
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else None
            if name is None:
                self.refuse(
                    key, path, "a list or a group of settings stands where a name is wanted", "Write `name: …`."
                )
                continue
            where = path if self.hides(path) else join(path, name)
            if key.tag == _TAG + "merge":
                self.refuse(
                    key, where, "merge keys are not supported", "Write the settings out, or use a whole `*alias`."
                )
            elif name in entries:
                self.refuse(key, where, f"is set twice, first in line {lines[name]}", "Leave one of the two.")
            else:
                lines[name] = key.start_mark.line + 1
                entries[name] = self.node(value, where)
        return Section(entries, source)

    def refuse(self, node: yaml.Node, path: str, problem: str, remedy: str) -> None:
        self.problems.append(Problem(self.source(node.start_mark.line + 1), path, problem, remedy))


def parse(
    text: str,
    source: Callable[[int], str],
    problems: list[Problem],
    path: str = "",
    *,
    hides: Callable[[str], bool] = lambda _path: False,
) -> Node | None:
    """Return the document, or None if it is empty or cannot be read.

    `source` names the place of a line, `path` is the dotted path of the whole document. Everything that is wrong is
    added to `problems`. `hides` says whether the names below a dotted path must not be shown.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        return None if root is None else _Reader(source, problems, hides, {}).node(root, path)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        what = _without_quotations(", ".join(filter(None, (error.context, error.problem))))
        remedy = "Mend that place, or the line above it."
        if "\\t" in what:
            remedy = "Indent with spaces, not with tabs."
        elif "${" in _line_end.split(text)[line - 1]:
            # Inside other braces or brackets, YAML takes these braces for its own.
            remedy = 'Put a value with ${…} in quotes, such as "${CREDENTIALS_DIRECTORY}/key.pem".'
        problems.append(Problem(source(line), path, f"is not YAML: {what} (line {line}, column {column})", remedy))
    except yaml.reader.ReaderError as error:
        before = _line_end.split(text[: error.position])
        place = f"line {len(before)}, column {len(before[-1]) + 1}"
        what = f"is not YAML: the character {error.character:#06x} is not allowed ({place})"
        problems.append(Problem(source(len(before)), path, what, "Remove that character."))
    except RecursionError:
        problems.append(Problem(source(1), path, "is nested too deeply, or contains itself", "Write it flatter."))
    return None


def _without_quotations(message: str) -> str:
    """Return one of YAML's messages without what it quotes from the document."""
    return _quotations.sub(lambda found: found[0] if _harmless.fullmatch(found[0]) else "", message)


def dump(value: Any, *, inline: bool = False) -> str:
    """Return plain values as YAML, in their order; `inline` on one line, without a newline at its end."""
    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=10_000, default_flow_style=inline)
    return text.removesuffix("...\n").strip() if inline else text
