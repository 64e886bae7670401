"""Tell a page who is looking at it, log people in and out: `/v1/session`."""

from __future__ import annotations

import msgspec
from aiohttp import hdrs, web

from forwarder.admin.entrance import Entrance, Rights, Role
from forwarder.admin.guard import Guard
from forwarder.errors import MalformedError


class SessionState(msgspec.Struct):
    """Who sent the request, and what they may do."""

    role: Role | None
    """Null for somebody who has to log in before they see anything."""
    may_act: bool
    sees_events: bool
    login: bool
    """Whether logging in would give more rights."""
    why_not: str | None
    """Why they may not act, in words for people."""
    logged_in: bool
    """Whether they have a session, which can be ended."""


class _LoggingIn(msgspec.Struct, forbid_unknown_fields=True):
    token: str


class Login:
    """The sessions at one address."""

    def __init__(self, guard: Guard, entrance: Entrance) -> None:
        self._guard = guard
        self._entrance = entrance

    async def tell(self, request: web.Request, rights: Rights) -> web.Response:
        if hdrs.AUTHORIZATION in request.headers:
            # A program asks whether its token is right.
            rights = await self._guard.bearer_rights(self._entrance, request)
        return _answer(web.Response(), rights, logged_in=self._guard.has_session(request))

    async def log_in(self, request: web.Request, _rights: Rights) -> web.Response:
        try:
            shown = msgspec.json.decode(await request.read(), type=_LoggingIn)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            # The error's own words may repeat a part of the token.
            raise MalformedError("the token cannot be read", hint='send {"token": "…"}') from None
        response = web.Response()
        rights = await self._guard.log_in(self._entrance, request, shown.token.strip(), response)
        return _answer(response, rights, logged_in=True)

    async def log_out(self, request: web.Request, _rights: Rights) -> web.Response:
        response = web.Response()
        self._guard.log_out(request, response)
        return _answer(response, self._entrance.rights(None), logged_in=False)


def _answer(response: web.Response, rights: Rights, *, logged_in: bool) -> web.Response:
    state = SessionState(
        rights.role, rights.may_act, rights.sees_events, rights.can_log_in, rights.why_not, logged_in=logged_in
    )
    response.body = msgspec.json.encode(state)
    response.content_type = "application/json"
    return response
