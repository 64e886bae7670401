"""Bearer tokens for reading feeds: each is a JWT (RFC 7519) whose claims name the feeds.

The claims are `exp` and, for each feed, `"<feed>": true`, or `"*": true` for all feeds. A feed is an
`eventSourceId`, or `eventObjectType/eventObjectId`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import msgspec

from forwarder.errors import ForbiddenError, UnauthorizedError, VerificationError
from forwarder.signing import Signer, Verifier

ALL_FEEDS = "*"


def mint(signer: Signer, feeds: Iterable[str] = (ALL_FEEDS,), *, expires_in: float = 3600.0) -> str:
    """Return a token that may read `feeds` for `expires_in` seconds."""
    claims: dict[str, object] = {"exp": int(time.time() + expires_in), **dict.fromkeys(feeds, True)}
    return signer.sign(msgspec.json.encode(claims)).decode()


def check(authorization: str, feed: str, verifier: Verifier, now: float) -> None:
    """Check an Authorization header against a feed at the time `now` in seconds since the epoch.

    Raises UnauthorizedError for an invalid token, ForbiddenError for a valid one that does not name this feed.
    """
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise UnauthorizedError("a bearer token is required: Authorization: Bearer JWT")
    try:
        claims = msgspec.json.decode(
            verifier.verify(token.strip().encode("utf-8", "surrogateescape")).payload, type=dict[str, Any]
        )
    except VerificationError as error:
        raise UnauthorizedError(f"the token: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UnauthorizedError("the token: its claims are not a JSON object") from None
    expires = claims.get("exp")
    if not isinstance(expires, int | float) or isinstance(expires, bool):
        raise UnauthorizedError("the token: the claim exp is missing")
    if expires <= now:
        raise UnauthorizedError("the token: it has expired")
    if claims.get(feed) is not True and claims.get(ALL_FEEDS) is not True:
        raise ForbiddenError(f"the token has no claim {feed!r} or '*'")
