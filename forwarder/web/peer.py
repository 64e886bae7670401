"""Who is at the other end of a connection: a user and a process over a unix socket, an address over TCP."""

from __future__ import annotations

import asyncio
import socket

from forwarder.observe.facts import UNKNOWN, Peer
from forwarder.web.reach import peer_credentials


def peer_of(transport: asyncio.BaseTransport | None) -> Peer:
    """Return the client of a connection; the port is left out, as it says nothing about who it is."""
    peer: socket.socket | None = transport.get_extra_info("socket") if transport is not None else None
    if peer is None:
        return UNKNOWN
    try:
        if peer.family == socket.AF_UNIX:
            pid, uid = peer_credentials(peer)
            return Peer(f"uid {uid}", pid)
        return Peer(str(peer.getpeername()[0]))
    except OSError:
        # It was closed in the meantime.
        return UNKNOWN
