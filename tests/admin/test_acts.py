"""What is told of an act: who, what to, and what came of it."""

from __future__ import annotations

import os
from typing import Any

import aiohttp
import pytest
import structlog.testing

from forwarder.admin.acts import filter_of, peer_of
from forwarder.errors import StorageError
from forwarder.model import Address, DeadFilter, EventFilter
from tests.admin.serving import FakeDaemon, Served, serving
from tests.queue.watched import WatchedQueue

ME = {"uid": os.getuid(), "pid": os.getpid()}
OLD = {"older_than": 60}


@pytest.mark.parametrize(
    ("method", "path", "body", "told"),
    [
        ("POST", "/v1/destinations/main/flush", None, {"act": "flush", "destination": "main"}),
        ("POST", "/v1/destinations/main/pause", None, {"act": "pause", "destination": "main"}),
        ("POST", "/v1/destinations/main/resume", None, {"act": "resume", "destination": "main"}),
        ("DELETE", "/v1/destinations/main/queue", None, {"act": "purge", "destination": "main", "dropped": 1}),
        ("POST", "/v1/reload", None, {"act": "reload", "refused": False}),
        ("POST", "/v1/dead/replay", {"ids": [1]}, {"act": "replay", "filter": {"ids": ("1",)}, "replayed": 1}),
        ("POST", "/v1/dead/purge", {"all": True}, {"act": "purge_dead", "filter": {"all": True}, "dropped": 1}),
        (
            "POST",
            "/v1/dead/purge",
            {"reason": "x\x1b[2J", "destination": "main"},
            {"act": "purge_dead", "filter": {"destination": "main", "reason": "x\x1b[2J"}, "dropped": 0},
        ),
        (
            "POST",
            "/v1/dead/purge",
            OLD,
            {"act": "purge_dead", "filter": {"died_before": "2023-11-14T22:12:20+00:00"}, "dropped": 1},
        ),
    ],
)
async def test_each_act(
    client: aiohttp.ClientSession, served: Served, method: str, path: str, body: Any, told: dict[str, Any]
) -> None:
    """Every act is one line, with the user id and the process that asked for it and the filter that was used."""
    served.queue.hold("main", [b"{}"])
    served.queue.bury()
    with structlog.testing.capture_logs() as logs:
        async with client.request(method, path, json=body) as response:
            assert response.status < 300
    assert logs == [{"event": "admin.act", "log_level": "warning", **ME, **told}]


async def test_looking_is_no_act(client: aiohttp.ClientSession) -> None:
    """Who only looks is not told of."""
    with structlog.testing.capture_logs() as logs:
        for path in ("/v1/status", "/v1/dead", "/v1/destinations/main/queue"):
            async with client.get(path) as response:
                assert response.status == 200
    assert logs == []


async def test_an_act_that_fails(
    client: aiohttp.ClientSession, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An act that fails half-way is told, too."""

    async def purge(_name: str, _wanted: EventFilter) -> int:
        raise StorageError("disk I/O error")

    monkeypatch.setattr(served.daemon, "purge", purge)
    with structlog.testing.capture_logs() as logs:
        async with client.delete("/v1/destinations/main/queue") as response:
            assert response.status == 503
    line = {"act": "purge", "destination": "main", "reason": "disk I/O error"}
    assert logs == [{"event": "admin.act_failed", "log_level": "warning", **ME, **line}]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_over_tcp(host: str) -> None:
    """Over TCP the address of the peer is told."""
    daemon = FakeDaemon(queue := WatchedQueue(), "main")
    shown = f"[{host}]" if ":" in host else host
    async with (
        serving(queue, daemon, Address(host=host, port=0), "s3cret") as served,
        aiohttp.ClientSession(headers={"Authorization": "Bearer s3cret"}) as session,
    ):
        with structlog.testing.capture_logs() as logs:
            async with session.post(f"http://{shown}:{served.address.port}/v1/destinations/main/flush") as response:
                assert response.status == 204
    (line,) = logs
    assert line["peer"].startswith(f"{shown}:")
    assert "uid" not in line


def test_who_has_gone() -> None:
    """Of a peer that has hung up nothing is made up."""
    assert peer_of(None) == {}


def test_many_ids() -> None:
    """A line stays short, however many ids the filter names."""
    found = filter_of(DeadFilter(ids=tuple(map(str, range(10_000)))))
    assert found["ids"] == [*map(str, range(20)), "and 9,980 more"]
