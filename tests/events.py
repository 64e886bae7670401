"""Events as text in every way that a producer may write them, and a slow second opinion on each."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

ENVELOPE = (
    "eventSourceId",
    "eventType",
    "eventId",
    "eventObjectType",
    "eventObjectId",
    "version",
    "eventKeyId",
    "data",
    "eventReceived",
)
UUID = "6f1c2f7e-7d9e-4f6a-9d0a-1c2d3e4f5a6b"
_OTHER_KEYS = ("eventTime", "event", "Data", "x", "", "é", "日本", "a\tb", 'quo"te', "\x7f", "eventID")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[-+0-9.eE]+|true|false|null|[{}\[\],:]')

# Numbers whose text says more than a float or an int of usual length could keep.
numbers = st.sampled_from(
    ["0", "-0", "1e400", "-1E+400", "0.10", "1.0e-7", "123456789012345678901234567890", "9" * 5000, "1700000000000"]
)
spaces = st.sampled_from(["", "", "", " ", "\t", "  "])


@st.composite
def string_texts(draw: st.DrawFn, value: str | None = None) -> str:
    """Write a string with any mixture of plain characters and escapes."""
    if value is None:
        value = draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=8))
    return '"' + "".join(draw(_character_texts(char)) for char in value) + '"'


def _character_texts(char: str) -> st.SearchStrategy[str]:
    short = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\b": "\\b", "\f": "\\f", "/": "\\/"}
    units = char.encode("utf-16-be")
    escaped = "".join(f"\\u{units[i]:02x}{units[i + 1]:02X}" for i in range(0, len(units), 2))
    plain = short.get(char, escaped) if char < " " or char in '"\\' else char
    # Mostly plain: events in which nothing is odd are to be seen as well.
    return st.sampled_from([plain] * 20 + [escaped, short.get(char, plain)])


@st.composite
def object_texts(draw: st.DrawFn, pairs: list[tuple[str, str]]) -> str:
    """Write an object of which the keys, and the texts of the values, are given."""
    space = draw(st.sampled_from([st.just(""), st.just(" "), spaces]))
    written = [
        f"{draw(space)}{draw(string_texts(key))}{draw(space)}:{draw(space)}{text}{draw(space)}" for key, text in pairs
    ]
    return "{" + (",".join(written) or draw(space)) + "}"


def value_texts(depth: int = 2) -> st.SearchStrategy[str]:
    """Write any value; nested objects like to use the envelope's own names."""
    leaves = st.one_of(string_texts(), numbers, st.sampled_from(["true", "false", "null"]))
    return leaves if depth == 0 else st.one_of(leaves, _containers(depth - 1))


@st.composite
def _containers(draw: st.DrawFn, depth: int, kind: str | None = None) -> str:
    if (kind or draw(st.sampled_from(["object", "array"]))) == "array":
        return "[" + draw(spaces) + ",".join(draw(st.lists(value_texts(depth), max_size=3))) + "]"
    keys = draw(st.lists(st.sampled_from(ENVELOPE + _OTHER_KEYS), max_size=3))
    return draw(object_texts([(key, draw(value_texts(depth))) for key in keys]))


def _right_values(name: str) -> st.SearchStrategy[str]:
    if name == "eventId":
        return st.sampled_from([f'"{UUID}"', f'"{UUID.upper()}"'])
    if name == "data":
        return _containers(1, "object")
    if name == "eventReceived":
        return st.just("null")
    return string_texts("abc") if name in ENVELOPE[:2] else string_texts()


@st.composite
def event_texts(draw: st.DrawFn) -> str:
    """Write an event: mostly a good one, sometimes with a null, a wrong type, a key that stands twice or none."""
    names = ["eventSourceId", "eventType", *draw(st.sets(st.sampled_from(ENVELOPE[2:])))]
    if draw(st.booleans()):
        names += {"eventObjectType", "eventObjectId"} - set(names)
    pairs = [(name, draw(_right_values(name))) for name in names]
    pairs += [(key, draw(value_texts())) for key in draw(st.lists(st.sampled_from(_OTHER_KEYS), max_size=3))]
    match draw(st.sampled_from(["good"] * 6 + ["null", "type", "twice", "missing", "half"])):
        case "null":
            pairs = [(name, draw(st.sampled_from([text, "null"]))) for name, text in pairs]
        case "type":
            pairs.append((draw(st.sampled_from(ENVELOPE)), draw(value_texts())))
        case "twice":
            pairs.append(draw(st.sampled_from(pairs)))
        case "missing":
            pairs.pop(draw(st.integers(0, len(pairs) - 1)))
        case "half":
            pairs = [pair for pair in pairs if pair[0] != "eventObjectId"]
    return draw(object_texts(draw(st.permutations(pairs))))


class Number(str):
    """A number as it is written."""

    __slots__ = ()


class Pairs(list[tuple[str, Any]]):
    """The members of an object, each as often as it stands there."""


def loads(text: str) -> Any:
    """Read JSON and lose nothing of it."""
    return json.loads(text, object_pairs_hook=Pairs, parse_int=Number, parse_float=Number)


def tokens(text: str) -> list[str]:
    """Return the tokens of a JSON text, as written."""
    return _TOKEN.findall(text)


def verdict(text: str, defaults: Mapping[str, str] | None = None) -> str | None:
    """Return the field for which an event is refused ("" where it is none of them), or None for a good one."""
    pairs = loads(text)
    if not isinstance(pairs, Pairs):
        return ""
    found = [(name, value) for name, value in pairs if name in ENVELOPE]
    names = [name for name, _ in found]
    if twice := [name for name in names if names.count(name) > 1]:
        return twice[0]
    fields = {name: value for name, value in found if value is not None}
    for name, value in fields.items():
        right = isinstance(value, Pairs) if name == "data" else type(value) is str and name != "eventReceived"
        if not right:
            return name
    pair = {"eventObjectType", "eventObjectId"}
    filled = {**(defaults or {}), **fields}
    if len(pair & filled.keys()) == 1:
        filled = {name: value for name, value in filled.items() if name not in pair or name in fields}
    for name in ("eventSourceId", "eventType"):
        if not filled.get(name):
            return name
    if "eventId" in filled and not re.fullmatch(r"(?i)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", filled["eventId"]):
        return "eventId"
    missing = pair - filled.keys()
    return missing.pop() if len(missing) == 1 else None
