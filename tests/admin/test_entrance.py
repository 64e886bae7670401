"""Who may do what at an admin address."""

from __future__ import annotations

import pytest

from forwarder.admin.entrance import Need, Role, Terms
from forwarder.errors import ForbiddenError, UnauthorizedError
from forwarder.model import Address
from forwarder.web.reach import Reach
from tests.admin.serving import entrance

UNIX = Address(path="/run/forwarder/admin.sock")
LOOPBACK = Address(host="127.0.0.1", port=7711)
BOTH = Terms("operator", "viewer")


@pytest.mark.parametrize(
    ("address", "reach", "terms", "token", "role"),
    [
        # Whoever may open the socket is an operator, unless a token is configured.
        (UNIX, Reach.FILE, Terms(), None, Role.OPERATOR),
        (UNIX, Reach.FILE, Terms(None, "viewer"), None, Role.OPERATOR),
        (UNIX, Reach.FILE, Terms(None, "viewer"), "viewer", Role.VIEWER),
        (UNIX, Reach.FILE, Terms("operator"), None, None),
        (UNIX, Reach.FILE, Terms("operator"), "operator", Role.OPERATOR),
        # Everybody may open this one.
        (UNIX, Reach.MACHINE, Terms(), None, Role.VIEWER),
        # Over TCP a token decides; people of this machine look where there is none at all.
        (LOOPBACK, Reach.MACHINE, Terms(), None, Role.VIEWER),
        (LOOPBACK, Reach.MACHINE, Terms(None, "viewer"), None, None),
        (LOOPBACK, Reach.MACHINE, Terms(None, "viewer"), "viewer", Role.VIEWER),
        (LOOPBACK, Reach.MACHINE, BOTH, None, None),
        (LOOPBACK, Reach.MACHINE, BOTH, "viewer", Role.VIEWER),
        (LOOPBACK, Reach.MACHINE, BOTH, "operator", Role.OPERATOR),
        (LOOPBACK, Reach.MACHINE, BOTH, "wrong", None),
        # An address for viewers.
        (UNIX, Reach.FILE, Terms(viewers_only=True), None, Role.VIEWER),
        (UNIX, Reach.FILE, Terms("operator", viewers_only=True), None, Role.VIEWER),
        (UNIX, Reach.FILE, Terms("operator", viewers_only=True), "operator", Role.VIEWER),
        (UNIX, Reach.FILE, Terms("operator", "viewer", viewers_only=True), None, None),
        (LOOPBACK, Reach.MACHINE, Terms("operator", "viewer", viewers_only=True), "viewer", Role.VIEWER),
        (LOOPBACK, Reach.MACHINE, Terms("operator", "viewer", viewers_only=True), "operator", Role.VIEWER),
    ],
)
def test_who_is_who(address: Address, reach: Reach, terms: Terms, token: str | None, role: Role | None) -> None:
    """An operator is known by a token or by the socket, a viewer by the other token or where nobody needs one."""
    place = entrance(address, reach, terms)
    rights = place.rights(None if token is None else place.bearer(token))
    assert rights.role is role
    assert rights.may_act is rights.sees_events is (role is Role.OPERATOR)
    assert (rights.why_not is None) is rights.may_act


def test_what_a_viewer_may() -> None:
    """A viewer looks, and is told why the rest is refused and what would help."""
    place = entrance(LOOPBACK, Reach.MACHINE, BOTH)
    rights = place.rights(Role.VIEWER)
    rights.require(Need.NOTHING)
    rights.require(Need.LOOK)
    for need in (Need.SEE_EVENTS, Need.ACT, Need.RELOAD):
        with pytest.raises(ForbiddenError, match="viewers' token") as caught:
            rights.require(need)
        assert "admin.token_file" in caught.value.hint
    assert rights.can_log_in


def test_what_nobody_may() -> None:
    """Somebody without the token that is wanted gets nothing but what reveals nothing."""
    rights = entrance(LOOPBACK, Reach.MACHINE, BOTH).rights(None)
    rights.require(Need.NOTHING)
    for need in (Need.LOOK, Need.SEE_EVENTS, Need.ACT, Need.RELOAD):
        with pytest.raises(UnauthorizedError):
            rights.require(need)
    assert rights.can_log_in


def test_read_only() -> None:
    """Nobody acts in a daemon that is read-only; operators still see events, and over the unix socket they reload."""
    for address, reach, may_reload in ((UNIX, Reach.FILE, True), (LOOPBACK, Reach.MACHINE, False)):
        rights = entrance(address, reach, Terms("operator", read_only=True)).rights(Role.OPERATOR)
        rights.require(Need.SEE_EVENTS)
        with pytest.raises(ForbiddenError, match=r"admin\.read_only is set") as caught:
            rights.require(Need.ACT)
        assert caught.value.hint == "set admin.read_only to false and reload"
        assert rights.may_reload is may_reload
        assert not rights.can_log_in
    viewer = entrance(UNIX, Reach.FILE, Terms(viewers_only=True, read_only=True)).rights(None)
    assert not viewer.may_reload


def test_at_an_address_for_viewers_no_token_helps() -> None:
    """There is nothing to log in for where everybody is a viewer already."""
    assert not entrance(UNIX, Reach.FILE, Terms("operator", viewers_only=True)).rights(None).can_log_in
    assert entrance(UNIX, Reach.FILE, Terms("operator", "viewer", viewers_only=True)).rights(None).can_log_in


def test_a_token_of_any_bytes_is_merely_wrong() -> None:
    """What is no text is compared, too."""
    place = entrance(LOOPBACK, Reach.MACHINE, BOTH)
    assert place.bearer("operato\udcff") is None
    assert not entrance(LOOPBACK, Reach.MACHINE, Terms()).knows_tokens


def test_other_terms_after_a_reload() -> None:
    """A changed rule holds from the next request on."""
    place = entrance(LOOPBACK, Reach.MACHINE, Terms("old"))
    place.change(Terms("new"), frozenset())
    assert (place.bearer("old"), place.bearer("new")) == (None, Role.OPERATOR)
