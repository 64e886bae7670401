"""Readers' tokens: who may read which feed."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from forwarder.errors import ForbiddenError, UnauthorizedError
from forwarder.receiver.tokens import check, mint
from forwarder.signing import Signer, Verifier


def bearer(signer: Signer, claims: Any) -> str:
    return f"Bearer {signer.sign(json.dumps(claims).encode()).decode()}"


@pytest.fixture
def verifier(signer: Signer) -> Verifier:
    return Verifier([signer.public("pem")])


@pytest.mark.parametrize("feeds", [["app"], ["*"], ["other", "app"]])
def test_a_token_opens_the_feeds_it_names(signer: Signer, verifier: Verifier, feeds: list[str]) -> None:
    """A feed by its name, or all of them; the scheme may be written in any case."""
    token = mint(signer, feeds)
    check(f"Bearer {token}", "app", verifier, time.time())
    check(f"bearer  {token} ", "app", verifier, time.time())


def test_an_object_has_a_feed_of_its_own(signer: Signer, verifier: Verifier) -> None:
    """Its name is type and id, as in the URL."""
    check(f"Bearer {mint(signer, ['user/7'])}", "user/7", verifier, time.time())


@pytest.mark.parametrize("claims", [{}, {"other": True}, {"app": False}, {"app": 1}, {"app": "true"}, {"*": "true"}])
def test_a_token_for_something_else_is_forbidden(signer: Signer, verifier: Verifier, claims: dict[str, Any]) -> None:
    """Nothing but `true` opens a feed."""
    with pytest.raises(ForbiddenError, match="'app'"):
        check(bearer(signer, {"exp": 100.5, **claims}), "app", verifier, 100)


@pytest.mark.parametrize(
    ("claims", "problem"),
    [
        ({"*": True}, "exp is missing"),
        ({"*": True, "exp": "2100"}, "exp is missing"),
        ({"*": True, "exp": True}, "exp is missing"),
        ({"*": True, "exp": 100}, "expired"),
        ([], "not a JSON object"),
    ],
)
def test_a_token_must_say_when_it_ends(signer: Signer, verifier: Verifier, claims: Any, problem: str) -> None:
    """`exp` is required and is the first moment at which the token is void."""
    with pytest.raises(UnauthorizedError, match=problem):
        check(bearer(signer, claims), "app", verifier, 100)


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic eDp5", "Bearer x", "Bearer a.b.c", "Bearer \udcff"])
def test_what_is_no_token_is_unauthorized(verifier: Verifier, header: str) -> None:
    """A header of any other form is refused."""
    with pytest.raises(UnauthorizedError, match="token"):
        check(header, "app", verifier, 0)


def test_the_token_of_a_stranger_is_unauthorized(stranger: Signer, verifier: Verifier) -> None:
    """The signature must be that of a known key."""
    with pytest.raises(UnauthorizedError, match="signature"):
        check(f"Bearer {mint(stranger)}", "app", verifier, time.time())


def test_a_minted_token_expires(signer: Signer, verifier: Verifier) -> None:
    """After the time that was asked for, and not before."""
    header = f"Bearer {mint(signer, expires_in=60)}"
    check(header, "app", verifier, time.time() + 50)
    with pytest.raises(UnauthorizedError, match="expired"):
        check(header, "app", verifier, time.time() + 61)
