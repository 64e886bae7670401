"""Record what operators do to the daemon: one line in the log for each act, with who, to what, and the outcome.

Who it was comes from the kernel: the user id and process of a unix socket's peer, or the address of a
TCP peer. The line is a warning, so that it is logged even if `log.level` is `warning`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

from aiohttp import web

from forwarder.admin.status import utc
from forwarder.model import DeadFilter, EventFilter
from forwarder.observe.base import Observer
from forwarder.observe.facts import Acted
from forwarder.web.reach import peer_credentials

# A filter may name ten thousand ids; a line of the log shows the first ones, and how many more there are.
_MAX_IDS = 20


@contextmanager
def acting(observer: Observer, request: web.Request, act: str, **what: Any) -> Iterator[dict[str, Any]]:
    """Report an act when it is over, with the outcome that the caller puts into the yielded dictionary.

    `act` is a verb such as `pause`, `what` says what it was done to. An act that failed is reported, too,
    because part of it may have been done.
    """
    # Look first: when the act is over the peer may be gone.
    who = peer_of(request.transport)
    outcome: dict[str, Any] = {}
    try:
        yield outcome
    except BaseException as error:
        observer.saw(Acted(act, who, what, outcome, str(error) or type(error).__name__))
        raise
    observer.saw(Acted(act, who, what, outcome))


def peer_of(transport: asyncio.BaseTransport | None) -> dict[str, Any]:
    """Return who is at the other end, as fields of a log line; no fields if the peer is gone."""
    peer: socket.socket | None = transport.get_extra_info("socket") if transport is not None else None
    if peer is None:
        return {}
    try:
        if peer.family == socket.AF_UNIX:
            pid, uid = peer_credentials(peer)
            return {"uid": uid, "pid": pid}
        host, port = peer.getpeername()[:2]
    except OSError:
        return {}
    return {"peer": f"[{host}]:{port}" if ":" in host else f"{host}:{port}"}


def filter_of_events(wanted: EventFilter) -> dict[str, Any]:
    """Return the filters that are set, as fields of a log line.

    The id of an object and a text are left out: they may identify a person, and the log is not the place for that.
    """
    shown = {"source": wanted.source, "type": wanted.type}
    if wanted.object is not None:
        shown["object"] = f"{wanted.object[0]}:…"
    if wanted.text is not None:
        shown["text"] = "…"
    return {name: value for name, value in shown.items() if value is not None}


def filter_of(wanted: DeadFilter) -> dict[str, Any]:
    """Return the filters that are set, as fields of a log line; `{"all": True}` if none is."""
    found = {field.name: getattr(wanted, field.name) for field in fields(wanted)}
    shown = {name: value for name, value in found.items() if value not in {None, (), 0}}
    if wanted.status is not None:
        shown["status"] = wanted.status or "none"
    if wanted.detail is not None:
        # What a destination answered may repeat an event.
        shown["detail"] = "…"
    if wanted.died_before is not None:
        shown["died_before"] = utc(wanted.died_before).isoformat()
    shown.update(filter_of_events(wanted.about))
    if len(wanted.ids) > _MAX_IDS:
        shown["ids"] = [*wanted.ids[:_MAX_IDS], f"and {len(wanted.ids) - _MAX_IDS:,} more"]
    return shown or {"all": True}
