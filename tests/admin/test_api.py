"""The admin API, asked over a real socket."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path

import aiohttp
import pytest
import structlog.testing

from forwarder.admin.entrance import Terms
from forwarder.admin.steering import DestinationStatus
from forwarder.errors import StorageError
from forwarder.model import Address, Segment, State
from forwarder.web.reach import Reach
from tests.admin.serving import FakeDaemon, Served, api_of, entrance, serving
from tests.fixtures import PATIENCE
from tests.queue.watched import WatchedQueue


async def queued(served: Served, name: str, *events: bytes) -> None:
    await served.queue.append([Segment(name, len(events), b"".join(event + b"\n" for event in events))])


async def problem(response: aiohttp.ClientResponse) -> tuple[int, str, str]:
    """Return status, the last part of the type, and the detail of problem details."""
    assert response.content_type == "application/problem+json"
    document = await response.json(content_type=None)
    assert document["status"] == response.status
    assert document["title"]
    prefix, _, name = document["type"].rpartition(":")
    assert prefix == "urn:forwarder:problem"
    return response.status, name, document["detail"]


async def test_probes(client: aiohttp.ClientSession, served: Served) -> None:
    """The process lives; it is ready until there is a reason why it is not."""
    async with client.get("/healthz") as response:
        assert response.status == 200
    async with client.get("/readyz") as response:
        assert response.status == 200
    served.daemon.reason = "the queue is full"
    async with client.get("/healthz") as response:
        assert response.status == 200
    async with client.get("/readyz") as response:
        assert await problem(response) == (503, "not-ready", "the queue is full")


async def test_a_client_that_ends_its_side(served: Served) -> None:
    """Whoever only ends its own side still reads the answers to all that it asked, and then the end."""
    reader, writer = await asyncio.open_unix_connection(served.address.path)
    for path in (b"/healthz", b"/v1/status", b"/v1/destinations/main/queue", b"/v1/dead"):
        writer.write(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path)
    writer.write_eof()
    async with asyncio.timeout(PATIENCE):
        answer = await reader.read()
    assert [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]] == [b"200"] * 4
    writer.close()


async def test_status_is_one_reading(client: aiohttp.ClientSession, served: Served) -> None:
    """The status of all destinations comes from one reading of the queue."""
    await queued(served, "main", b"{}", b"{}")
    served.queue.bury(destination="audit")
    served.daemon.reason = "stopping"
    async with client.get("/v1/status") as response:
        document = await response.json()
    assert served.queue.stats_calls == 1
    assert document["ready"] is False
    assert {name: (state["queued"], state["dead"]) for name, state in document["destinations"].items()} == {
        "main": (2, 0),
        "audit": (0, 1),
    }


async def test_status_knows_how_fast_events_come(client: aiohttp.ClientSession, served: Served) -> None:
    """The rates are those of the history, which is read in rounds."""
    await queued(served, "main", b"{}")
    served.history.look(await served.queue.stats())
    await queued(served, "main", b"{}", b"{}")
    served.history.look(await served.queue.stats())
    async with client.get("/v1/status") as response:
        found = (await response.json())["destinations"]
    assert found["main"]["rate_in"] > 0
    assert (found["main"]["rate_out"], found["audit"]["rate_in"]) == (0.0, None)


@pytest.mark.parametrize("verb", ["flush", "pause", "resume"])
async def test_steering(client: aiohttp.ClientSession, served: Served, verb: str) -> None:
    """Each verb reaches the daemon once, for the destination that was named, and answers 204."""
    async with client.post(f"/v1/destinations/audit/{verb}") as response:
        assert response.status == 204
    assert served.daemon.told == [(verb, "audit")]


async def test_names_are_decoded(client: aiohttp.ClientSession, served: Served) -> None:
    """A name with unusual characters is found under its percent-encoded form."""
    served.daemon.states["a b/c"] = DestinationStatus(State.IDLE)
    async with client.post("/v1/destinations/a%20b%2Fc/flush") as response:
        assert response.status == 204
    assert served.daemon.told == [("flush", "a b/c")]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/destinations/nope/flush"),
        ("GET", "/v1/destinations/nope/queue"),
        ("DELETE", "/v1/destinations/nope/queue"),
        ("GET", "/v1/dead?destination=nope"),
        ("POST", "/v1/dead/replay"),
        ("POST", "/v1/dead/purge"),
    ],
)
async def test_unknown_destination(client: aiohttp.ClientSession, served: Served, method: str, path: str) -> None:
    """A destination that does not exist is answered with 404 and the names of those that do."""
    served.queue.bury()
    body = b'{"destination":"nope"}' if method == "POST" else None
    async with client.request(method, path, data=body) as response:
        status, name, detail = await problem(response)
    assert (status, name) == (404, "unknown-destination")
    assert detail.endswith("the destinations are audit, main")
    assert len(served.queue.dead) == 1


async def test_export_is_exact(client: aiohttp.ClientSession, served: Served) -> None:
    """The queue streams its events from the oldest on, byte for byte, a line each."""
    await queued(served, "main", b'{"n":1.0}', b'{"n":2.00}', b'{"n":3}')
    async with client.get("/v1/destinations/main/queue") as response:
        assert response.content_type == "application/x-ndjson"
        assert await response.read() == b'{"n":1.0}\n{"n":2.00}\n{"n":3}\n'
    async with client.get("/v1/destinations/main/queue?limit=2") as response:
        assert await response.read() == b'{"n":1.0}\n{"n":2.00}\n'
    async with client.get("/v1/destinations/audit/queue") as response:
        assert (response.status, await response.read()) == (200, b"")


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=1&limit=2", "limits=1"])
async def test_queue_parameters(client: aiohttp.ClientSession, query: str) -> None:
    """A limit that is none, or another parameter, is refused rather than ignored."""
    async with client.get(f"/v1/destinations/main/queue?{query}") as response:
        assert (await problem(response))[:2] == (400, "malformed")


async def test_purge(client: aiohttp.ClientSession, served: Served) -> None:
    """A purge goes through the daemon and says how many events it dropped."""
    await queued(served, "main", b"{}", b"{}")
    async with client.delete("/v1/destinations/main/queue") as response:
        assert await response.json() == {"dropped": 2}
    assert served.daemon.told == [("purge", "main")]


async def test_removed_destination(client: aiohttp.ClientSession, served: Served) -> None:
    """What is no longer configured can be exported and purged; steering it is answered with 409."""
    await queued(served, "old", b"{}")
    async with client.post("/v1/destinations/old/resume") as response:
        status, name, detail = await problem(response)
    assert (status, name) == (409, "not-configured")
    assert "cannot be told to resume" in detail
    async with client.get("/v1/destinations/old/queue") as response:
        assert await response.read() == b"{}\n"
    async with client.delete("/v1/destinations/old/queue") as response:
        assert await response.json() == {"dropped": 1}
    assert served.daemon.told == []


async def test_dead_letters(client: aiohttp.ClientSession, served: Served) -> None:
    """Dead letters are listed by filter, each with everything that is known about it."""
    for reason in ("rejected", "expired", "rejected"):
        served.queue.bury(reason=reason)
    async with client.get("/v1/dead?reason=rejected") as response:
        lines = [json.loads(line) for line in (await response.text()).splitlines()]
    assert [line["id"] for line in lines] == [1, 3]
    assert lines[0]["event"] == {"eventSourceId": "app", "eventType": "x"}
    async with client.get("/v1/dead?id=2&id=00000000-0000-4000-8000-000000000003&limit=1") as response:
        assert [json.loads(line)["id"] for line in (await response.text()).splitlines()] == [2]
    async with client.get("/v1/dead?older_than=3601") as response:
        assert await response.read() == b""


async def test_replay_and_purge_dead(client: aiohttp.ClientSession, served: Served) -> None:
    """Replay and purge act on what the filters name, and say on how many."""
    for _ in range(3):
        served.queue.bury()
    async with client.post("/v1/dead/replay", json={"ids": [2]}) as response:
        assert await response.json() == {"replayed": 1}
    async with client.post("/v1/dead/purge", json={"all": True}) as response:
        assert await response.json() == {"dropped": 2}
    assert served.queue.dead == []


@pytest.mark.parametrize("verb", ["replay", "purge"])
async def test_all_must_be_said(client: aiohttp.ClientSession, served: Served, verb: str) -> None:
    """Without a filter nothing moves unless `all` is true."""
    served.queue.bury()
    async with client.post(f"/v1/dead/{verb}") as response:
        assert (await problem(response))[:2] == (400, "malformed")
    assert len(served.queue.dead) == 1


async def test_other_paths_and_methods(client: aiohttp.ClientSession) -> None:
    """Other paths are 404, other methods 405 with Allow; HEAD never starts a stream."""
    async with client.get("/v1/nope") as response:
        assert (await problem(response))[:2] == (404, "not-found")
    async with client.get("/v1/destinations/main/flush") as response:
        assert (await problem(response))[:2] == (405, "method-not-allowed")
        assert response.headers["Allow"] == "POST"
    async with client.head("/v1/destinations/main/queue") as response:
        assert (response.status, response.headers["Allow"]) == (405, "DELETE, GET")


async def test_too_large_body(client: aiohttp.ClientSession) -> None:
    """A body beyond all filters is refused with 413."""
    async with client.post("/v1/dead/purge", data=io.BytesIO(b" " * (2 * 1024 * 1024))) as response:
        assert (await problem(response))[:2] == (413, "too-large")


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd", "br"])
async def test_a_body_that_is_not_compressed(client: aiohttp.ClientSession, encoding: str) -> None:
    """A body that is not what its Content-Encoding says is the client's mistake."""
    request = client.post("/v1/dead/purge", data=b'{"all":true}', headers={"Content-Encoding": encoding}, compress=None)
    async with request as response:
        assert (await problem(response))[:2] == (400, "malformed")


@pytest.mark.parametrize("header", ["Content-Length: 50", "Transfer-Encoding: chunked"])
async def test_a_client_that_goes_away(client: aiohttp.ClientSession, served: Served, header: str) -> None:
    """A client that hangs up in the middle of its request is no error, and changes nothing."""
    served.queue.bury()
    with structlog.testing.capture_logs() as logs:
        _reader, writer = await asyncio.open_unix_connection(served.address.path)
        writer.write(f"POST /v1/dead/purge HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n".encode())
        await writer.drain()
        # An answer to another client says that the request was begun.
        async with client.get("/healthz") as response:
            assert response.status == 200
        writer.transport.abort()
        async with client.get("/healthz") as response:
            assert response.status == 200
    assert logs == []
    assert len(served.queue.dead) == 1


async def test_failing_storage(client: aiohttp.ClientSession, served: Served) -> None:
    """A failing store is answered with 503, its own words and Retry-After."""
    served.queue.error = StorageError("disk I/O error")
    async with client.get("/v1/status") as response:
        assert response.headers["Retry-After"] == "10"
        assert await problem(response) == (503, "storage-failing", "disk I/O error")


async def test_unexpected_failure(client: aiohttp.ClientSession, served: Served) -> None:
    """A bug is answered with 500 without its details; the log has them."""
    served.queue.error = RuntimeError("secret")
    async with client.get("/v1/status") as response:
        status, name, detail = await problem(response)
    assert (status, name) == (500, "internal")
    assert "secret" not in detail


async def test_browsers_are_kept_out(client: aiohttp.ClientSession, served: Served) -> None:
    """A request from a page of another site is refused, whatever it asks for."""
    for path in ("/", "/v1/status", "/healthz", "/nothing"):
        for origin in ("null", "http://evil.example", "http://localhost:8080"):
            async with client.get(path, headers={"Origin": origin}) as response:
                assert (await problem(response))[:2] == (403, "forbidden")
    act = {"X-Forwarder-Act": "1"}
    async with client.post("/v1/destinations/main/pause", headers={"Origin": "null", **act}) as response:
        assert response.status == 403
    assert served.daemon.told == []


async def test_our_own_page_acts_with_a_header(client: aiohttp.ClientSession, served: Served) -> None:
    """The page of the same address may do what its user may, if it sends the header that no other site can send."""
    page = {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}
    async with client.get("/v1/status", headers=page) as response:
        assert response.status == 200
    async with client.post("/v1/destinations/main/pause", headers=page) as response:
        assert (await problem(response))[:2] == (403, "forbidden")
        assert (await response.json(content_type=None))["hint"] == "send X-Forwarder-Act: 1"
    assert served.daemon.told == []
    async with client.post("/v1/destinations/main/pause", headers={**page, "X-Forwarder-Act": "1"}) as response:
        assert response.status == 204
    assert served.daemon.told == [("pause", "main")]


@pytest.mark.parametrize("path", ["/", "/v1/session", "/v1/status", "/v1/dead", "/nothing"])
async def test_every_answer_is_safe_in_a_browser(client: aiohttp.ClientSession, path: str) -> None:
    """No answer runs code that stands in it, is framed or embedded by others, or is kept by a cache."""
    async with client.get(path) as response:
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert response.headers["Cache-Control"] == "no-store"
        assert "Access-Control-Allow-Origin" not in response.headers


async def test_rebound_names_are_kept_out() -> None:
    """On a TCP port of this machine, a Host that is another name is refused (DNS rebinding)."""
    daemon = FakeDaemon(queue := WatchedQueue(), "main")
    async with serving(queue, daemon, Address(host="127.0.0.1", port=0), None) as served:
        url = f"http://127.0.0.1:{served.address.port}/v1/status"
        async with aiohttp.ClientSession() as session:
            async with session.get(url) as response:
                assert response.status == 200
            async with session.get(url, headers={"Host": "evil.example"}) as response:
                assert (await problem(response))[:2] == (403, "forbidden")


async def test_token(tmp_path: Path) -> None:
    """With a token, everything but the probes wants it, and says so to those who come without."""
    daemon = FakeDaemon(queue := WatchedQueue(), "main")
    async with serving(queue, daemon, Address(path=str(tmp_path / "a.sock")), "s3cret") as served:
        connector = aiohttp.UnixConnector(served.address.path or "")
        async with aiohttp.ClientSession("http://localhost", connector=connector) as session:
            for path in ("/healthz", "/readyz"):
                async with session.get(path) as response:
                    assert response.status == 200
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic s3cret"}):
                async with session.post("/v1/destinations/main/pause", headers=headers) as response:
                    assert (await problem(response))[:2] == (401, "unauthorized")
                    assert response.headers["WWW-Authenticate"] == "Bearer"
            assert daemon.told == []
            async with session.post("/v1/destinations/main/pause", headers={"Authorization": "Bearer s3cret"}) as ok:
                assert ok.status == 204


LOOKS = ["/healthz", "/readyz", "/metrics", "/v1/status", "/openapi.json"]
SHOWS = ["/v1/live", "/v1/history", "/v1/activity", "/v1/configuration", "/v1/dead/groups"]
ACTS = [
    ("POST", "/v1/destinations/main/flush"),
    ("POST", "/v1/destinations/main/pause"),
    ("POST", "/v1/destinations/main/resume"),
    ("DELETE", "/v1/destinations/main/queue"),
    ("POST", "/v1/dead/replay"),
    ("POST", "/v1/dead/purge"),
    ("POST", "/v1/dead/edit"),
    ("POST", "/v1/reload"),
]
PAGES = {
    ("GET", "/"),
    ("GET", "/page/{name}"),
    ("GET", "/v1/session"),
    ("POST", "/v1/session"),
    ("DELETE", "/v1/session"),
}
CONTENTS = [("GET", "/v1/destinations/main/queue"), ("GET", "/v1/dead")]


async def test_over_tcp_it_only_looks() -> None:
    """Over TCP without a token nothing changes and no event is seen, also on loopback; the next step is told."""
    daemon = FakeDaemon(queue := WatchedQueue(), "main")
    queue.hold("main", [b"{}"])
    queue.bury()
    async with (
        serving(queue, daemon, Address(host="127.0.0.1", port=0), None) as served,
        aiohttp.ClientSession(f"http://127.0.0.1:{served.address.port}") as session,
    ):
        for path in (*LOOKS, *SHOWS):
            async with session.get(path) as response:
                assert response.status == 200
        for method, path in (*ACTS, *CONTENTS):
            async with session.request(method, path, json={"all": True} if method == "POST" else None) as response:
                found = await response.json()
                assert (response.status, found["type"]) == (403, "urn:forwarder:problem:forbidden")
                assert "may only look" in found["detail"]
                assert (
                    found["hint"] == "use the unix socket of admin.listen, or set admin.token_file and send its token"
                )
        async with session.post("/v1/nothing") as response:
            assert response.status == 404
        async with session.put("/v1/status") as response:
            assert response.status == 405
    assert (daemon.told, len(queue.dead), queue.queued("main")) == ([], 1, [b"{}"])
    assert served.reloads.asked == 0


async def test_every_route_that_is_not_a_look_is_an_act() -> None:
    """A route is open to everybody because it is named as one, not because nobody thought of it."""
    api = api_of(WatchedQueue())
    routes = api.application(entrance(Address(path="/none"), Reach.FILE, Terms())).router.routes()
    found = {(route.method, route.resource.canonical) for route in routes if route.resource is not None}
    verbs = {("POST", path.replace("flush", "{verb}")) for _, path in ACTS[:1]}
    acts = verbs | {(method, path) for method, path in (*ACTS[3:], *CONTENTS)}
    looks = {(method, path) for method in ("GET", "HEAD") for path in LOOKS} | {("GET", path) for path in SHOWS}
    assert found == {(method, path.replace("/main/", "/{name}/")) for method, path in acts} | looks | PAGES


async def test_with_a_token_tcp_acts() -> None:
    """Over TCP a token makes an act possible."""
    daemon = FakeDaemon(queue := WatchedQueue(), "main")
    async with (
        serving(queue, daemon, Address(host="127.0.0.1", port=0), "s3cret") as served,
        aiohttp.ClientSession(f"http://127.0.0.1:{served.address.port}") as session,
    ):
        headers = {"Authorization": "Bearer s3cret"}
        async with session.post("/v1/destinations/main/pause", headers=headers) as response:
            assert response.status == 204
    assert daemon.told == [("pause", "main")]
