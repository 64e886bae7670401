"""Decide who may connect to an address: by user id and token, and never somebody else's web page.

The rules depend on who can reach the bound socket (see `reach`), not on what its address is called. A
web page can make a browser post to any address that the browser reaches, so requests from pages are
refused: those with an `Origin`, and, on a loopback TCP address, those whose `Host` is a name other than
ours (DNS rebinding needs a name; an IP address in `Host` is safe).

An address that serves pages of our own (`has_pages`) lets these in: there the `Origin` must be the `Host`
that was asked, and what the browser says of the request (`Sec-Fetch-Site`) must not contradict. A browser
can reach a unix socket through a tunnel, so there, too, the `Host` must not be a name that somebody else
could own.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import re
import socket
from collections.abc import Mapping
from contextlib import suppress

from aiohttp import hdrs

from forwarder.errors import ForbiddenError, UnauthorizedError
from forwarder.model import Address
from forwarder.web.reach import Reach, peer_credentials

# What a browser says of the page that made a request (https://www.w3.org/TR/fetch-metadata/).
_SEC_FETCH_SITE, _SEC_FETCH_MODE = "Sec-Fetch-Site", "Sec-Fetch-Mode"
_OTHER_SITES = frozenset({"cross-site", "same-site"})


class Access:
    """The rule for one listening address; `reach` says who can connect to its socket.

    `allow_uids` restricts unix sockets to these user ids; if it is empty, everybody who may open the
    socket is allowed. `section` is the part of the configuration that the rule comes from, for messages.
    `has_pages` says that web pages of our own are served there.
    """

    def __init__(
        self,
        address: Address,
        reach: Reach,
        *,
        token: str | None,
        allow_uids: frozenset[int],
        section: str = "ingest",
        has_pages: bool = False,
    ) -> None:
        self._address = address
        self._reach = reach
        self._section = section
        self._has_pages = has_pages
        self._check_host = has_pages if address.is_unix else reach is Reach.MACHINE
        self.change(token=token, allow_uids=allow_uids)

    def change(self, *, token: str | None, allow_uids: frozenset[int]) -> None:
        """Apply another token and other user ids from the next request on."""
        self._token = token.encode() if token is not None else None
        self._uids = allow_uids if self._address.is_unix else frozenset[int]()

    def check(
        self, headers: Mapping[str, str], transport: asyncio.BaseTransport | None, *, without_token: bool = False
    ) -> None:
        """Raise ForbiddenError or UnauthorizedError unless a request with these headers is allowed.

        Header names must be spelt as in aiohttp.hdrs; `transport` is that of the connection.
        """
        self._check_origin(headers)
        if self._check_host and not self._is_ours(headers.get(hdrs.HOST)):
            raise ForbiddenError(
                f"the Host header {headers[hdrs.HOST]!r} is not this address",
                hint=f"use {self._address.host or 'an IP address'} or localhost as the host of the URL",
            )
        if self._uids:
            self.check_peer(transport.get_extra_info("socket") if transport is not None else None)
        if self._token is not None and not without_token:
            self.check_token(bearer(headers.get(hdrs.AUTHORIZATION, "")))

    def _check_origin(self, headers: Mapping[str, str]) -> None:
        """Raise ForbiddenError for a request that a page has made, unless it is one of ours."""
        origin = headers.get(hdrs.ORIGIN)
        if origin is not None and not self._has_pages:
            raise ForbiddenError(
                "requests from browsers are refused: the request has an Origin header",
                hint="send it from a program, without an Origin header",
            )
        if not self._has_pages:
            return
        is_foreign = origin is not None and not _is_same(origin, headers.get(hdrs.HOST))
        # Following a link from another page to one of ours is no harm: that page sees nothing of the answer.
        site, mode = headers.get(_SEC_FETCH_SITE), headers.get(_SEC_FETCH_MODE)
        if is_foreign or (site in _OTHER_SITES and mode != "navigate"):
            raise ForbiddenError(
                "requests from pages of other sites are refused",
                hint="open this address itself in the browser, or send the request from a program",
            )

    def check_peer(self, peer: socket.socket | None) -> None:
        """Raise ForbiddenError unless the process at the other end runs as an allowed user.

        None stands for a connection that has already been closed, so that its user can no longer be found out.
        """
        if not self._uids:
            return
        uid = None
        with suppress(OSError):
            uid = peer_credentials(peer)[1] if peer else None
        if uid is None:
            raise ForbiddenError("the client hung up before its user id could be checked")
        if uid not in self._uids:
            what = "send" if self._section == "ingest" else "connect"
            raise ForbiddenError(f"user id {uid} may not {what} here", hint=f"add it to {self._section}.allow_uids")

    @property
    def is_unix(self) -> bool:
        return self._address.is_unix

    @property
    def wants_token(self) -> bool:
        return self._token is not None

    @property
    def is_restricted(self) -> bool:
        """Whether access is limited to people the operator chose, by a token, user ids or the mode of a file."""
        return self._token is not None or bool(self._uids) or self._reach is Reach.FILE

    def check_token(self, token: str | None) -> None:
        """Raise UnauthorizedError unless `token` is the configured one."""
        if self._token is None:
            return
        if token is None:
            raise UnauthorizedError("a bearer token is required", hint="send the header Authorization: Bearer TOKEN")
        if not hmac.compare_digest(token.encode("utf-8", "surrogateescape"), self._token):
            raise UnauthorizedError("the bearer token is wrong", hint="use the token of the configured token_file")

    def _is_ours(self, host: str | None) -> bool:
        if host is None:
            return True
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        name = name.strip("[]").lower().rstrip(".")
        # Programs call a unix socket whatever they like, such as `x` or by its path; nobody can own such a name.
        if self._address.is_unix and not _can_be_owned(name):
            return True
        if name in {"localhost", self._address.host} or name.endswith(".localhost"):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


# A name of the internet's domain name system, or something that looks like one.
_can_be_owned = re.compile(r"[^%/]*[.:][^%/]*").fullmatch


def _is_same(origin: str, host: str | None) -> bool:
    """Return whether an `Origin` is the `Host` that was asked (RFC 6454 §7).

    The scheme is not compared: a proxy in front may speak https where we speak http.
    """
    scheme, separator, place = origin.lower().partition("://")
    port = {"http": ":80", "https": ":443"}.get(scheme)
    if host is None or not separator or port is None:
        return False
    return place.removesuffix(port) == host.lower().removesuffix(port)


def bearer(authorization: str) -> str | None:
    """Return the token of an `Authorization: Bearer` header (RFC 6750 §2.1), or None."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None
