"""The way to a destination: its name, or its proxy's, an address, a tunnel, TLS."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from forwarder.destination.http_put.connection import Connection
from forwarder.destination.http_put.dialing import DialError, dial
from forwarder.destination.http_put.endpoint import Endpoint, request_head
from forwarder.destination.http_put.failure import NoAnswerError, not_connected, not_resolved
from forwarder.destination.http_put.reply import Reply
from forwarder.destination.http_put.resolver import Address, Lookup, Resolver, look_up


@dataclass(slots=True)
class Progress:
    """How far an attempt has come."""

    lacks: str = "no connection"
    """What is being waited for, as a sentence to which "within … s" can be added."""
    reply: Reply | None = None
    """What has arrived of an answer; None as long as the request was not begun."""
    is_repeated: bool = False
    """Whether the request went out once before, over a kept connection that ended: it may have been taken then."""


class Route:
    """Makes connections to one destination, through its proxy where it has one."""

    def __init__(
        self,
        destination: Endpoint,
        proxy: Endpoint | None,
        context: ssl.SSLContext,
        *,
        user_agent: str,
        lookup: Lookup = look_up,
    ) -> None:
        self._destination = destination
        self._proxy = proxy
        self._next = proxy or destination
        self._context = context
        self._user_agent = user_agent
        self._literal = _literal(self._next)
        self._resolver = Resolver(self._next.host, self._next.port, lookup)

    @property
    def words(self) -> str:
        """Host and port of the destination, and of the proxy on the way."""
        return self._destination.where + (f" through the proxy {self._proxy.where}" if self._proxy else "")

    def forget(self) -> None:
        """Resolve the name anew for the next connection."""
        self._resolver.forget()

    async def connect(self, progress: Progress, on_lost: Callable[[Connection], None]) -> Connection:
        """Return a silent connection, over which a request to the destination can be sent. Raises NoAnswerError."""
        sock = await self._dial(progress)
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: Connection(self._next.where, sock, on_lost), sock=sock
            )
        except BaseException:
            sock.close()
            raise
        try:
            if self._next.is_secure:
                await self._secure(connection, self._next, progress)
            if self._proxy is not None and self._destination.is_secure:
                await self._tunnel(connection, self._proxy, progress)
                await self._secure(connection, self._destination, progress)
            await connection.require_silent()
        except BaseException:
            connection.abort()
            raise
        progress.lacks = "no answer"
        return connection

    async def _dial(self, progress: Progress) -> socket.socket:
        where = self._next.where
        progress.lacks = f"{self._next.host} was not resolved"
        try:
            addresses = self._literal or await self._resolver.addresses()
        except OSError as error:
            raise not_resolved(self._next.host, error) from error
        progress.lacks = f"{where} took no connection"
        try:
            return await dial(addresses)
        except DialError as error:
            raise not_connected(where, error.errors) from error

    async def _secure(self, connection: Connection, endpoint: Endpoint, progress: Progress) -> None:
        progress.lacks = f"{endpoint.where} did not end the TLS handshake"
        # The dot at the end of a fully qualified name is in no certificate.
        await connection.secure(self._context, endpoint.host.rstrip("."), endpoint.where)

    async def _tunnel(self, connection: Connection, proxy: Endpoint, progress: Progress) -> None:
        """Let the proxy pass on what is sent (CONNECT, RFC 9110, section 9.3.6)."""
        progress.lacks = f"the proxy {proxy.where} did not open a tunnel"
        where = self._destination.where
        fields = {"Host": where, "User-Agent": self._user_agent, **proxy.authorization()}
        reply = Reply(to_connect=True)
        try:
            await connection.require_silent()
            await connection.exchange(request_head("CONNECT", where, fields) + b"\r\n", b"", reply)
        except NoAnswerError as error:
            raise NoAnswerError(f"the proxy {proxy.where} opened no tunnel: {error}") from error
        if reply.status is None or reply.status // 100 != 2:
            raise NoAnswerError(f"the proxy answered {reply.status} {reply.reason}")
        if not reply.may_keep:
            raise NoAnswerError(f"{self._next.where} spoke before it was asked")


def _literal(endpoint: Endpoint) -> list[Address] | None:
    """Return the address that a URL has in place of a name; one with a zone is left to the resolver."""
    try:
        address = ipaddress.ip_address(endpoint.host)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv4Address):
        return [Address(socket.AF_INET, (endpoint.host, endpoint.port))]
    return None if address.scope_id else [Address(socket.AF_INET6, (endpoint.host, endpoint.port, 0, 0))]
