"""A connection to the first of several addresses that answers (Happy Eyeballs, RFC 8305).

Families take turns, so that a broken IPv6 costs a quarter of a second and not the whole timeout.
Addresses are tried one after the other, each as soon as the one before has failed or has not
answered in time; the first to answer is taken, and the others are let go.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Sequence
from itertools import chain, zip_longest

from forwarder.destination.http_put.resolver import Address

# "Connection Attempt Delay", in seconds, as RFC 8305, section 5, recommends it.
_DELAY = 0.25


class DialError(Exception):
    """No address answered; `errors` says why, for each."""

    def __init__(self, errors: list[OSError]) -> None:
        super().__init__()
        self.errors = errors


async def dial(addresses: Sequence[Address], *, delay: float = _DELAY) -> socket.socket:
    """Return a socket that is connected. Raises DialError."""
    waiting = in_turns(addresses)[::-1]
    trying: set[asyncio.Task[socket.socket]] = set()
    errors: list[OSError] = []
    try:
        while waiting or trying:
            if waiting:
                trying.add(asyncio.create_task(_connect(waiting.pop())))
            done, trying = await asyncio.wait(
                trying, timeout=delay if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            found = None
            for task in done:
                error = task.exception()
                if error is None and found is None:
                    found = task.result()
                elif error is None:
                    task.result().close()
                elif isinstance(error, OSError):
                    errors.append(error)
                else:
                    raise error
            if found is not None:
                return found
    finally:
        for task in trying:
            if not task.cancel() and task.exception() is None:
                task.result().close()
    raise DialError(errors)


def in_turns(addresses: Sequence[Address]) -> list[Address]:
    """Return addresses in the order in which they are tried: the two families in turn, beginning with the first."""
    if not addresses:
        return []
    first = addresses[0].family
    families = (
        [address for address in addresses if address.family == first],
        [address for address in addresses if address.family != first],
    )
    return [address for address in chain.from_iterable(zip_longest(*families)) if address is not None]


async def _connect(address: Address) -> socket.socket:
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        code = sock.connect_ex(address.sockaddr)
        if code == errno.EINPROGRESS:
            await _writable(sock)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        _check(code)
    except BaseException:
        sock.close()
        raise
    return sock


def _check(code: int) -> None:
    if code:
        raise OSError(code, os.strerror(code))


async def _writable(sock: socket.socket) -> None:
    """Wait until a socket is connected, or has failed to be."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_writer(sock.fileno(), ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(sock.fileno())
