"""Who may do what at an admin address: operators act, viewers look, and a token, a socket or neither says who is who.

At a unix socket of `admin.listen` whoever may open it is an operator, unless there is an operator's token,
which is then needed. Everywhere else a token decides: the operator's or the viewers'. Without one, people
who only share the machine are viewers, as long as no token is configured at all. At an address of
`admin.viewer_listen` everybody is a viewer, whatever token they have.

Viewers never see the contents of events, nor texts that may repeat them. In a daemon that is read-only,
operators do not act either.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from forwarder.errors import ForbiddenError, UnauthorizedError
from forwarder.web.access import Access


class Role(StrEnum):
    """Who somebody is."""

    OPERATOR = "operator"
    VIEWER = "viewer"


class Need(IntEnum):
    """What a request needs its sender to be allowed to."""

    NOTHING = 0
    """Nothing: it reveals nothing but that the daemon runs."""
    LOOK = 1
    SEE_EVENTS = 2
    """See contents of events, or what may repeat them."""
    ACT = 3
    RELOAD = 4
    """Make the daemon read its configuration, which whoever may write that configuration may do, if it is read-only."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What is configured for an address; a token that is None is not configured."""

    operator_token: str | None = None
    viewer_token: str | None = None
    viewers_only: bool = False
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Rights:
    """What the sender of a request may do; `role` is None for somebody who has yet to show a token."""

    role: Role | None
    may_act: bool
    may_reload: bool
    can_log_in: bool
    """Whether showing a token would give more rights."""
    why_not: str | None
    """Why the sender may not act, in words for people."""

    @property
    def sees_events(self) -> bool:
        return self.role is Role.OPERATOR

    def require(self, need: Need) -> None:
        """Raise UnauthorizedError or ForbiddenError unless the sender may do what is needed."""
        if need is Need.NOTHING:
            return
        if self.role is None:
            raise UnauthorizedError(
                "a bearer token is required", hint="send the header Authorization: Bearer TOKEN, or log in on the page"
            )
        allowed = {
            Need.LOOK: True,
            Need.SEE_EVENTS: self.sees_events,
            Need.ACT: self.may_act,
            Need.RELOAD: self.may_reload,
        }
        if not allowed[need]:
            raise ForbiddenError(self.why_not or _ONLY_VIEWERS, hint=_HINTS.get(self.why_not or "", ""))


_READ_ONLY = "nobody may act: admin.read_only is set"
_ONLY_VIEWERS = "this address is for viewers: they may only look, and see no events"
_VIEWERS_TOKEN = "the viewers' token lets its bearer only look, and see no events"  # noqa: S105
_NO_TOKEN = "without a token, clients of this address may only look, and see no events"  # noqa: S105
_LOG_IN = "log in to look or act"
_HINTS = {
    _READ_ONLY: "set admin.read_only to false and reload",
    _ONLY_VIEWERS: "use an address of admin.listen",
    _VIEWERS_TOKEN: "use the operator's token, of admin.token_file",
    _NO_TOKEN: "use the unix socket of admin.listen, or set admin.token_file and send its token",
}


class Entrance:
    """The rights at one admin address; `access` says who may connect to it at all."""

    def __init__(self, access: Access, terms: Terms) -> None:
        self.access = access
        self._terms = terms

    def change(self, terms: Terms, allow_uids: frozenset[int]) -> None:
        """Apply other terms, and other user ids, from the next request on."""
        self.access.change(token=None, allow_uids=allow_uids)
        self._terms = terms

    @property
    def knows_tokens(self) -> bool:
        """Whether a token can be shown here."""
        return self._terms.operator_token is not None or self._terms.viewer_token is not None

    def bearer(self, token: str) -> Role | None:
        """Return whose token this is; None if it is nobody's. It takes equally long for every wrong token."""
        shown = token.encode("utf-8", "surrogateescape")
        found: Role | None = None
        for role, known in ((Role.VIEWER, self._terms.viewer_token), (Role.OPERATOR, self._terms.operator_token)):
            if known is not None and hmac.compare_digest(shown, known.encode()):
                found = role
        return found

    def rights(self, bearer: Role | None) -> Rights:
        """Return the rights of somebody who has shown the token of `bearer`, or none at all."""
        terms, role = self._terms, self._role(bearer)
        may_act = role is Role.OPERATOR and not terms.read_only
        return Rights(
            role=role,
            may_act=may_act,
            may_reload=may_act or (role is Role.OPERATOR and self.access.is_unix),
            can_log_in=role is None
            or (role is Role.VIEWER and terms.operator_token is not None and not terms.viewers_only),
            why_not=None if may_act else self._why_not(role, bearer),
        )

    def _role(self, bearer: Role | None) -> Role | None:
        terms = self._terms
        if terms.viewers_only:
            return Role.VIEWER if bearer is not None or terms.viewer_token is None else None
        if bearer is not None:
            return bearer
        if terms.operator_token is not None:
            return None
        if self.access.is_restricted:
            return Role.OPERATOR
        return Role.VIEWER if terms.viewer_token is None else None

    def _why_not(self, role: Role | None, bearer: Role | None) -> str:
        if role is None:
            return _LOG_IN
        if self._terms.viewers_only:
            return _ONLY_VIEWERS
        if role is Role.OPERATOR:
            return _READ_ONLY
        return _NO_TOKEN if bearer is None else _VIEWERS_TOKEN
