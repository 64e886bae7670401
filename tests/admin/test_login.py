"""Logging in and out over a real socket, as a page does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from forwarder.admin.entrance import Terms
from forwarder.model import Address
from tests.admin.serving import FakeDaemon, Served, serving
from tests.queue.watched import WatchedQueue

ACT = {"X-Forwarder-Act": "1"}
PAUSE = "/v1/destinations/main/pause"


@pytest.fixture
async def tcp() -> AsyncIterator[Served]:
    """An address at which operators and viewers need their tokens."""
    daemon = FakeDaemon(queue := WatchedQueue(), "main")
    address = Address(host="127.0.0.1", port=0)
    async with serving(queue, daemon, address, None, terms=Terms("operator", "viewer")) as served:
        yield served


@pytest.fixture
async def browser(tcp: Served) -> AsyncIterator[aiohttp.ClientSession]:
    """A client that keeps cookies, as our own page has it."""
    url = f"http://127.0.0.1:{tcp.address.port}"
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(url, cookie_jar=jar, headers={"Origin": url}) as session:
        yield session


async def state(browser: aiohttp.ClientSession) -> dict[str, Any]:
    async with browser.get("/v1/session") as response:
        assert response.status == 200
        found: dict[str, Any] = await response.json()
        return found


async def log_in(browser: aiohttp.ClientSession, token: str) -> tuple[int, str]:
    async with browser.post("/v1/session", json={"token": token}) as response:
        return response.status, response.headers.get("Set-Cookie", "")


async def test_an_operator_logs_in_and_out(browser: aiohttp.ClientSession, tcp: Served) -> None:
    """A token given once makes a session that looks and acts, until it ends."""
    assert await state(browser) == {
        "role": None,
        "may_act": False,
        "sees_events": False,
        "login": True,
        "why_not": "log in to look or act",
        "logged_in": False,
    }
    async with browser.get("/v1/status") as response:
        assert response.status == 401
    status, cookie = await log_in(browser, "operator")
    assert status == 200
    assert cookie.startswith(f"forwarder_session_{tcp.address.port}=")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert "operator" not in cookie
    assert (await state(browser))["role"] == "operator"
    assert (await state(browser))["logged_in"]
    async with browser.get("/v1/dead") as response:
        assert response.status == 200
    async with browser.post(PAUSE, headers=ACT) as response:
        assert response.status == 204
    async with browser.delete("/v1/session", headers=ACT) as response:
        assert (await response.json())["role"] is None
    assert not (await state(browser))["logged_in"]
    async with browser.post(PAUSE, headers=ACT) as response:
        assert response.status == 401
    assert tcp.daemon.told == [("pause", "main")]


async def test_a_session_alone_does_not_act(browser: aiohttp.ClientSession, tcp: Served) -> None:
    """The cookie is sent by the browser on its own, so without the header nothing is done."""
    await log_in(browser, "operator")
    for headers in ({}, {"X-Forwarder-Act": "yes"}):
        async with browser.post(PAUSE, headers=headers) as response:
            assert response.status == 403
    assert tcp.daemon.told == []


async def test_a_viewer_looks(browser: aiohttp.ClientSession, tcp: Served) -> None:
    """The viewers' token opens a session that sees no events and does not act."""
    await log_in(browser, "viewer")
    found = await state(browser)
    assert (found["role"], found["may_act"], found["sees_events"], found["login"]) == ("viewer", False, False, True)
    async with browser.get("/v1/status") as response:
        assert response.status == 200
    for method, path in (("POST", PAUSE), ("GET", "/v1/dead"), ("GET", "/v1/destinations/main/queue")):
        async with browser.request(method, path, headers=ACT) as response:
            assert response.status == 403
    assert tcp.daemon.told == []


async def test_a_session_ends_with_its_token(browser: aiohttp.ClientSession, tcp: Served) -> None:
    """Once a reload has put another token in place, sessions of the old one are nobody's."""
    await log_in(browser, "operator")
    tcp.entrance.change(Terms("another", "viewer"), frozenset())
    async with browser.get("/v1/status") as response:
        assert response.status == 401
    assert (await state(browser))["role"] is None


async def test_a_cookie_that_is_none_of_ours(browser: aiohttp.ClientSession, tcp: Served) -> None:
    """A made-up session is no session, and the token itself is none either."""
    for value in ("operator", "x" * 43, ""):
        headers = {"Cookie": f"forwarder_session_{tcp.address.port}={value}"}
        async with browser.get("/v1/status", headers=headers) as response:
            assert response.status == 401


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"token": 1}', b'{"token": "s3cret", "user": ""}', b"\xff"])
async def test_what_is_no_token(browser: aiohttp.ClientSession, body: bytes) -> None:
    """Anything else than a token is refused, and not repeated."""
    async with browser.post("/v1/session", data=body) as response:
        assert response.status == 400
        assert "s3cret" not in await response.text()


async def test_where_there_is_nothing_to_log_in_with() -> None:
    """Without any configured token, the next step is to configure one."""
    daemon = FakeDaemon(queue := WatchedQueue(), "main")
    async with (
        serving(queue, daemon, Address(host="127.0.0.1", port=0), None) as served,
        aiohttp.ClientSession(f"http://127.0.0.1:{served.address.port}") as session,
    ):
        async with session.post("/v1/session", json={"token": "x"}) as response:
            found = await response.json(content_type=None)
        assert (response.status, found["hint"]) == (403, "set admin.token_file and reload")
        found = await state(session)
        assert (found["role"], found["login"]) == ("viewer", False)
        assert found["why_not"] == "without a token, clients of this address may only look, and see no events"


async def test_a_program_asks_about_its_token(tcp: Served) -> None:
    """The token of a program is told as whose it is, or as wrong."""
    async with aiohttp.ClientSession(f"http://127.0.0.1:{tcp.address.port}") as session:
        for token, role in (("operator", "operator"), ("viewer", "viewer")):
            async with session.get("/v1/session", headers={"Authorization": f"Bearer {token}"}) as response:
                assert (await response.json())["role"] == role
        async with session.get("/v1/session", headers={"Authorization": "Bearer wrong"}) as response:
            assert response.status == 401
