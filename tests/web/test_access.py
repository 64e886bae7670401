"""Who may come in."""

from __future__ import annotations

import os
import socket

import pytest
from aiohttp.test_utils import make_mocked_request

from forwarder.errors import ForbiddenError, UnauthorizedError
from forwarder.model import Address
from forwarder.web.access import Access
from forwarder.web.reach import Reach

UNIX = Address(path="/run/forwarder/http.sock")
LOOPBACK = Address(host="127.0.0.1", port=7710)
ME = frozenset({os.getuid()})
SOMEBODY_ELSE = frozenset({os.getuid() + 1})


def access(address: Address = LOOPBACK, token: str | None = None, uids: frozenset[int] = frozenset()) -> Access:
    reach = Reach.FILE if address.is_unix else Reach.MACHINE if address.is_loopback else Reach.NETWORK
    return Access(address, reach, token=token, allow_uids=uids)


def pages(address: Address) -> Access:
    """Return the rule for an address that serves pages of our own."""
    reach = Reach.FILE if address.is_unix else Reach.MACHINE if address.is_loopback else Reach.NETWORK
    return Access(address, reach, token=None, allow_uids=frozenset(), section="admin", has_pages=True)


def fetch(site: str, mode: str) -> None:
    """Let a browser knock at an address with pages that says how its request came about."""
    fields = {"Host": "localhost", "Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode}
    pages(LOOPBACK).check(fields, None)


def check(rule: Access, *, without_token: bool = False, **headers: str) -> None:
    """Let a request with these headers knock."""
    request = make_mocked_request("POST", "/v1/events", headers=headers)
    rule.check(request.headers, request.transport, without_token=without_token)


class TestBrowsers:
    @pytest.mark.parametrize("address", [UNIX, LOOPBACK, Address(host="10.0.0.1", port=7710)])
    @pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:7710"])
    def test_an_origin_is_refused(self, address: Address, origin: str) -> None:
        """A request with an Origin comes from a browser and is refused everywhere."""
        with pytest.raises(ForbiddenError, match="requests from browsers are refused") as caught:
            check(access(address), Origin=origin)
        assert caught.value.hint

    @pytest.mark.parametrize(
        "host",
        [
            "localhost",
            "LOCALHOST:7710",
            "localhost.:7710",
            "a.localhost",
            "127.0.0.1:7710",
            "[::1]:7710",
            "[::1]",
            "10.1.2.3",
        ],
    )
    def test_our_own_names(self, host: str) -> None:
        """Our own names, and addresses, are good hosts: rebinding needs a name."""
        check(access(), Host=host)

    @pytest.mark.parametrize(
        "host", ["evil.example", "evil.example:7710", "localhost.evil.example", "1.2.3.4.evil.example", ""]
    )
    def test_rebinding(self, host: str) -> None:
        """On a loopback address, a Host that is another name is refused."""
        with pytest.raises(ForbiddenError, match="is not this address") as caught:
            check(access(), Host=host)
        assert caught.value.hint == "use 127.0.0.1 or localhost as the host of the URL"

    def test_the_socket_decides(self) -> None:
        """Names are checked where the socket is one of this machine, whatever its address is called."""
        name = Address(host="forwarder.example", port=7710)
        here = Access(name, Reach.MACHINE, token=None, allow_uids=frozenset())
        check(here, Host="forwarder.example:7710")
        with pytest.raises(ForbiddenError, match="is not this address"):
            check(here, Host="evil.example")
        check(Access(LOOPBACK, Reach.NETWORK, token="s", allow_uids=frozenset()), Host="x", Authorization="Bearer s")

    def test_where_the_host_does_not_matter(self) -> None:
        """Elsewhere the Host may be anything: browsers do not reach unix sockets, and other addresses want a token."""
        check(access(UNIX), Host="evil.example")
        check(access(Address(host="0.0.0.0", port=7710)), Host="forwarder.example")
        check(access())


class TestOurOwnPages:
    @pytest.mark.parametrize(
        ("origin", "host"),
        [
            ("http://localhost:7711", "localhost:7711"),
            ("http://LOCALHOST:7711", "localhost:7711"),
            ("http://127.0.0.1", "127.0.0.1"),
            ("http://127.0.0.1", "127.0.0.1:80"),
            ("https://[::1]:443", "[::1]"),
            # A proxy in front of us speaks https.
            ("https://localhost", "localhost"),
        ],
    )
    def test_the_same_origin(self, origin: str, host: str) -> None:
        """A page that was served from the same address may ask."""
        for address in (UNIX, LOOPBACK):
            check(pages(address), Origin=origin, Host=host)

    @pytest.mark.parametrize(
        ("origin", "host"),
        [
            ("null", "localhost:7711"),
            ("", "localhost:7711"),
            ("localhost:7711", "localhost:7711"),
            ("http://localhost:3000", "localhost:7711"),
            ("http://localhost", "localhost:7711"),
            ("http://localhost:7711.evil.example", "localhost:7711"),
            ("http://evil.example", "localhost:7711"),
            ("file://localhost:7711", "localhost:7711"),
        ],
    )
    def test_another_origin(self, origin: str, host: str) -> None:
        """A page from anywhere else is refused, be it another port of the same machine."""
        for address in (UNIX, LOOPBACK, Address(host="10.0.0.1", port=7711)):
            with pytest.raises(ForbiddenError, match="of other sites are refused"):
                check(pages(address), Origin=origin, Host=host)

    def test_an_origin_without_a_host(self) -> None:
        """Where it is not said what was asked, no origin is the same."""
        with pytest.raises(ForbiddenError, match="of other sites are refused"):
            check(pages(UNIX), Origin="http://localhost")

    @pytest.mark.parametrize("site", ["cross-site", "same-site"])
    def test_what_the_browser_says(self, site: str) -> None:
        """What another site embeds has no Origin, but the browser says where it stands; a link is no harm."""
        with pytest.raises(ForbiddenError, match="of other sites are refused"):
            fetch(site, "no-cors")
        fetch(site, "navigate")
        fetch("none", "navigate")
        fetch("same-origin", "cors")

    @pytest.mark.parametrize(
        "host", ["x", "localhost:7711", "forwarder", "%2Frun%2Fadmin.sock", "127.0.0.1:1", "[::1]:1"]
    )
    def test_names_of_a_unix_socket(self, host: str) -> None:
        """Programs call a unix socket what they like, as long as nobody could own that name."""
        check(pages(UNIX), Host=host)

    @pytest.mark.parametrize(
        "host", ["evil.example", "evil.example:7711", "127.0.0.1.evil.example", "localhost.evil.example"]
    )
    def test_rebinding_through_a_tunnel(self, host: str) -> None:
        """A browser reaches a unix socket through a tunnel, and then a name may have been rebound to it."""
        with pytest.raises(ForbiddenError, match="is not this address") as caught:
            check(pages(UNIX), Host=host, Origin=f"http://{host}")
        assert caught.value.hint == "use an IP address or localhost as the host of the URL"


class TestTokens:
    @pytest.mark.parametrize("address", [UNIX, LOOPBACK])
    @pytest.mark.parametrize("header", ["Bearer s3cret", "bearer  s3cret ", "BEARER s3cret"])
    def test_the_right_token(self, address: Address, header: str) -> None:
        """The configured token lets in, whatever the case of the scheme."""
        check(access(address, "s3cret"), Authorization=header)

    @pytest.mark.parametrize(
        ("header", "words"),
        [
            ("Bearer wrong", "is wrong"),
            ("Bearer s3cret2", "is wrong"),
            ("Basic s3cret", "is required"),
            ("s3cret", "is required"),
            ("Bearer", "is required"),
            ("Bearer ", "is required"),
        ],
    )
    def test_a_wrong_token(self, header: str, words: str) -> None:
        """Any other token, or none, is refused, and the message tells which; the token itself is not told."""
        with pytest.raises(UnauthorizedError, match=words) as caught:
            check(access(token="s3cret"), Authorization=header)
        assert "s3cret" not in caught.value.message + caught.value.hint

    def test_a_token_that_is_no_text(self) -> None:
        """A token of any bytes is compared, and is merely wrong."""
        with pytest.raises(UnauthorizedError, match="is wrong"):
            access(token="s3cret").check_token("s3cre\udcff")

    def test_probes(self) -> None:
        """A probe wants no token, and yet must not come from a browser."""
        check(access(token="s3cret"), without_token=True)
        with pytest.raises(ForbiddenError):
            check(access(token="s3cret"), without_token=True, Origin="null")

    def test_no_token_is_configured(self) -> None:
        """Without a configured token, whatever a client sends is good."""
        access().check_token(None)
        access().check_token("any")
        assert not access().wants_token

    def test_another_token_after_a_reload(self) -> None:
        """A changed rule holds from the next request on."""
        rule = access(token="old")
        rule.change(token="new", allow_uids=frozenset())
        check(rule, Authorization="Bearer new")
        with pytest.raises(UnauthorizedError):
            check(rule, Authorization="Bearer old")


class TestRestricted:
    @pytest.mark.parametrize(
        ("address", "reach", "token", "uids", "restricted"),
        [
            (UNIX, Reach.FILE, None, frozenset[int](), True),
            (UNIX, Reach.MACHINE, None, frozenset[int](), False),
            (UNIX, Reach.MACHINE, None, ME, True),
            (UNIX, Reach.MACHINE, "s3cret", frozenset[int](), True),
            (LOOPBACK, Reach.MACHINE, None, frozenset[int](), False),
            (LOOPBACK, Reach.MACHINE, None, ME, False),
            (LOOPBACK, Reach.MACHINE, "s3cret", frozenset[int](), True),
            (LOOPBACK, Reach.NETWORK, None, frozenset[int](), False),
        ],
    )
    def test_who_is_chosen(
        self, address: Address, reach: Reach, token: str | None, uids: frozenset[int], restricted: bool
    ) -> None:
        """A mode, a list of users or a token chooses who comes in; user ids are not known over TCP."""
        assert Access(address, reach, token=token, allow_uids=uids).is_restricted is restricted

    def test_after_a_reload(self) -> None:
        """A token that goes leaves the address open to all."""
        rule = access(token="old")
        rule.change(token=None, allow_uids=ME)
        assert not rule.is_restricted


class TestPeers:
    def test_user_ids(self) -> None:
        """On a unix socket the kernel says who is at the other end, and only allowed users get in."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            access(UNIX, uids=ME).check_peer(ours)
            with pytest.raises(ForbiddenError, match=f"user id {os.getuid()} may not send here") as caught:
                access(UNIX, uids=SOMEBODY_ELSE).check_peer(ours)
            assert "ingest.allow_uids" in caught.value.hint
            rule = Access(UNIX, Reach.FILE, token=None, allow_uids=SOMEBODY_ELSE, section="admin")
            with pytest.raises(ForbiddenError, match=f"user id {os.getuid()} may not connect here") as caught:
                rule.check_peer(ours)
            assert caught.value.hint == "add it to admin.allow_uids"

    def test_a_peer_that_is_gone(self) -> None:
        """Where it cannot be known any more who sent something, it is refused."""
        ours, theirs = socket.socketpair()
        ours.close()
        theirs.close()
        for peer in (ours, None):
            with pytest.raises(ForbiddenError, match="hung up before its user id could be checked"):
                access(UNIX, uids=ME).check_peer(peer)

    def test_where_user_ids_do_not_matter(self) -> None:
        """Without a list, and over TCP, user ids are not asked for."""
        access(UNIX).check_peer(None)
        access(LOOPBACK, uids=SOMEBODY_ELSE).check_peer(None)
