"""Take an address to listen at, or say why it cannot be had."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from pathlib import Path

from aiohttp import web

from forwarder.errors import NotReachableError
from forwarder.model import Address


async def listen(runner: web.AppRunner, address: Address) -> Address:
    """Start `runner` at an address; return it with the port that was taken. Raises NotReachableError."""
    await runner.setup()
    try:
        if address.path is not None:
            _make_way(Path(address.path))
            site: web.BaseSite = web.UnixSite(runner, address.path)
        else:
            site = web.TCPSite(runner, address.host, address.port)
        await site.start()
    except OSError as error:
        raise _not_available(address, error) from None
    if address.path is not None:
        return address
    return Address(host=address.host, port=runner.addresses[0][1])


def leave(address: Address) -> None:
    """Remove the socket of a unix address, which asyncio does from Python 3.13 on only."""
    if address.path is not None:
        Path(address.path).unlink(missing_ok=True)


def _make_way(path: Path) -> None:
    """Remove a socket that a process that died has left behind; one in use stays, and so does any other file."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(errno.EEXIST, "there is a file that is not a socket", str(path))
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1)
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
            else:
                raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _not_available(address: Address, error: OSError) -> NotReachableError:
    if error.errno == errno.EADDRINUSE:
        what = f"src {address.path}" if address.is_unix else f"'sport = :{address.port}'"
        command = f"ss -{'x' if address.is_unix else 't'}lnp {what}"
        return NotReachableError(
            f"{address}: another process listens there", hint=f"find it with {command}, or use --listen tcp:127.0.0.1:0"
        )
    # asyncio puts its own words in front of the system's, and they name the address once more.
    known = error.errno is not None and error.errno in errno.errorcode
    reason = os.strerror(error.errno or 0) if known else error.strerror or str(error)
    return NotReachableError(f"{address}: {reason}", hint="choose another address with --listen")
