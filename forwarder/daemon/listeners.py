"""Open the listeners of the intake and the admin API, keep them across reloads, and close them.

New addresses are opened before anything else changes, so that a reload changes nothing if one of them
cannot be opened. The same holds for a rule that is not allowed: a socket that other machines can reach is
never served without a token, whether we or systemd made it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial

from aiohttp import web

from forwarder.admin.api import AdminApi
from forwarder.admin.entrance import Entrance, Terms
from forwarder.config import open_to_all
from forwarder.daemon.assembly import Assembly
from forwarder.daemon.descriptors import open_files
from forwarder.errors import ListenError
from forwarder.ingest.http import HttpIntake
from forwarder.ingest.intake import Intake
from forwarder.ingest.stream import StreamIntake
from forwarder.model import Address
from forwarder.observe.facts import Notice
from forwarder.web.access import Access
from forwarder.web.headroom import Headroom, kept_back
from forwarder.web.listening import BACKLOG, Listener, adopt, listen
from forwarder.web.reach import refuse_exposed
from forwarder.web.server import Runner, Server

Key = tuple[str, Address]
_KINDS = ("http", "stream", "admin", "viewer")
# Seconds that requests under way have to end when their listener is closed. For the intake they are part of the
# `shutdown_timeout`; for the admin address they come after it. They are halved because aiohttp waits twice: for a
# handler that is still at work, and again after it has cancelled what the handler is reading.
_INTAKE_SECONDS = 5.0 / 2
_ADMIN_SECONDS = 3.0 / 2


@dataclass(slots=True)
class _Open:
    """A listener in use, the rule that applies to it, and the function that closes it."""

    listener: Listener
    rule: _Rule
    access: Access | Entrance
    close: Callable[[], Coroutine[None, None, None]]
    runner: web.BaseRunner | None = None
    """What serves its clients over HTTP; None for a stream."""

    def change(self, rule: _Rule) -> None:
        """Apply another rule from the next request on."""
        if isinstance(self.access, Entrance):
            self.access.change(rule.terms, rule.uids)
        else:
            self.access.change(token=rule.token, allow_uids=rule.uids)
        self.rule = rule


@dataclass(frozen=True, slots=True)
class _Rule:
    """Who may use a listener; `mode` and `gid` apply to the file of a unix socket."""

    section: str
    """The part of the configuration that it comes from."""
    setting: str
    token: str | None
    """The token without which nobody gets in over the network; `setting` names its file."""
    uids: frozenset[int]
    mode: int
    gid: int | None
    terms: Terms = field(default_factory=Terms)
    """What else is agreed at an address of the admin API."""


class Listeners:
    """All listeners. `passed` are sockets from systemd with their names, one of `_KINDS`.

    Raises ListenError for a socket with any other name, because its purpose is unknown.
    """

    def __init__(
        self, assembly: Assembly, intake: Intake, admin: AdminApi, passed: list[tuple[str, socket.socket]]
    ) -> None:
        self._admin = admin
        self.http = HttpIntake(intake, max_request_bytes=assembly.config.ingest.max_request_bytes)
        self.stream = StreamIntake(intake, max_event_bytes=assembly.config.ingest.max_event_bytes)
        self._observer = intake.observer
        self._headroom = Headroom("admin", self._observer)
        self._passed: dict[Key, Listener] = {}
        for name, sock in passed:
            if name not in _KINDS:
                raise ListenError(
                    f"the service manager passed a socket with the name {name!r}",
                    hint=f"set FileDescriptorName= in the socket unit to one of {', '.join(_KINDS)}",
                )
            listener = adopt(sock)
            self._passed[name, listener.address] = listener
        self._open: dict[Key, _Open] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def apply(self, assembly: Assembly) -> None:
        """Listen at exactly the addresses of a configuration. If ListenError is raised, nothing has changed."""
        wanted = self._wanted(assembly)
        self._refuse_exposed(wanted)
        with ExitStack() as opening:
            opened = self._listen({key: rule for key, rule in wanted.items() if key not in self._open}, opening)
            self._open_files_to(wanted, opening)
            opening.pop_all()
        self._keep_back(assembly)
        self.http.limit(assembly.config.ingest.max_request_bytes)
        self.stream.max_event_bytes = assembly.config.ingest.max_event_bytes
        for key in [key for key in self._open if key not in wanted]:
            closing = asyncio.create_task(self._open.pop(key).close(), name="listener-closing")
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
            # Do not wait for one of the admin API: closing it waits for its requests, and one of these may be the very
            # request for this reload.
            if key[0] in {"http", "stream"}:
                await closing
            self._observer.saw(Notice("listener.closed", {"kind": key[0], "address": str(key[1])}))
        for key in self._passed:
            self._warn(key, wanted[key])
        for key, found in self._open.items():
            found.change(wanted[key])
        for key, listener in opened.items():
            self._open[key] = await self._serve(key[0], listener, wanted[key])
            self._observer.saw(Notice("listener.opened", {"kind": key[0], "address": str(listener.address)}))

    def _keep_back(self, assembly: Assembly) -> None:
        """Keep open files in reserve for deliveries, the queue and the admin API, whatever clients do."""
        files = open_files()
        intake, admin = kept_back(files, [found.in_flight for found in assembly.config.destinations.values()])
        self._headroom.limit = files - admin
        self.http.headroom.limit = self.stream.headroom.limit = files - intake

    @property
    def refused_connections(self) -> dict[str, int]:
        """How many connections were refused for lack of open files, by kind of listener."""
        rooms = (("http", self.http.headroom), ("stream", self.stream.headroom), ("admin", self._headroom))
        return {kind: room.refused for kind, room in rooms}

    @property
    def connections(self) -> dict[str, int]:
        """How many connections of clients are open, by kind of listener."""
        found = {"http": 0, "stream": self.stream.connections, "admin": 0}
        for (kind, _address), opened in self._open.items():
            if opened.runner is not None and isinstance(opened.runner.server, Server):
                found["admin" if kind == "viewer" else kind] += opened.runner.server.open_connections
        return found

    def _wanted(self, assembly: Assembly) -> dict[Key, _Rule]:
        config, rules = assembly.config, _rules(assembly)
        addresses = {
            "http": config.ingest.http.listen,
            "stream": config.ingest.stream.listen,
            "admin": config.admin.listen,
            "viewer": config.admin.viewer_listen,
        }
        wanted = {(kind, address): rules[kind] for kind, found in addresses.items() for address in found}
        return wanted | {key: rules[key[0]] for key in self._passed}

    def _refuse_exposed(self, wanted: dict[Key, _Rule]) -> None:
        """Raise ExposedError if a socket that is already open needs a token and would have none."""
        found = self._passed | {key: opened.listener for key, opened in self._open.items()}
        for key, listener in found.items():
            rule = wanted.get(key)
            if rule is not None and rule.token is None:
                refuse_exposed(listener.address, listener.reach, rule.setting)

    def _listen(self, wanted: dict[Key, _Rule], opening: ExitStack) -> dict[Key, Listener]:
        """Open listeners; `opening` closes them should this or anything after it fail."""
        opened: dict[Key, Listener] = {}
        for key, rule in wanted.items():
            opened[key] = self._passed.get(key) or listen(
                key[1], mode=rule.mode, gid=rule.gid, has_token=rule.token is not None, setting=rule.setting
            )
            opening.callback(opened[key].close)
        return opened

    def _open_files_to(self, wanted: dict[Key, _Rule], opening: ExitStack) -> None:
        """Give open sockets' files the modes and groups that are wanted now; `opening` restores them on an error."""
        for key, found in self._open.items():
            before, rule = found.rule, wanted.get(key, found.rule)
            if (rule.mode, rule.gid) != (before.mode, before.gid):
                opening.callback(found.listener.open_to, before.mode, before.gid)
                found.listener.open_to(rule.mode, rule.gid)

    def _warn(self, key: Key, rule: _Rule) -> None:
        """Warn about a socket from systemd that anybody can connect to; `config.warnings` covers the others."""
        before = self._open.get(key)
        if before is not None and before.rule == rule:
            return
        listener = self._passed[key]
        # At an address for viewers nobody can do more than look.
        if key[0] != "viewer" and rule.token is None and not _access(listener, rule).is_restricted:
            detail = open_to_all(rule.section, f"a socket from systemd, {key[1]}")
            self._observer.saw(Notice("config.warning", {"detail": detail}))

    async def _serve(self, kind: str, listener: Listener, rule: _Rule) -> _Open:
        access = _access(listener, rule)
        if kind in {"admin", "viewer"}:
            return await self._serve_admin(listener, rule, access)
        if kind == "stream":
            server = await self.stream.serve(listener, access)
            return _Open(listener, rule, access, partial(self.stream.close, server, listener, access))
        runner = web.ServerRunner(self.http.server(access), shutdown_timeout=_INTAKE_SECONDS)
        return _Open(listener, rule, access, await _started(runner, listener), runner)

    async def _serve_admin(self, listener: Listener, rule: _Rule, access: Access) -> _Open:
        entrance = Entrance(access, rule.terms)
        application = self._admin.application(entrance)
        runner = Runner(application, access_log=None, headroom=self._headroom, shutdown_timeout=_ADMIN_SECONDS)
        return _Open(listener, rule, entrance, await _started(runner, listener), runner)

    def addresses(self, kind: str) -> list[Address]:
        """Return the real addresses of a kind of listeners, with the ports that the system chose for port 0."""
        return [found.listener.address for (name, _), found in self._open.items() if name == kind]

    async def close_intake(self, seconds: float) -> None:
        """Accept nothing more; answer the requests under way, and settle the streams within `seconds`."""
        # Closing the listeners lets in the stream clients that have already connected, so that `stop` includes them.
        await self.close("stream")
        await asyncio.gather(self.close("http"), self.stream.stop(seconds))

    async def close(self, *kinds: str) -> None:
        """Accept nothing more at listeners of these kinds; answer the requests under way."""
        keys = [key for key in self._open if key[0] in kinds]
        await asyncio.gather(*[self._open.pop(key).close() for key in keys], *self._closing)


def _rules(assembly: Assembly) -> dict[str, _Rule]:
    """Return the rules for each kind of listener."""
    ingest, admin = assembly.config.ingest, assembly.config.admin
    tokens, gids = assembly.tokens, assembly.socket_gids
    intake = _Rule(
        section="ingest",
        setting="ingest.token_file",
        token=tokens["ingest"],
        uids=frozenset(ingest.allow_uids),
        mode=ingest.socket_mode,
        gid=gids["ingest"],
    )
    operators = _Rule(
        section="admin",
        setting="admin.token_file",
        token=tokens["admin"],
        uids=frozenset(admin.allow_uids),
        mode=admin.socket_mode,
        gid=gids["admin"],
        terms=Terms(tokens["admin"], tokens["viewer"], read_only=admin.read_only),
    )
    viewers = _Rule(
        section="admin",
        setting="admin.viewer_token_file",
        token=tokens["viewer"],
        uids=frozenset(),
        mode=admin.viewer_socket_mode,
        gid=gids["viewer"],
        terms=replace(operators.terms, viewers_only=True),
    )
    return {"http": intake, "stream": intake, "admin": operators, "viewer": viewers}


def _access(listener: Listener, rule: _Rule) -> Access:
    """Return the rule at the door; who has which rights at the admin API is the business of its `Entrance`."""
    serves_pages = rule.section == "admin"
    return Access(
        listener.address,
        listener.reach,
        token=None if serves_pages else rule.token,
        allow_uids=rule.uids,
        section=rule.section,
        has_pages=serves_pages,
    )


async def _started(runner: web.BaseRunner, listener: Listener) -> Callable[[], Coroutine[None, None, None]]:
    """Serve at a listener; return the function that ends this."""
    await runner.setup()
    await web.SockSite(runner, listener.socket, backlog=BACKLOG).start()

    async def cleanup() -> None:
        await runner.cleanup()
        listener.close()

    return cleanup
