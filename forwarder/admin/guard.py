"""Let a request in or refuse it: from a page of ours, with the right token or session, and the rights that it needs.

A token is shown in the `Authorization` header, or once on the login form, which makes a session of it. A page
that acts must also send a header of ours: no other site can make a browser do that, as the browser would have
to ask first, and nothing here permits it (https://fetch.spec.whatwg.org/#cors-preflight-fetch).

Whoever shows too many wrong tokens gets the answer late. Beyond so many late answers at once to the same peer,
tokens are not even compared, so guessing has a top speed; the right token is refused only in that case.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from forwarder.admin.acts import peer_of
from forwarder.admin.entrance import Entrance, Need, Rights, Role
from forwarder.admin.guesses import Guesses
from forwarder.admin.sessions import LIFETIME, Sessions
from forwarder.errors import ForbiddenError, TooManyGuessesError, UnauthorizedError
from forwarder.observe.conditions import Conditions
from forwarder.web.access import bearer

ACT_HEADER: Final = "X-Forwarder-Act"
# Seconds for which the answer to one wrong token too many is held back, and how many such answers to one peer are held
# back at the same time: together they allow 128 guesses a second, which takes ages for any token worth its name.
_LATE_SECONDS: Final = 0.5
_LATE_ANSWERS: Final = 64
# Seconds after the last wrong token at which the guessing counts as over.
_CALM_SECONDS: Final = 60.0
_READING: Final = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})

Allowed = Callable[[web.Request, Rights], Awaitable[web.StreamResponse]]


class Guard:
    """Guards the addresses of one daemon, which have their sessions in common."""

    def __init__(self, conditions: Conditions, clock: Callable[[], float] = time.monotonic) -> None:
        self._conditions = conditions
        self._clock = clock
        self._sessions = Sessions(self._clock)
        self._guesses = Guesses()
        self._late: Counter[str] = Counter()
        self._calm: asyncio.TimerHandle | None = None

    def allow(self, entrance: Entrance, need: Need, handler: Allowed) -> Handler:
        """Return a handler that calls this one only for those who may do what it does."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            rights = await self.rights(entrance, request, need)
            return await handler(request, rights)

        return guarded

    async def rights(self, entrance: Entrance, request: web.Request, need: Need = Need.NOTHING) -> Rights:
        """Return the rights of whoever sent a request; raises an error if they are not enough."""
        found = entrance.rights(await self._bearer(entrance, request, is_strict=need is not Need.NOTHING))
        found.require(need)
        if need >= Need.ACT and _is_from_page(request) and request.headers.get(ACT_HEADER) != "1":
            raise ForbiddenError(
                "a page that acts has to send a header that no other site can send", hint=f"send {ACT_HEADER}: 1"
            )
        return found

    async def bearer_rights(self, entrance: Entrance, request: web.Request) -> Rights:
        """Return the rights of whoever sent a token. Raises UnauthorizedError or TooManyGuessesError."""
        return entrance.rights(await self._bearer(entrance, request, is_strict=True))

    async def _bearer(self, entrance: Entrance, request: web.Request, *, is_strict: bool) -> Role | None:
        token = bearer(request.headers.get(hdrs.AUTHORIZATION, ""))
        if token is None:
            token = self._session_token(request)
            return None if token is None else entrance.bearer(token)
        # A probe with an old token is answered all the same.
        return await self._compare(entrance, request, token) if is_strict and entrance.knows_tokens else None

    async def _compare(self, entrance: Entrance, request: web.Request, token: str) -> Role:
        """Return whose token this is. Raises UnauthorizedError or TooManyGuessesError."""
        peer = _peer(request)
        if self._late[peer] >= _LATE_ANSWERS:
            raise TooManyGuessesError("too many wrong tokens came from here")
        found = entrance.bearer(token)
        if found is not None:
            return found
        if not self._guesses.wrong(peer, self._clock()):
            raise UnauthorizedError("the bearer token is wrong", hint="use the token of the configured token_file")
        self._warn(peer)
        self._late[peer] += 1
        try:
            await asyncio.sleep(_LATE_SECONDS)
        finally:
            self._late[peer] -= 1
            if not self._late[peer]:
                del self._late[peer]
        raise TooManyGuessesError("too many wrong tokens came from here", hint="the right one is taken at any time")

    def _warn(self, peer: str) -> None:
        """Tell operators that somebody shows wrong tokens, until nobody has for a while."""
        self._conditions.set("admin.wrong_tokens", f"many wrong tokens come from {peer}")
        if self._calm is not None:
            self._calm.cancel()
        loop = asyncio.get_running_loop()
        self._calm = loop.call_later(_CALM_SECONDS, self._conditions.set, "admin.wrong_tokens", None)

    # --- sessions ------------------------------------------------------------------------------

    async def log_in(self, entrance: Entrance, request: web.Request, token: str, response: web.Response) -> Rights:
        """Give the browser a session for its token. Raises UnauthorizedError, TooManyGuessesError or ForbiddenError."""
        if not entrance.knows_tokens:
            raise ForbiddenError(
                "there is nothing to log in with: no token is configured", hint="set admin.token_file and reload"
            )
        role = await self._compare(entrance, request, token)
        response.set_cookie(
            _cookie(request),
            self._sessions.open(token),
            max_age=int(LIFETIME),
            httponly=True,
            samesite="Strict",
            secure=request.headers.get(hdrs.X_FORWARDED_PROTO) == "https",
        )
        return entrance.rights(role)

    def has_session(self, request: web.Request) -> bool:
        """Return whether a browser has logged in and not been logged out since."""
        return self._session_token(request) is not None

    def _session_token(self, request: web.Request) -> str | None:
        number = request.cookies.get(_cookie(request))
        return None if number is None else self._sessions.token(number)

    def log_out(self, request: web.Request, response: web.Response) -> None:
        """End the session of a browser."""
        name = _cookie(request)
        if name in request.cookies:
            self._sessions.close(request.cookies[name])
            response.del_cookie(name, httponly=True, samesite="Strict")


def _is_from_page(request: web.Request) -> bool:
    """Return whether a browser may have sent this on behalf of a page; one never adds a token by itself."""
    if hdrs.AUTHORIZATION in request.headers:
        return False
    return any(name in request.headers for name in (hdrs.ORIGIN, hdrs.COOKIE, "Sec-Fetch-Site"))


def _cookie(request: web.Request) -> str:
    """Return the name of the cookie; cookies do not tell ports apart, and there may be a forwarder at another one."""
    port = request.host.rpartition(":")[2]
    return f"forwarder_session_{port}" if port.isdigit() else "forwarder_session"


def _peer(request: web.Request) -> str:
    """Return the name by which wrong tokens are counted: a machine, or a user of this one."""
    who = peer_of(request.transport)
    return str(who["peer"]).rpartition(":")[0] if "peer" in who else f"user id {who.get('uid', 'unknown')}"
