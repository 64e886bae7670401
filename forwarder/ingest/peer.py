"""What the kernel knows of a stream client, and what it is asked to do about one."""

from __future__ import annotations

import select
import socket
from typing import Protocol

# Seconds of silence after which the kernel asks whether the machine of a TCP client is still there, how often it asks
# again, and how many questions it leaves unanswered: one that has lost its power is gone after two minutes.
_KEEP_ALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))


class Peer(Protocol):
    """The socket of a connection, as both event loops hand it out."""

    def fileno(self) -> int: ...

    def dup(self) -> socket.socket: ...

    def setsockopt(self, level: int, option: int, value: int, /) -> None: ...


def is_hung_up(peer: Peer) -> bool:
    """Say whether the client has closed both sides; while we do not read, nothing else tells us."""
    return bool(_poll(peer, 0) & select.POLLHUP)


def has_ended(peer: Peer) -> bool:
    """Say whether the client has ended its side, though what it sent before may not have been read."""
    return bool(_poll(peer, select.POLLRDHUP))


def has_more(peer: Peer) -> bool:
    """Say whether something of the client, or its end, is there to be read."""
    return bool(_poll(peer, select.POLLIN))


def _poll(peer: Peer, wanted: int) -> int:
    poll = select.poll()
    poll.register(peer.fileno(), wanted)
    found = poll.poll(0)
    return found[0][1] if found else 0


def take_no_more(peer: Peer) -> None:
    """Let the client of a unix socket send nothing more; what it has sent can be read, up to an end."""
    with peer.dup() as ours:
        ours.shutdown(socket.SHUT_RD)


def keep_alive(peer: Peer) -> None:
    """Let the kernel end a TCP connection whose client has vanished without a word."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEP_ALIVE:
        peer.setsockopt(socket.IPPROTO_TCP, option, value)
