"""The receiver as a destination sees itself from outside: over HTTP."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from forwarder.errors import FaultScriptError, InputOutputError
from forwarder.model import Address
from forwarder.receiver import Receiver, Record, mint
from forwarder.signing import Signer
from tests.fixtures import PATIENCE

from .conftest import event, payload

JOSE = "application/jose"


class Client:
    """A destination's client that tells what it got: a status, or the name of the error."""

    def __init__(self, session: aiohttp.ClientSession, signer: Signer) -> None:
        self.session = session
        self.signer = signer
        self.answer = ""
        self.headers: dict[str, str] = {}

    async def send(self, receiver: Receiver, body: bytes, content_type: str = JOSE, timeout: float = 5) -> int | str:
        try:
            async with self.session.post(
                receiver.url,
                data=body,
                headers={"Content-Type": content_type},
                timeout=aiohttp.ClientTimeout(timeout),
                allow_redirects=False,
            ) as response:
                self.answer, self.headers = await response.text(), dict(response.headers)
                return response.status
        except (aiohttp.ClientError, TimeoutError) as error:
            return type(error).__name__

    async def put(self, receiver: Receiver, *events: dict[str, Any], timeout: float = 5) -> int | str:
        return await self.send(receiver, self.signer.sign(payload(*events)), timeout=timeout)

    async def get(self, receiver: Receiver, path: str, token: str | None = None) -> tuple[int, Any]:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        async with self.session.get(f"{receiver.base_url}{path}", headers=headers) as response:
            self.headers = dict(response.headers)
            text = await response.text()
            return response.status, json.loads(text) if response.content_type == "application/json" else text


@pytest.fixture
async def client(signer: Signer) -> AsyncIterator[Client]:
    # A connection is not used twice, so that no retry of the client hides a closed one.
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        yield Client(session, signer)


def make(signer: Signer, **options: Any) -> Receiver:
    return Receiver(Address(host="127.0.0.1", port=0), public_keys=[signer.public("pem")], **options)


@pytest.fixture
async def receiver(signer: Signer) -> AsyncIterator[Receiver]:
    async with make(signer) as receiver:
        yield receiver


# --- storing -----------------------------------------------------------------------------------


async def test_an_array_is_stored_and_answered_with_nothing(receiver: Receiver, client: Client, signer: Signer) -> None:
    """200 with an empty body; events are kept as they were written, in order."""
    written = [b'{"eventSourceId":"b", "eventType":"T", "n":1.0e2, "eventId":"1"}', json.dumps(event("2")).encode()]
    body = signer.sign(b"[" + b",".join(written) + b"]")
    assert await client.send(receiver, body) == 200
    assert client.answer == ""
    assert receiver.events == written
    assert receiver.ids == {"1", "2"}
    [record] = receiver.requests
    assert (record.status, record.events, record.duplicates, record.fault) == (200, 2, 0, "ok")
    assert (record.alg, record.header, record.feeds) == ("RS256", {"alg": "RS256"}, ("app", "b"))
    assert (record.size, record.checksum) == (len(body), zlib.crc32(body))


async def test_one_event_may_come_as_an_object(receiver: Receiver, client: Client, signer: Signer) -> None:
    """The payload is an array or one object; the content type may carry parameters."""
    assert await client.send(receiver, signer.sign(b'{"eventSourceId":"a","eventType":"T"}'), f"{JOSE}; x=y") == 200
    assert receiver.stats.stored == 1


async def test_duplicates_are_stored_and_counted(receiver: Receiver, client: Client) -> None:
    """Like the Event API, the receiver does not enforce that ids are unique; unlike it, it tells."""
    for _ in range(2):
        assert await client.put(receiver, event("1"), event("2")) == 200
    assert len(receiver.events) == 4
    assert (receiver.stats.distinct, receiver.stats.duplicates) == (2, 2)
    assert receiver.requests[1].duplicates == 2
    assert receiver.requests[0].checksum == receiver.requests[1].checksum


async def test_everything_stored_can_be_waited_for(receiver: Receiver, client: Client) -> None:
    """The wait ends as soon as the events are there, or with a TimeoutError."""
    waiting = asyncio.create_task(receiver.wait_stored(3, timeout=PATIENCE))
    for number in range(3):
        assert not waiting.done()
        await client.put(receiver, event(str(number)))
    await waiting
    with pytest.raises(TimeoutError):
        await receiver.wait_stored(4, timeout=0.01)


async def test_an_array_with_one_bad_event_stores_nothing(receiver: Receiver, client: Client) -> None:
    """Storing is all or nothing, and the answer names the event."""
    assert await client.put(receiver, event("1"), event("2", eventReceived=7)) == 400
    assert "[1].eventReceived" in client.answer
    assert receiver.events == []
    assert (receiver.stats.refused, receiver.stats.verified, receiver.stats.stored) == (1, 1, 0)
    assert receiver.requests[0].detail in client.answer


async def test_refusals_have_the_status_of_their_cause(
    receiver: Receiver, client: Client, signer: Signer, stranger: Signer
) -> None:
    """400 for what is malformed, 401 for an unknown key, 415 for another content type."""
    good = signer.sign(payload(event()))
    assert await client.send(receiver, good, "application/json") == 415
    assert await client.send(receiver, b"no jws") == 400
    assert await client.send(receiver, signer.sign(b"{}")) == 400
    assert await client.send(receiver, b"") == 400
    assert receiver.stats.bad_signatures == 0
    assert await client.send(receiver, stranger.sign(payload(event()))) == 401
    assert await client.send(receiver, good.replace(b".", b".AAAA", 1)) == 401
    assert (receiver.stats.requests, receiver.stats.refused, receiver.stats.bad_signatures) == (6, 6, 2)
    assert [record.status for record in receiver.requests] == [415, 400, 400, 400, 401, 401]


async def test_limits_are_answered_with_413(client: Client, signer: Signer) -> None:
    """Over the number of events, or over the bytes of the body; up to the limit is served."""
    async with make(signer, max_events=2, max_bytes=1500) as receiver:
        assert await client.put(receiver, event(), event()) == 200
        assert await client.put(receiver, event(), event(), event()) == 413
        assert await client.put(receiver, event(data={"x": "y" * 1500})) == 413
        assert "1500 bytes" in client.answer
        assert (receiver.stats.stored, receiver.stats.refused) == (2, 2)


async def test_other_paths_and_methods_are_refused(receiver: Receiver, client: Client) -> None:
    """`/put` takes POST, and nothing else is there."""
    assert (await client.get(receiver, "/put"))[0] == 405
    assert (await client.get(receiver, "/"))[0] == 404
    assert await client.get(receiver, "/healthz") == (200, "ok\n")


@pytest.mark.parametrize("keep", ["ids", "counts"])
async def test_memory_is_saved_where_events_are_not_kept(client: Client, signer: Signer, keep: Any) -> None:
    """Only what was asked for is kept, and reading back says so."""
    async with make(signer, keep=keep) as receiver:
        assert await client.put(receiver, event("1"), event("1")) == 200
        assert receiver.events == []
        assert receiver.stats.stored == 2
        assert receiver.stats.duplicates == (1 if keep == "ids" else None)
        assert (await client.get(receiver, "/get/app", mint(signer)))[0] == 501
        assert (await client.get(receiver, "/stats"))[1]["duplicates"] == receiver.stats.duplicates


async def test_a_store_file_grows_by_a_line_an_event(client: Client, signer: Signer, tmp_path: Path) -> None:
    """It is there as soon as the answer is; a restart appends; an event never takes two lines."""
    file = tmp_path / "events.ndjson"
    for number in range(2):
        async with make(signer, keep="counts", store=file) as receiver:
            await client.send(
                receiver, signer.sign(b'[{"eventSourceId":"a",\n"eventType":"T"},\n' + payload(event())[1:])
            )
            assert len(file.read_bytes().splitlines()) == 2 * (number + 1)
    assert [json.loads(line)["eventSourceId"] for line in file.read_text().splitlines()] == ["a", "app"] * 2


async def test_a_store_that_cannot_be_opened_is_an_error_at_the_start(signer: Signer, tmp_path: Path) -> None:
    """Nothing listens then."""
    with pytest.raises(InputOutputError, match="Is a directory"):
        await make(signer, store=tmp_path).start()


async def test_a_full_disk_is_answered_and_nothing_is_counted(client: Client, signer: Signer) -> None:
    """What is not in the file was not stored."""
    async with make(signer, store=Path("/dev/full")) as receiver:
        assert await client.put(receiver, event("1")) == 507
        assert "No space left" in client.answer
        assert (receiver.stats.stored, receiver.stats.refused, receiver.events) == (0, 0, [])


async def test_listeners_hear_of_requests_and_of_events(client: Client, signer: Signer) -> None:
    """Each request once it is answered, with its record; each batch of events, once it is stored."""
    records: list[Record] = []
    batches: list[list[bytes]] = []
    async with make(signer, faults="503", on_request=records.append, on_events=batches.append) as receiver:
        for _ in range(2):
            await client.put(receiver, event("1"))
        assert [record.status for record in records] == [503, 200]
        assert batches == [receiver.events]


async def test_a_receiver_can_be_stopped_and_started_again(client: Client, signer: Signer) -> None:
    """It comes back at the same port and remembers everything: a destination that was down."""
    receiver = make(signer)
    async with receiver:
        assert await client.put(receiver, event("1")) == 200
    assert await client.put(receiver, event("2")) == "ClientConnectorError"
    async with receiver:
        assert await client.put(receiver, event("2")) == 200
    assert receiver.ids == {"1", "2"}


# --- faults ------------------------------------------------------------------------------------


async def test_a_scripted_status_is_answered_without_storing(client: Client, signer: Signer) -> None:
    """With Retry-After where it has one; then the script goes on."""
    async with make(signer, faults="503*2,429:2,400") as receiver:
        assert [await client.put(receiver, event("1")) for _ in range(2)] == [503, 503]
        assert "Retry-After" not in client.headers
        assert await client.put(receiver, event("1")) == 429
        assert client.headers["Retry-After"] == "2"
        assert await client.put(receiver, event("1")) == 400
        assert receiver.events == []
        assert await client.put(receiver, event("1")) == 200
        assert (receiver.stats.requests, receiver.stats.faults, receiver.stats.refused) == (5, 4, 0)
        assert [record.fault for record in receiver.requests] == ["503", "503", "429:2", "400", "ok"]


async def test_another_success_stores_as_well(client: Client, signer: Signer) -> None:
    """Every 2xx is a success; what is not verified is refused all the same."""
    async with make(signer, faults="204*2") as receiver:
        assert await client.put(receiver, event("1")) == 204
        assert receiver.stats.stored == 1
        assert await client.send(receiver, b"no jws") == 400


async def test_a_cut_connection_stores_nothing(client: Client, signer: Signer) -> None:
    """The client sees no answer at all."""
    async with make(signer, faults="cut") as receiver:
        assert await client.put(receiver, event("1", data={"x": "y" * 500_000})) in {
            "ServerDisconnectedError",
            "ClientOSError",
        }
        assert (receiver.events, receiver.requests[0].status) == ([], None)


async def test_a_connection_cut_after_storing_hides_a_success(client: Client, signer: Signer) -> None:
    """The answer is lost, the events are not: the retry makes duplicates."""
    async with make(signer, faults="cut-after-store") as receiver:
        assert await client.put(receiver, event("1")) in {"ServerDisconnectedError", "ClientOSError"}
        assert receiver.stats.stored == 1
        assert await client.put(receiver, event("1")) == 200
        assert receiver.stats.duplicates == 1


async def test_a_timeout_answers_nothing(client: Client, signer: Signer) -> None:
    """Until the client gives up, or the time is over and the connection is closed."""
    async with make(signer, faults="timeout,timeout:0.05") as receiver:
        assert await client.put(receiver, event("1"), timeout=0.5) == "TimeoutError"
        assert await client.put(receiver, event("1")) in {"ServerDisconnectedError", "ClientOSError"}
        assert receiver.events == []
        assert await client.put(receiver, event("1")) == 200


async def test_a_slow_answer_comes_after_storing(client: Client, signer: Signer) -> None:
    """A client that does not wait for it has stored, and does not know."""
    async with make(signer, faults="slow:0.05,slow:60") as receiver:
        assert await client.put(receiver, event("1")) == 200
        waiting = asyncio.create_task(client.put(receiver, event("2"), timeout=0.5))
        await receiver.wait_stored(2, timeout=PATIENCE)
        assert receiver.ids == {"1", "2"}
        assert await waiting == "TimeoutError"


async def test_a_stop_does_not_wait_for_faults(client: Client, signer: Signer) -> None:
    """Whoever waits for an answer is cut off at once."""
    receiver = make(signer, faults="timeout,slow:3600")
    async with receiver:
        waiting = [asyncio.create_task(client.put(receiver, event(str(n)), timeout=30)) for n in range(2)]
        await receiver.wait_stored(1, timeout=PATIENCE)
        assert receiver.stats.requests == 2
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*waiting)


async def test_garbage_is_not_http(client: Client, signer: Signer) -> None:
    """A client meets bytes that it cannot read as an answer."""
    async with make(signer, faults="garbage") as receiver:
        assert await client.put(receiver, event("1")) == "ClientResponseError"
        assert receiver.events == []


@pytest.mark.parametrize(("step", "status"), [("redirect", 302), ("307", 307)])
async def test_a_redirect_names_a_place_that_counts_visits(
    client: Client, signer: Signer, step: str, status: int
) -> None:
    """A client that follows it is found out."""
    async with make(signer, faults=step) as receiver:
        assert await client.put(receiver, event("1")) == status
        assert client.headers["Location"] == f"{receiver.base_url}/elsewhere"
        assert receiver.stats.redirects_followed == 0
        assert (await client.get(receiver, "/elsewhere"))[0] == 200
        assert receiver.stats.redirects_followed == 1


async def test_rules_hold_for_every_request(client: Client, signer: Signer) -> None:
    """They look at what is sent: its number of events, and the strings in it."""
    async with make(signer, faults='max-events:2,reject:bad,reject:sü"ß', max_events=5) as receiver:
        assert await client.put(receiver, event(), event(), event()) == 413
        assert await client.put(receiver, event("good"), event("bad")) == 400
        assert await client.put(receiver, event(data={"mark": "bad"})) == 400
        assert await client.send(receiver, signer.sign('[{"eventSourceId":"sü\\"ß","eventType":"T"}]'.encode())) == 400
        assert await client.put(receiver, event("badly"), event("a bad one")) == 200
        assert (receiver.stats.faults, receiver.stats.refused) == (0, 4)


async def test_faults_can_be_changed_while_it_runs(receiver: Receiver, client: Client) -> None:
    """From the test or over HTTP; a script with a mistake changes nothing."""
    receiver.faults = "503*5"
    assert await client.put(receiver, event()) == 503
    with pytest.raises(FaultScriptError):
        receiver.faults = "5o3"
    assert await client.put(receiver, event()) == 503
    async with client.session.post(f"{receiver.base_url}/faults", data="5o3") as response:
        assert response.status == 400
        assert "'5o3' is not known\nsteps, one a request" in await response.text()
    assert await client.put(receiver, event()) == 503
    async with client.session.post(f"{receiver.base_url}/faults", data="408,reject:x\n") as response:
        assert response.status == 204
    assert receiver.faults.script == "408,reject:x"
    assert [await client.put(receiver, event("x")) for _ in range(2)] == [408, 400]


async def test_a_connection_that_was_cut_leaves_no_trace_in_the_log(
    client: Client, signer: Signer, caplog: pytest.LogCaptureFixture
) -> None:
    """Faults are what was asked for, not errors of the receiver."""
    async with make(signer, faults="cut,cut-after-store,garbage,timeout:0.01,timeout,slow:9") as receiver:
        for _ in range(6):
            await client.put(receiver, event("1", data={"x": "y" * 500_000}), timeout=0.3)
    assert caplog.records == []


# --- reading back ------------------------------------------------------------------------------


async def test_events_are_read_back_by_feed(receiver: Receiver, client: Client, signer: Signer) -> None:
    """With the time of receipt, page by page, the way a reader of the Event API does."""
    await client.put(receiver, *(event(str(n), eventObjectType="user", eventObjectId="7") for n in range(5)))
    status, page = await client.get(receiver, "/get/app?maxEventCount=2", mint(signer, ["app"]))
    seen = page["objects"][1:-1]
    assert (status, page["count"], page["uri"]) == (200, 2, "app")
    while page["count"]:
        url = page["objects"][-1]["url"]
        _, page = await client.get(receiver, f"/get/{url}&maxEventCount=2", mint(signer, ["app"]))
        seen += page["objects"][1:-1]
    assert [item["eventId"] for item in seen] == ["0", "1", "2", "3", "4"]
    received = [item["eventReceived"] for item in seen]
    assert received == sorted(set(received))
    _, page = await client.get(
        receiver, f"/get/user/7?after={received[0]}&before={received[4]}&newest=true", mint(signer, ["user/7"])
    )
    assert [item["eventId"] for item in page["objects"][1:-1]] == ["1", "2", "3"]


async def test_reading_needs_a_token(receiver: Receiver, client: Client, signer: Signer, stranger: Signer) -> None:
    """401 without a valid one, 403 for another feed."""
    assert (await client.get(receiver, "/get/app"))[0] == 401
    assert client.headers["WWW-Authenticate"] == "Bearer"
    assert (await client.get(receiver, "/get/app", mint(stranger)))[0] == 401
    assert (await client.get(receiver, "/get/app", mint(signer, expires_in=-1)))[0] == 401
    assert (await client.get(receiver, "/get/app", mint(signer, ["other"])))[0] == 403
    assert (await client.get(receiver, "/get/app", mint(signer)))[0] == 200


async def test_readers_may_have_keys_of_their_own(client: Client, signer: Signer, stranger: Signer) -> None:
    """A reader's key opens feeds and signs no events; a sender's the other way round."""
    async with make(signer, reader_keys=[stranger.public("jwks")]) as receiver:
        assert await client.put(receiver, event("1")) == 200
        assert (await client.get(receiver, "/get/app", mint(signer)))[0] == 401
        assert (await client.get(receiver, "/get/app", mint(stranger)))[1]["count"] == 1
        assert await client.send(receiver, stranger.sign(payload(event()))) == 401


@pytest.mark.parametrize(
    "query",
    ["after=x", "before=-1", "maxEventCount=1.5", "maxEventCount=", "newest=yes", "after=" + "9" * 30, "after=٣"],
)
async def test_a_wrong_query_is_refused(receiver: Receiver, client: Client, signer: Signer, query: str) -> None:
    """The answer names the parameter and what it must be."""
    status, text = await client.get(receiver, f"/get/app?{query}", mint(signer))
    assert status == 400
    assert text.startswith(query.partition("=")[0])


async def test_counters_can_be_asked_for(receiver: Receiver, client: Client) -> None:
    """`/stats` is what `stats` is."""
    await client.put(receiver, event("1"), event("1"))
    status, stats = await client.get(receiver, "/stats")
    assert (status, stats) == (200, asdict(receiver.stats))
    assert stats == {
        "requests": 1,
        "verified": 1,
        "stored": 2,
        "distinct": 1,
        "duplicates": 1,
        "refused": 0,
        "bad_signatures": 0,
        "faults": 0,
        "redirects_followed": 0,
    }
