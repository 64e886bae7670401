"""Dead letters over the admin API, asked over a real socket."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from forwarder.admin.entrance import Terms
from forwarder.errors import StorageError
from forwarder.model import Address, Burial, DeadFilter
from tests.admin.serving import FakeDaemon, Served, serving
from tests.queue.watched import WatchedQueue


async def ids(client: aiohttp.ClientSession, query: str) -> list[int]:
    async with client.get(f"/v1/dead?{query}") as response:
        assert response.status == 200, await response.text()
        return [json.loads(line)["id"] for line in (await response.text()).splitlines()]


async def test_search(client: aiohttp.ClientSession, served: Served) -> None:
    """Letters are found by what they are, what they say and what was answered."""
    served.queue.bury()
    served.queue.bury(event=b'{"eventSourceId":"app","eventType":"login","data":{"name":"Ada"}}')
    served.queue.bury(reason="expired", status=None, detail="")
    for query, found in {
        "type=login": [2],
        "text=ada": [2],
        "source=app&type=x": [1, 3],
        "status=400": [1, 2],
        "status=none": [3],
        "detail=bad+event": [1, 2],
        "detail=": [3],
    }.items():
        assert await ids(client, query) == found, query


async def test_pages(client: aiohttp.ClientSession, served: Served) -> None:
    """A page begins behind the last letter of the page before."""
    for _ in range(5):
        served.queue.bury()
    assert await ids(client, "limit=2") == [1, 2]
    assert await ids(client, "limit=2&after=2") == [3, 4]
    assert await ids(client, "limit=2&after=4") == [5]
    assert await ids(client, "after=5") == []


@pytest.mark.parametrize(
    "query", ["after=-1", "after=x", "status=abc", "status=4000", "type=", "text=", "after=1&after=2"]
)
async def test_bad_filters(client: aiohttp.ClientSession, query: str) -> None:
    """What is no filter is refused rather than ignored."""
    async with client.get(f"/v1/dead?{query}") as response:
        assert response.status == 400


async def test_acts_take_the_same_filters(client: aiohttp.ClientSession, served: Served) -> None:
    """What was found is what is replayed or purged; a filter for letters without an answer is a filter."""
    served.queue.bury()
    served.queue.bury(status=None)
    async with client.post("/v1/dead/purge", json={"status": "none"}) as response:
        assert await response.json() == {"dropped": 1}
    async with client.post("/v1/dead/replay", json={"status": 400.0, "text": "APP"}) as response:
        assert await response.json() == {"replayed": 1}


async def groups_of(client: aiohttp.ClientSession) -> list[dict[str, Any]]:
    async with client.get("/v1/dead/groups") as response:
        assert response.status == 200
        found: list[dict[str, Any]] = await response.json()
        return found


async def test_groups(client: aiohttp.ClientSession, served: Served) -> None:
    """Letters are counted by destination, reason and answer."""
    for _ in range(3):
        served.queue.bury()
    served.queue.bury(destination="audit", reason="expired", status=None, detail="")
    first, second = await groups_of(client)
    assert (first["destination"], first["reason"], first["status"], first["detail"], first["events"]) == (
        *("main", "rejected", 400, "bad event", 3),
    )
    assert first["first"] == first["last"] == "2023-11-14T21:13:20Z"
    assert (second["destination"], second["status"], second["events"]) == ("audit", None, 1)


async def test_groups_are_counted_only_when_letters_came_or_went(
    client: aiohttp.ClientSession, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that asks again and again costs one look at the counters."""
    asked = 0
    plain = served.queue.dead_groups

    async def counting() -> Any:
        nonlocal asked
        asked += 1
        return await plain()

    monkeypatch.setattr(served.queue, "dead_groups", counting)
    served.queue.bury()
    for _ in range(5):
        assert [group["events"] for group in await groups_of(client)] == [1]
    assert asked == 1
    served.queue.bury()
    while [group["events"] for group in await groups_of(client)] != [2]:
        pass
    assert asked == 2


async def test_groups_of_letters_that_died_of_something_else(client: aiohttp.ClientSession, served: Served) -> None:
    """Letters that die again for another reason leave every count as it was, and are in another group."""
    served.queue.bury()
    assert [group["detail"] for group in await groups_of(client)] == ["bad event"]
    [letter] = [letter async for letter in served.queue.dead_letters(DeadFilter())]
    assert await served.queue.readmit([], [], [(letter, Burial("rejected", 400, "no event"))])
    # What was found a moment ago may be told once more.
    async with asyncio.timeout(10):
        while [group["detail"] for group in await groups_of(client)] != ["no event"]:
            pass


async def test_who_asks_while_they_are_grouped_waits_for_the_groups(
    client: aiohttp.ClientSession, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is told that there are no groups while the first grouping is under way, nor after one that failed."""
    plain, asked = served.queue.dead_groups, 0
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> Any:
        nonlocal asked
        asked += 1
        begun.set()
        await go_on.wait()
        if asked == 1:
            raise StorageError("the disk fails")
        return await plain()

    monkeypatch.setattr(served.queue, "dead_groups", slow)
    served.queue.bury()
    before = served.queue.stats_calls
    many = [asyncio.create_task(asking(client))]
    await begun.wait()
    many += [asyncio.create_task(asking(client)) for _ in range(2)]
    while served.queue.stats_calls < before + 3:
        await asyncio.sleep(0)
    go_on.set()
    assert [status for status, _ in await asyncio.gather(*many)] == [503] * 3
    assert [group["events"] for group in await groups_of(client)] == [1]
    assert asked == 2


async def asking(client: aiohttp.ClientSession) -> tuple[int, Any]:
    async with client.get("/v1/dead/groups") as response:
        return response.status, await response.json(content_type=None)


async def test_viewers_see_no_answers() -> None:
    """A viewer sees how many died of what, and neither letters nor what was answered, nor how many answers it were."""
    daemon = FakeDaemon(queue := WatchedQueue(), "main")
    queue.bury(detail="422: Jane Doe is not allowed")
    queue.bury(detail="422: John Doe is not allowed")
    async with (
        serving(queue, daemon, Address(host="127.0.0.1", port=0), None, terms=Terms(viewers_only=True)) as served,
        aiohttp.ClientSession(f"http://127.0.0.1:{served.address.port}") as session,
    ):
        (group,) = await groups_of(session)
        assert (group["events"], group["detail"]) == (2, None)
        async with session.get("/v1/dead") as response:
            assert response.status == 403


@pytest.mark.parametrize("as_text", [True, False])
async def test_edit(client: aiohttp.ClientSession, served: Served, as_text: bool) -> None:
    """The edited event is queued in the place of its letter; as a string it keeps how numbers are written."""
    served.queue.bury()
    event = '{"eventId":"00000000-0000-4000-8000-000000000001","eventSourceId":"app","eventType":"y","n":1.0}'
    body = json.dumps({"destination": "main", "id": 1, "event": event if as_text else json.loads(event)})
    async with client.post("/v1/dead/edit", data=body) as response:
        assert await response.json() == {"edited": 1}
    (queued,) = served.queue.queued()
    assert json.loads(queued) == json.loads(event)
    assert b"1.0" in queued
    assert served.queue.dead == []


async def test_what_is_wrong_with_an_edited_event(client: aiohttp.ClientSession, served: Served) -> None:
    """The errors are those of the intake, and the letter stays."""
    served.queue.bury()
    async with client.post("/v1/dead/edit", json={"destination": "main", "id": 1, "event": {"a": 1}}) as response:
        found = await response.json(content_type=None)
        assert (response.status, found["errors"][0]["field"]) == (422, "eventSourceId")
    wrong: list[Any] = ["", "{", 7, None, [], "\ud800"]
    for event in wrong:
        body = json.dumps({"destination": "main", "id": 1, "event": event})
        async with client.post("/v1/dead/edit", data=body) as response:
            assert response.status in {400, 422}, event
    async with client.post("/v1/dead/edit", json={"destination": "nope", "id": 1, "event": {}}) as response:
        assert response.status == 404
    assert len(served.queue.dead) == 1
