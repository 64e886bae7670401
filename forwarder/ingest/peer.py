"""Ask the kernel about the state of a stream client's connection, and change that state."""

from __future__ import annotations

import select
import socket

# Keepalive of TCP: seconds of silence before the first probe, seconds between probes, and how many may go unanswered.
# The connection of a machine that has lost its power ends after two minutes.
_KEEP_ALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))


def is_hung_up(peer: socket.socket) -> bool:
    """Return whether the client has closed both sides; while we do not read, nothing else tells us."""
    return bool(_poll(peer, 0) & select.POLLHUP)


def has_ended(peer: socket.socket) -> bool:
    """Return whether the client has ended its side, even if there is data before the end that was not read yet."""
    return bool(_poll(peer, select.POLLRDHUP))


def has_more(peer: socket.socket) -> bool:
    """Return whether there is data, or the end of the client's side, to be read."""
    return bool(_poll(peer, select.POLLIN))


def _poll(peer: socket.socket, wanted: int) -> int:
    poll = select.poll()
    poll.register(peer.fileno(), wanted)
    found = poll.poll(0)
    return found[0][1] if found else 0


def take_no_more(peer: socket.socket) -> None:
    """Prevent the client of a unix socket from sending more; what it has sent can still be read, and then ends."""
    with peer.dup() as ours:
        ours.shutdown(socket.SHUT_RD)


def keep_alive(peer: socket.socket) -> None:
    """Make the kernel end a TCP connection whose client has vanished without closing it."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEP_ALIVE:
        peer.setsockopt(socket.IPPROTO_TCP, option, value)
