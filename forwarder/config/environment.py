"""Settings from the environment: `FORWARDER_QUEUE__MAX_BYTES=8GiB`. A variable replaces what it names.

`__` separates the levels; letters may be of either case. Text, sizes, durations, paths and addresses are taken as they
are, everything else is YAML; the items of a list may also be separated by commas. Names of destinations match whatever
their case, and with `_` for `-`; a new one is created in lower case.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from forwarder.config.containers import ListOf, MapOf, Maybe
from forwarder.config.document import Items, Node, Scalar, Section, parse
from forwarder.config.groups import Group, TaggedUnion, hides
from forwarder.config.mistakes import SettingError, did_you_mean
from forwarder.config.reading import Kind
from forwarder.config.values import Leaf
from forwarder.errors import Problem

PREFIX = "FORWARDER_"
CONFIG_FILE = "FORWARDER_CONFIG"

# Kubernetes sets such variables for a Service whose name begins with `forwarder` (service links).
_service_link = re.compile(
    r"FORWARDER_([A-Z0-9]+_)*?(SERVICE_(HOST|PORT(_[A-Z0-9]+)*)|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)


def overlay(root: Section, kind: Group[Any], environ: Mapping[str, str], problems: list[Problem]) -> Section:
    """Return the document with the settings of the environment put in; mistakes go to `problems`."""
    # What a variable means can depend on the tag of a union, which another variable may set: tags are looked up in a
    # draft that has them all.
    draft = _overlay(root, None, kind, environ, [])
    return _overlay(root, draft, kind, environ, problems)


def _overlay(
    root: Section, draft: Section | None, kind: Group[Any], environ: Mapping[str, str], problems: list[Problem]
) -> Section:
    named: dict[tuple[str, ...], str] = {}
    # A variable that names a whole group comes before those that name its parts.
    for name in sorted(filter(_is_setting, environ), key=lambda name: (name.count("__"), name)):
        try:
            path, setting = _find(kind, name.removeprefix(PREFIX).split("__"), draft or root)
        except SettingError as mistake:
            problems.append(Problem(name, "", mistake.problem, mistake.remedy))
            continue
        if setting is None:
            problems.append(_unknown(name, kind, root))
        elif path in named:
            problems.append(Problem(name, ".".join(path), f"is set by {named[path]}, too", "Unset one of the two."))
        elif (node := _node(setting, environ[name], name, ".".join(path), problems, partial(hides, kind))) is not None:
            named[path] = name
            root = _put(root, path, node)
    return root


def _is_setting(name: str) -> bool:
    return name.startswith(PREFIX) and name != CONFIG_FILE and not _service_link.fullmatch(name)


def _find(kind: Kind[Any], parts: list[str], node: Node | None) -> tuple[tuple[str, ...], Kind[Any] | None]:
    """Return the path and the kind of the setting that a variable names; no kind if there is none.

    Raises SettingError if it could mean several.
    """
    if not parts:
        return (), kind
    present = node.entries if isinstance(node, Section) else {}
    match kind:
        case TaggedUnion():
            found = (_find(group, parts, node) for group in kind.likely(node))
            return next((each for each in found if each[1] is not None), ((), None))
        case Group(settings=settings):
            name = _same(parts[0], settings)
            inner = settings[name].kind if name else None
        case MapOf(kind=inner, key=key):
            choices = key.schema().get("enum")
            name = _same(parts[0], choices or present) or ("" if choices else parts[0].lower())
        case _:
            return (), None
    if not name or inner is None:
        return (), None
    path, setting = _find(inner, parts[1:], present.get(name))
    return (name, *path), setting


def _same(word: str, names: Iterable[str]) -> str | None:
    """Return the name that a part of a variable means, if there is one. Raises SettingError if there are several."""
    found = [name for name in names if name.lower().replace("-", "_") == word.lower().replace("-", "_")]
    if len(found) > 1:
        raise SettingError(f"means each of {', '.join(found)}", "Rename them, so that they differ by more than case.")
    return found[0] if found else None


def _unknown(name: str, kind: Group[Any], root: Section) -> Problem:
    known = [f"{PREFIX}{'__'.join(parts).upper()}" for parts in _names(kind, root) if parts]
    remedy = did_you_mean(name, known) or "Unset it. "
    return Problem(
        name, "", "names no setting", f"{remedy}Two underscores part the levels: FORWARDER_QUEUE__MAX_BYTES."
    )


def _names(kind: Kind[Any], node: Node | None) -> Iterator[tuple[str, ...]]:
    """Yield the path of everything that a variable could name: settings and groups, of every member of a union."""
    present = node.entries if isinstance(node, Section) else {}
    inner: list[tuple[str, Kind[Any]]] = []
    match kind:
        case TaggedUnion(groups=groups):
            inner = [(name, setting.kind) for group in groups.values() for name, setting in group.settings.items()]
        case Group(settings=settings):
            inner = [(name, setting.kind) for name, setting in settings.items()]
        case MapOf():
            inner = [(name, kind.kind) for name in kind.key.schema().get("enum") or present or ["main"]]
    yield ()
    for name, each in inner:
        yield from ((name, *rest) for rest in _names(each, present.get(name)))


def _node(
    kind: Kind[Any], text: str, name: str, path: str, problems: list[Problem], hidden: Callable[[str], bool]
) -> Node | None:
    """Return the node that a variable would be in the document; `hidden` is the `hides` of `parse`."""
    try:
        text.encode()
    except UnicodeEncodeError:
        problems.append(Problem(name, path, "is not UTF-8", "Write the value in UTF-8."))
        return None
    match kind:
        case Leaf() if "str" in kind.takes:
            return Scalar(text, "str", name)
        case Maybe():
            return Scalar(text, "null" if text in {"", "null", "~"} else "str", name)
        case ListOf(kind=item) if not text.lstrip().startswith("["):
            parts = [part.strip() for part in text.split(",")] if text.strip() else []
            nodes = (_node(item, part, name, path, problems, hidden) for part in parts)
            return Items([node for node in nodes if node is not None], name)
    known = len(problems)
    node = parse(text, lambda _line: name, problems, path, hides=hidden)
    return Scalar("", "null", name) if node is None and len(problems) == known else node


def _put(root: Section, path: tuple[str, ...], node: Node) -> Section:
    """Return `root` with `node` in place of what stands at `path`."""
    name, *rest = path
    if rest:
        inner = root.entries.get(name)
        if isinstance(inner, Scalar) and inner.type == "null":
            inner = None
        if inner is not None and not isinstance(inner, Section):
            # This is no group, which is reported when it is read.
            return root
        node = _put(inner or Section({}, node.source), tuple(rest), node)
    return Section({**root.entries, name: node}, root.source)
