"""Slowing down those who guess tokens, and letting in those who have the right one."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import aiohttp
import pytest

from forwarder.model import Address
from tests.admin.serving import FakeDaemon, Served, serving
from tests.queue.watched import WatchedQueue

RIGHT, WRONG = {"Authorization": "Bearer s3cret"}, {"Authorization": "Bearer wrong"}


@pytest.fixture
async def tcp() -> AsyncIterator[Served]:
    daemon = FakeDaemon(queue := WatchedQueue(), "main")
    async with serving(queue, daemon, Address(host="127.0.0.1", port=0), "s3cret") as served:
        yield served


@pytest.fixture
async def client(tcp: Served) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{tcp.address.port}", connector=connector) as session:
        yield session


async def status_of(client: aiohttp.ClientSession, headers: dict[str, str], path: str = "/v1/status") -> int:
    async with client.get(path, headers=headers) as response:
        if response.status == 429:
            assert response.headers["Retry-After"] == "6"
        return response.status


async def test_many_wrong_tokens(client: aiohttp.ClientSession, tcp: Served) -> None:
    """After ten wrong tokens the answer is 429 and comes late; the right token is taken all the while."""
    assert [await status_of(client, WRONG) for _ in range(10)] == [401] * 10
    assert tcp.conditions.active() == []
    guessing = asyncio.gather(*[status_of(client, WRONG) for _ in range(20)])
    for _ in range(3):
        assert await status_of(client, RIGHT) == 200
    assert not guessing.done()
    assert set(await guessing) == {429}
    (condition,) = tcp.conditions.active()
    assert (condition.key, condition.detail) == ("admin.wrong_tokens", "many wrong tokens come from 127.0.0.1")


async def test_guessing_has_a_top_speed(client: aiohttp.ClientSession) -> None:
    """So many answers are held back at once, and no more tokens are compared meanwhile, not even the right one."""
    for _ in range(10):
        await status_of(client, WRONG)
    guessing = [asyncio.create_task(status_of(client, WRONG)) for _ in range(64)]
    while await status_of(client, RIGHT) == 200:
        await asyncio.sleep(0.01)
    assert Counter(await asyncio.gather(*guessing)) == {429: 64}
    assert await status_of(client, RIGHT) == 200


async def test_the_login_form_is_counted_as_well(client: aiohttp.ClientSession) -> None:
    """Wrong tokens on the form and in the header are the same guesses."""
    for _ in range(10):
        async with client.post("/v1/session", json={"token": "wrong"}) as response:
            assert response.status == 401
    assert await status_of(client, WRONG) == 429
    async with client.post("/v1/session", json={"token": "s3cret"}) as response:
        assert response.status == 200


async def test_a_probe_with_a_wrong_token(client: aiohttp.ClientSession) -> None:
    """What needs no token is answered whatever is sent, and is not counted."""
    for path in ("/healthz", "/readyz", "/"):
        for _ in range(5):
            assert await status_of(client, WRONG, path) == 200
    assert await status_of(client, WRONG) == 401
