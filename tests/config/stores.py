"""A small configuration with a union: a store on disk or at a server, alone and by names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from forwarder.config.containers import ListOf, MapOf, Maybe
from forwarder.config.document import Section, parse
from forwarder.config.environment import overlay
from forwarder.config.files import SecretPath
from forwarder.config.groups import Group, TaggedUnion, hides
from forwarder.config.http import HeaderName, HeaderValue
from forwarder.config.reading import Reading
from forwarder.config.values import OneOf, Size, Text, Whole
from forwarder.errors import Problem


@dataclass(frozen=True, kw_only=True)
class DiskOptions:
    """What the disk can do."""

    sync: Annotated[int, Whole(at_least=0, at_most=2), "How often."] = 1


@dataclass(frozen=True, kw_only=True)
class Disk:
    """A store on disk."""

    backend: Annotated[Literal["disk"], OneOf(choices=("disk",)), "Where events are."] = "disk"
    path: Annotated[str, Text(), "The file."] = "/q"
    amount: Annotated[int, Size(at_least=1), "The most bytes."] = 1024
    options: DiskOptions = DiskOptions()
    labels: Annotated[dict[str, str], MapOf(Text(), Text()), "What to call it."] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """What the server can do."""

    replicas: Annotated[int, Whole(at_least=1, at_most=5), "How many."] = 3


@dataclass(frozen=True, kw_only=True)
class Server:
    """A store at a server."""

    backend: Annotated[Literal["server"], OneOf(choices=("server",)), "Where events are."] = "server"
    urls: Annotated[tuple[str, ...], ListOf(Text(example="nats://a")), "Where it is."]
    amount: Annotated[int, Whole(at_least=1, at_most=9), "The most events."] = 5
    password_file: Annotated[object, Maybe(SecretPath()), "File with the password."] = None
    options: ServerOptions = ServerOptions()
    labels: Annotated[dict[str, str], MapOf(HeaderName(), HeaderValue()), "What to send."] = field(default_factory=dict)


STORE = TaggedUnion[Disk | Server](Disk | Server, tag="backend", refused={"tape": "this is not a museum"})


@dataclass(frozen=True, kw_only=True)
class Stores:
    """A configuration."""

    store: Annotated[Disk | Server, STORE, "The store."] = Disk()
    others: Annotated[dict[str, Disk | Server], MapOf(Text(), STORE), "Others."] = field(default_factory=dict)


STORES = Group(Stores)


def read(text: str, environ: Mapping[str, str] = {}) -> tuple[Stores, list[Problem]]:
    """Return what a document and the environment give, and what is wrong with it."""
    problems: list[Problem] = []
    root = parse(text, lambda line: f"f:{line}", problems, hides=lambda path: hides(STORES, path))
    assert root is None or isinstance(root, Section)
    root = overlay(root or Section({}, "f:1"), STORES, environ, problems)
    return STORES.read(root, "", Reading(environ, problems, {"": "f:1"})), problems
