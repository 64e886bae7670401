"""Events over HTTP: a real server, real clients, a real queue."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import os
import re
import shutil
import sys
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from forwarder.envelope import MAX_DEPTH, Envelope
from forwarder.errors import (
    DiskFullError,
    ForwarderError,
    QueueFullError,
    ShuttingDownError,
    StorageError,
    TooLargeError,
)
from forwarder.model import DeadFilter
from tests.fixtures import PATIENCE, Logs
from tests.ingest.http_client import PATH, raw, statuses
from tests.ingest.serving import MAX_EVENT, MAX_REQUEST, Serving, StubbornQueue, connect, event, line, lines, serving
from tests.ingest.serving import sqlite as open_queue

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

JSON, NDJSON = {"Content-Type": "application/json"}, {"Content-Type": "application/x-ndjson"}


@asynccontextmanager
async def client(server: Serving) -> AsyncIterator[aiohttp.ClientSession]:
    """Connect to the HTTP side."""
    address = server.address["http"]
    if address.path is not None:
        connector: aiohttp.BaseConnector = aiohttp.UnixConnector(address.path)
        base = "http://localhost"
    else:
        connector, base = aiohttp.TCPConnector(), f"http://{address.host}:{address.port}"
    async with aiohttp.ClientSession(base, connector=connector) as session:
        yield session


async def post(server: Serving, body: Any, headers: dict[str, str] = JSON, path: str = PATH) -> tuple[int, Any]:
    """Send one request; return the status and the JSON that came back."""
    async with client(server) as session, session.post(path, data=body, headers=headers) as response:
        assert response.content_type == ("application/json" if response.ok else "application/problem+json")
        answer = await response.json(content_type=None)
        assert response.ok or answer["status"] == response.status
        return response.status, answer


async def exchange(server: Serving, request: bytes) -> bytes:
    """Write bytes to the HTTP side and return all that comes back until it closes."""
    reader, writer = await connect(server.address["http"])
    writer.write(request)
    async with asyncio.timeout(PATIENCE):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


def problem(answer: bytes) -> dict[str, Any]:
    """Return the content of the one answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    found: dict[str, Any] = json.loads(body)
    return found


class TestAccepted:
    @pytest.mark.parametrize(
        ("body", "headers", "count"),
        [
            (json.dumps(event(0)), JSON, 1),
            (json.dumps([event(number) for number in range(5)], indent=1), JSON, 5),
            (lines(0, 5), NDJSON, 5),
            (b"\r\n" + lines(0, 3).replace(b"\n", b"\r\n\r\n") + line(3).rstrip(), NDJSON, 4),
            ("[]", JSON, 0),
            ("", NDJSON, 0),
            (lines(0, 3000, 200), NDJSON, 3000),
            (json.dumps([event(0)]), {"Content-Type": "Application/JSON; charset=UTF-8"}, 1),
            (json.dumps([event(0)]), {"Content-Type": "text/json"}, 1),
            (lines(0, 2), {"Content-Type": "application/ndjson"}, 2),
            (lines(0, 2), {"Content-Type": "application/jsonl"}, 2),
            (lines(0, 2), {"Content-Type": "application/x-jsonlines; charset=utf-8"}, 2),
            (lines(0, 2), {"Content-Type": "application/jsonlines"}, 2),
        ],
        ids=[
            *("object", "array", "lines", "odd lines", "none", "nothing", "many", "charset"),
            *("text/json", "ndjson", "jsonl", "x-jsonlines", "jsonlines"),
        ],
    )
    async def test_every_form(self, server: Serving, body: Any, headers: dict[str, str], count: int) -> None:
        """Objects, arrays and lines are accepted with their number, and are in the queue by then."""
        assert await post(server, body, headers) == (202, {"accepted": count})
        assert await server.stored() == list(range(count))

    async def test_ids(self, served: Serving) -> None:
        """With ?return=ids the answer has the ids in order: the client's own, and new ones."""
        status, answer = await post(
            served, json.dumps([event(1), {**event(2), "eventId": None}]), path=PATH + "?return=ids"
        )
        assert (status, answer["accepted"]) == (202, 2)
        stored = [json.loads(found)["eventId"] async for found in served.queue.peek("main", None)]
        assert answer["eventIds"] == stored
        assert stored[0] == event(1)["eventId"]

    @pytest.mark.parametrize(
        ("encoding", "pack"),
        [
            ("gzip", gzip.compress),
            ("GZIP", lambda data: gzip.compress(data[:700]) + gzip.compress(data[700:])),
            ("deflate", zlib.compress),
            ("deflate", lambda data: zlib.compress(data, wbits=-15) if sys.version_info >= (3, 11) else b""),
            ("zstd", zstd.compress),
            ("identity", bytes),
        ],
    )
    async def test_compressed(self, served: Serving, encoding: str, pack: Callable[[bytes], bytes]) -> None:
        """Compressed bodies are accepted, also where they come in chunks of unknown length."""
        packed = pack(lines(0, 5000))

        async def chunks() -> AsyncIterator[bytes]:
            for at in range(0, len(packed), 1000):
                yield packed[at : at + 1000]

        headers = {**NDJSON, "Content-Encoding": encoding}
        for body in (packed, chunks()):
            assert await post(served, body, headers) == (202, {"accepted": 5000})

    @pytest.mark.parametrize("first", ["identity", "gzip"])
    async def test_an_encoding_in_two_fields(self, server: Serving, first: str) -> None:
        """Fields of the same name are one list: identity beside gzip does not hide it."""
        second = {"identity": "gzip", "gzip": "identity"}[first]
        fields = (f"Content-Encoding: {first}", f"Content-Encoding: {second}", "Connection: close")
        answer = await exchange(server, raw(gzip.compress(line(0)) + bytes(1000), *fields))
        assert statuses(answer) == [202]
        twice = await exchange(
            server, raw(gzip.compress(line(0)), *["Content-Encoding: gzip"] * 2, "Connection: close")
        )
        assert (problem(twice)["status"], "'gzip, gzip' is not known" in problem(twice)["detail"]) == (415, True)
        assert await server.stored() == [0]

    async def test_an_offer_of_http_2(self, server: Serving) -> None:
        """Java's client offers HTTP/2 with each request: large and small ones are answered in HTTP/1.1, as ever."""
        offer = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBA")
        reader, writer = await connect(server.address["http"])
        for body, kind in ((line(0), "application/json"), (lines(1, 2000, 200), NDJSON["Content-Type"])) * 2:
            writer.write(raw(body, *offer, kind=kind))
            async with asyncio.timeout(PATIENCE):
                answer = await reader.readuntil(b"}")
            assert statuses(answer) == [202]
            assert b"Connection: close" not in answer
        writer.close()

    @pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
    async def test_curl(self, served: Serving, tmp_path: Path) -> None:
        """curl, which holds back a body above 1 MiB until it is asked for it, is served without a pause."""
        (tmp_path / "events").write_bytes(lines(0, 1900, 700))
        command = ["-sS", "--unix-socket", str(served.address["http"].path), "-H", "Content-Type: application/x-ndjson"]
        command += ["-H", "Expect: 100-continue", "--expect100-timeout", "8", "-w", " %{time_total}"]
        command += ["--data-binary", f"@{tmp_path / 'events'}", f"http://localhost{PATH}"]
        process = await asyncio.create_subprocess_exec("curl", *command, stdout=asyncio.subprocess.PIPE)
        out, _ = await process.communicate()
        answer, _, seconds = out.decode().rpartition(" ")
        assert json.loads(answer) == {"accepted": 1900}
        assert float(seconds) < 5

    async def test_health(self, server: Serving) -> None:
        """GET and HEAD of /healthz say that the process lives."""
        async with client(server) as session:
            async with session.get("/healthz") as response:
                assert (response.status, await response.text()) == (200, "ok\n")
            async with session.head("/healthz") as response:
                assert (response.status, await response.read()) == (200, b"")


class TestRefused:
    @pytest.mark.parametrize(
        ("body", "headers", "status", "type_", "words"),
        [
            (b"", JSON, 400, "malformed", "the body is empty"),
            (b" \r\n", JSON, 400, "malformed", "the body is empty"),
            (b"\xef\xbb\xbf{}", JSON, 400, "malformed", "byte order mark"),
            (b"\xef\xbb\xbf{}", NDJSON, 400, "malformed", "byte order mark"),
            ("{}".encode("utf-16"), JSON, 400, "malformed", "byte order mark of UTF-16"),
            ("{}".encode("utf-16"), NDJSON, 400, "malformed", "byte order mark of UTF-16"),
            (lines(0, 2), JSON, 400, "malformed", "an event a line"),
            (lines(0, 3000, 200), JSON, 400, "malformed", "an event a line"),
            (b"{}{}", JSON, 400, "malformed", "one object after the other"),
            (b"{", JSON, 400, "malformed", "ends too early"),
            (b"{}\n{", NDJSON, 400, "malformed", "event 1: not JSON"),
            (b'{"a":"\xff"}', JSON, 400, "malformed", "not UTF-8"),
            (b"[" * 100_000, JSON, 400, "malformed", "nested too deeply"),
            (
                b"{}",
                {"Content-Type": "text/plain"},
                415,
                "unsupported-media-type",
                "'text/plain' is not known; send appl",
            ),
            (b"{}", {"Content-Type": "application/json; charset=latin1"}, 415, "unsupported-media-type", "latin1"),
            (b"{}", {**JSON, "Content-Encoding": "br"}, 415, "unsupported-media-type", "'br' is not known"),
            (b"{}", {**JSON, "Content-Encoding": "gzip"}, 400, "malformed", "not gzip"),
            (b"", {**NDJSON, "Content-Encoding": "gzip"}, 400, "malformed", "ends too early"),
            (
                gzip.compress(b"{}", mtime=0)[:-1],
                {**JSON, "Content-Encoding": "gzip"},
                400,
                "malformed",
                "ends too early",
            ),
            (gzip.compress(b"{}", mtime=0) + b"xx", {**JSON, "Content-Encoding": "gzip"}, 400, "malformed", "not gzip"),
            (
                gzip.compress(bytes(10_000_000), mtime=0),
                {**JSON, "Content-Encoding": "gzip"},
                413,
                "too-large",
                "2,000,000",
            ),
            (bytes(MAX_REQUEST + 1), JSON, 413, "too-large", r"has 2,000,001 bytes, the limit is 2,000,000"),
            (line(0, MAX_EVENT), NDJSON, 413, "too-large", r"event 0: the event has 10,\d\d\d bytes"),
            (b"[{}]", {**JSON, "Origin": "https://evil.example"}, 403, "forbidden", "browsers"),
            (b"{}", {**JSON, "Expect": "200-maybe"}, 417, "expectation-failed", "200-maybe"),
        ],
    )
    async def test_refused_as_a_whole(
        self, server: Serving, body: bytes, headers: dict[str, str], status: int, type_: str, words: str
    ) -> None:
        """Each kind of bad request has its status, its type, and words that say what is wrong; nothing is stored."""
        found, answer = await post(server, io.BytesIO(body), headers)
        assert (found, answer["type"]) == (status, f"urn:forwarder:problem:{type_}")
        assert re.search(words, answer["detail"])
        assert await server.stored() == []

    async def test_invalid_events(self, served: Serving) -> None:
        """Bad events are named by index and field, at most twenty; the good ones beside them are not stored."""
        events = [event(0), *[{**event(number), "eventType": number} for number in range(1, 40)]]
        status, answer = await post(served, json.dumps(events))
        assert (status, answer["type"]) == (422, "urn:forwarder:problem:invalid-event")
        assert answer["errors"] == [
            {"index": index, "field": "eventType", "message": "must be a string, not a number"}
            for index in range(1, 21)
        ]
        assert await served.stored() == []

    async def test_no_destination(self, tmp_path: Path) -> None:
        """An event that matches no destination is refused."""
        rules = Envelope(routes={"main": {"eventSourceId": ["other"]}})
        async with serving(tmp_path, envelope=rules) as server:
            status, answer = await post(server, json.dumps(event(0)))
        assert (status, answer["errors"][0]["message"]) == (422, "matches no destination; see destinations.*.match")

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("POST", "/", 404),
            ("POST", "/v1/events/", 404),
            ("GET", PATH, 405),
            ("OPTIONS", PATH, 405),
            ("POST", "/healthz", 405),
        ],
    )
    async def test_other_paths_and_methods(self, server: Serving, method: str, path: str, status: int) -> None:
        """Other paths and methods are refused; the answer says what there is."""
        async with client(server) as session, session.request(method, path) as response:
            answer = await response.json(content_type="application/problem+json")
            assert response.status == answer["status"] == status
            assert "/v1/events" in answer["detail"] or response.headers["Allow"] == "GET, HEAD"
            assert (response.headers.get("Allow") == "POST") == (path == PATH)

    async def test_an_unknown_query(self, served: Serving) -> None:
        """A parameter with another value is refused before anything is stored."""
        status, answer = await post(served, json.dumps(event(0)), path=PATH + "?return=everything")
        assert (status, answer["hint"]) == (400, "use ?return=ids, or leave it out")
        assert await served.stored() == []

    async def test_a_large_request_is_not_read(self, served: Serving) -> None:
        """A request that says it is too large is answered before its body comes."""
        reader, writer = await connect(served.address["http"])
        writer.write(raw(b"", f"Content-Length: {MAX_REQUEST + 1}", "Expect: 100-continue"))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 413 ")
        assert b"Connection: close" in head
        writer.close()

    async def test_a_body_of_unknown_length_is_cut_off(self, served: Serving) -> None:
        """A body that does not say how long it is ends at the limit."""

        async def endless() -> AsyncIterator[bytes]:
            for _ in range(100):
                yield bytes(100_000)

        async with client(served) as session:
            try:
                async with session.post(PATH, data=endless(), headers=JSON) as response:
                    assert response.status == 413
            except aiohttp.ClientConnectionError:
                # It hung up while the client was still writing.
                pass
        assert await post(served, json.dumps(event(1))) == (202, {"accepted": 1})


class TestInvalid:
    """What breaks the rules where it is kept as a dead letter."""

    @pytest.fixture
    async def keeping(self, server: Serving) -> Serving:
        server.intake.keeps_invalid = True
        return server

    async def test_an_array(self, keeping: Serving) -> None:
        """The good events of an array are stored, the bad ones are dead letters, and the answer says how many."""
        body = b"[%s,{},%s,42]" % (line(0).strip(), line(1).strip())
        assert await post(keeping, body) == (202, {"accepted": 2, "invalid": 2})
        assert await keeping.stored() == [0, 1]
        found = await keeping.invalid()
        assert [(letter.reason, letter.status, letter.event) for letter in found] == [
            ("invalid", 422, b"{}"),
            ("invalid", 422, b"42"),
        ]
        assert found[0].detail == "eventSourceId: is required: a string that is not empty"

    async def test_lines(self, keeping: Serving) -> None:
        """Of lines each stands for itself: no JSON, no UTF-8, too large, or without a destination."""
        bad = [b"nonsense", b'{"x":"\xff"}', line(9, 20_000).strip()]
        body = line(0) + b"\n".join([*bad, b""]) + line(1)
        assert await post(keeping, body, NDJSON) == (202, {"accepted": 2, "invalid": 3})
        assert await keeping.stored() == [0, 1]
        assert [letter.status for letter in await keeping.invalid()] == [400, 400, 413]

    async def test_a_large_body(self, keeping: Serving) -> None:
        """What is checked in a thread is no exception."""
        body = lines(0, 5000, 100) + b"{}\n" + lines(5000, 5001)
        assert await post(keeping, io.BytesIO(body), NDJSON) == (202, {"accepted": 5001, "invalid": 1})

    async def test_no_destination(self, tmp_path: Path) -> None:
        """An event that matches no destination is kept, too."""
        rules = Envelope(routes={"main": {"eventType": ["t"]}})
        async with serving(tmp_path, envelope=rules) as server:
            server.intake.keeps_invalid = True
            body = [event(0), {**event(1), "eventType": "other"}]
            assert await post(server, json.dumps(body)) == (202, {"accepted": 1, "invalid": 1})
            assert [letter.event_id[-1] for letter in await server.invalid()] == ["1"]

    async def test_a_body_that_breaks_off(self, keeping: Serving) -> None:
        """A body whose events cannot be told apart is one that is none; one without anything in it is refused."""
        assert await post(keeping, b"[%s," % line(0).strip()) == (202, {"accepted": 0, "invalid": 1})
        assert json.loads((await keeping.invalid())[0].event)["invalid"]["text"].startswith('[{"eventSourceId"')
        assert (await post(keeping, b" "))[0] == 400

    async def test_ids(self, keeping: Serving) -> None:
        """The ids that come back stand in the order of the events, with null for what is invalid."""
        status, answer = await post(keeping, b"{}\n" + line(7) + b"x\n", NDJSON, PATH + "?return=ids")
        assert status == 202
        assert answer == {"accepted": 1, "invalid": 2, "eventIds": [None, event(7)["eventId"], None]}

    async def test_one_request(self, served: Serving) -> None:
        """A request says for itself what is to be done, whatever is configured."""
        assert (await post(served, b"{}"))[0] == 422
        assert await post(served, b"{}", path=PATH + "?invalid=dead_letter") == (202, {"accepted": 0, "invalid": 1})
        served.intake.keeps_invalid = True
        assert await post(served, b"{}") == (202, {"accepted": 0, "invalid": 1})
        assert (await post(served, b"{}", path=PATH + "?invalid=refuse"))[0] == 422
        status, answer = await post(served, b"{}", path=PATH + "?invalid=drop")
        assert (status, answer["detail"]) == (400, "invalid=drop is not known")
        assert len(await served.invalid()) == 2

    async def test_good_events_are_answered_as_ever(self, keeping: Serving) -> None:
        """Where nothing is invalid the answer says nothing of it."""
        assert await post(keeping, line(0)) == (202, {"accepted": 1})
        assert await post(keeping, lines(1, 3), NDJSON) == (202, {"accepted": 2})

    async def test_many_single_events(self, keeping: Serving) -> None:
        """Requests that are stored together keep apart: each is answered for itself."""
        bodies = [line(number) if number % 5 else b"{}" for number in range(50)]
        async with client(keeping) as session:

            async def one(body: bytes) -> Any:
                async with session.post(PATH, data=body, headers=JSON) as response:
                    return response.status, await response.json()

            answers = await asyncio.gather(*map(one, bodies))
        good, bad = (202, {"accepted": 1}), (202, {"accepted": 0, "invalid": 1})
        assert answers == [good if number % 5 else bad for number in range(50)]
        assert (len(await keeping.stored()), len(await keeping.invalid())) == (40, 10)

    @pytest.mark.parametrize("headers", [JSON, NDJSON])
    async def test_a_full_account(self, tmp_path: Path, headers: dict[str, str]) -> None:
        """Where the account is full, what is invalid is refused again, with all of its request; good ones go in."""
        async with open_queue(tmp_path, invalid_bytes=64 * 1024) as queue, serving(tmp_path, queue=queue) as server:
            server.intake.keeps_invalid = True
            bad = json.dumps({"x": "x" * 9000}).encode()
            answers = [await post(server, bad, headers) for _ in range(20)]
            kept = answers.count((202, {"accepted": 0, "invalid": 1}))
            assert 3 < kept < 8
            status, answer = answers[-1]
            assert (status, answer["errors"][0]["field"]) == (422, "eventSourceId")
            assert await post(server, line(0), headers) == (202, {"accepted": 1})
            assert len(await server.invalid()) == kept
            assert {name: full.refused for name, full in server.intake.fullness.now().items()} == {"invalid": 20 - kept}
            await queue.purge_dead(DeadFilter("invalid"))
            assert (await post(server, bad, headers))[0] == 202

    async def test_a_full_queue(self, tmp_path: Path) -> None:
        """While the queue itself is full, what is invalid is to be sent again later, like anything else."""
        async with serving(tmp_path, queue=StubbornQueue(QueueFullError("full"))) as server:
            server.intake.keeps_invalid = True
            assert (await post(server, b"{}"))[0] == 503


class TestAccess:
    async def test_token(self, tmp_path: Path) -> None:
        """With a token configured, events want it and the probe does not."""
        async with serving(tmp_path, tcp=True, token="s3cret") as server:
            for headers, status in [
                ({}, 401),
                ({"Authorization": "Bearer no"}, 401),
                ({"Authorization": "Bearer s3cret"}, 202),
            ]:
                assert (await post(server, json.dumps(event(0)), {**JSON, **headers}))[0] == status
            async with client(server) as session:
                async with session.post(PATH) as response:
                    assert response.headers["WWW-Authenticate"] == "Bearer"
                async with session.get("/healthz") as response:
                    assert response.status == 200

    @pytest.mark.parametrize(("offset", "status"), [(0, 202), (1, 403)])
    async def test_user_ids(self, tmp_path: Path, offset: int, status: int) -> None:
        """On a unix socket only allowed users get in."""
        async with serving(tmp_path, uids=frozenset({os.getuid() + offset})) as server:
            assert (await post(server, json.dumps(event(0))))[0] == status

    async def test_a_stranger_that_hangs_up_at_once(self, tmp_path: Path) -> None:
        """A client that may not send here cannot get around that by closing before it is asked who it is."""
        async with serving(tmp_path, uids=frozenset({os.getuid() + 1})) as server:
            for _ in range(50):
                _reader, writer = await connect(server.address["http"])
                writer.write(raw(line(1)))
                await asyncio.sleep(0)
                writer.transport.abort()
            await asyncio.sleep(0.1)
            assert await server.stored() == []

    async def test_rebinding(self, tmp_path: Path) -> None:
        """A name that is not ours does not get in at a loopback address."""
        async with serving(tmp_path, tcp=True) as server:
            status, answer = await post(server, json.dumps(event(0)), {**JSON, "Host": "evil.example"})
        assert (status, answer["type"]) == (403, "urn:forwarder:problem:forbidden")


class TestConnections:
    async def test_pipelined(self, server: Serving) -> None:
        """Requests that are sent at once are answered in order, refusals among them, on one connection."""
        requests = [
            raw(line(0)),
            raw(b"{}"),
            raw(b"{}", kind="text/plain"),
            raw(line(1)),
            raw(b"", path="/no"),
            raw(line(2), "Connection: close"),
        ]
        answer = await exchange(server, b"".join(requests))
        assert statuses(answer) == [202, 422, 415, 202, 404, 202]
        assert await server.stored() == [0, 1, 2]

    @pytest.mark.parametrize(
        ("requests", "wanted"),
        [
            ([raw(line(0))], [202]),
            ([raw(lines(0, 3), kind="application/x-ndjson")], [202]),
            ([raw(lines(0, 3000, 200), kind="application/x-ndjson")], [202]),
            ([raw(b"[" + b",".join(lines(0, 3000, 200).splitlines()) + b"]")], [202]),
            ([raw(line(0), path=PATH + "?return=ids")], [202]),
            ([raw(zstd.compress(lines(0, 3000, 200)), "Content-Encoding: zstd", kind="application/x-ndjson")], [202]),
            ([raw(line(0)), raw(line(1))], [202, 202]),
            ([raw(line(number)) for number in range(100)], [202] * 100),
            (
                [raw(lines(0, 2000, 200), kind="application/x-ndjson"), raw(b"{}"), raw(b"", path="/no")],
                [202, 422, 404],
            ),
            ([raw(line(0)), b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"], [202, 200]),
            ([raw(line(0))[:-4]], [400]),
            ([raw(line(0)), raw(line(1))[:-4]], [202, 400]),
            ([raw(line(0), "Content-Length: 5000")], [400]),
        ],
        ids=[
            *(
                "object",
                "lines",
                "many lines",
                "large array",
                "ids",
                "compressed",
                "two",
                "hundred",
                "refusals",
                "probe",
            ),
            *("cut off", "cut off behind another", "cut off long before"),
        ],
    )
    async def test_a_client_that_ends_its_side(self, server: Serving, requests: list[bytes], wanted: list[int]) -> None:
        """Whoever only ends its own side still reads the answers to all that it asked, and then the end."""
        reader, writer = await connect(server.address["http"])
        writer.write(b"".join(requests))
        writer.write_eof()
        async with asyncio.timeout(PATIENCE):
            answer = await reader.read()
        assert statuses(answer) == wanted
        writer.close()

    async def test_the_connection_survives_refusals(self, served: Serving) -> None:
        """A request that was read to its end and refused does not cost the connection."""
        async with client(served) as session:
            for body in ("[", "{}", json.dumps(event(0)), "{}"):
                async with session.post(PATH, data=body, headers=JSON) as response:
                    assert response.headers.get("Connection", "keep-alive") == "keep-alive"

    async def test_a_refused_body_that_is_still_to_come(self, served: Serving) -> None:
        """Where a client waits to be asked for its body and is refused instead, the connection ends there, soon."""
        answer = await exchange(served, raw(b"", "Content-Length: 10", "Expect: 100-continue", path="/no"))
        assert statuses(answer) == [404]
        assert b"Connection: close" in answer

    async def test_continue(self, served: Serving) -> None:
        """A client that waits for it is told to go on, once the request is known to be good."""
        reader, writer = await connect(served.address["http"])
        writer.write(raw(b"", f"Content-Length: {len(line(7))}", "Expect: 100-Continue"))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(line(7))
        assert (await reader.readuntil(b"}")).endswith(b'{"accepted": 1}')
        writer.close()
        assert await served.stored() == [7]

    async def test_continue_is_not_for_old_clients(self, served: Serving) -> None:
        """HTTP/1.0 knows no interim answers."""
        request = raw(line(1), "Expect: 100-continue", "Connection: close").replace(b"HTTP/1.1", b"HTTP/1.0", 1)
        answer = await exchange(served, request)
        assert answer.startswith((b"HTTP/1.0 202 ", b"HTTP/1.1 202 "))

    @pytest.mark.parametrize(
        "garbage",
        [
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
            b"hello\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"POST /v1/events HTTP/1.1\r\nContent-Length: many\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"POST /v1/events HTTP/1.1\r\nno colon\r\n\r\n",
        ],
        ids=["tls", "words", "version", "length", "smuggling", "header"],
    )
    async def test_what_is_not_http(self, server: Serving, garbage: bytes) -> None:
        """Bytes that are not HTTP are answered with a problem, too, and are no error of ours."""
        found = problem(await exchange(server, garbage))
        assert (found["status"], found["type"]) == (400, "urn:forwarder:problem:malformed")
        assert found["detail"].startswith("not HTTP: ")
        assert "\n" not in found["detail"]

    @pytest.mark.parametrize("chunks", [b"zz\r\n{}\r\n0\r\n\r\n", b"2\r\n{}xx\r\n0\r\n\r\n"])
    async def test_broken_chunks(self, served: Serving, chunks: bytes) -> None:
        """A chunked body that breaks the rules of HTTP is the client's mistake."""
        answer = await exchange(served, raw(b"", "Transfer-Encoding: chunked", "Connection: close") + chunks)
        assert problem(answer)["status"] == 400

    async def test_chunks_that_break_later(self, served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
        """A body that stops to be HTTP while it is being received is given up, at the latest with the waiting."""
        monkeypatch.setattr("forwarder.ingest.http._IDLE_SECONDS", 0.1)
        for chunks in (b"zz\r\n{}\r\n0\r\n\r\n", b"2\r\n{}xx\r\n0\r\n\r\n"):
            reader, writer = await connect(served.address["http"])
            writer.write(raw(b"", "Transfer-Encoding: chunked"))
            await asyncio.sleep(0.05)
            writer.write(chunks)
            assert (await reader.read(12)) in {b"HTTP/1.1 400", b"HTTP/1.1 408"}
            writer.close()

    @pytest.mark.parametrize("limit", [0, 10_000_000])
    async def test_nesting_at_the_limit(self, served: Serving, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
        """How deep an event may be nested is one number, with its id returned or not, on the loop and beside it."""
        monkeypatch.setattr("forwarder.ingest.http.LARGE_BYTES", limit)
        for levels, status in ((MAX_DEPTH, 202), (MAX_DEPTH + 1, 400), (sys.getrecursionlimit(), 400)):
            inner = b"[" * (levels - 1) + b"]" * (levels - 1)
            body = b'{"eventSourceId":"s","eventType":"t","x":' + inner + b"}"
            for path in (PATH, PATH + "?return=ids"):
                assert (await post(served, body, path=path))[0] == status
                assert (await post(served, b"[" + body + b"]", path=path))[0] == status
        assert (await served.queue.stats()).destinations["main"].accepted == 4

    async def test_a_missing_content_type(self, served: Serving) -> None:
        """A body without a content type is refused as such, and not by a name that it was never given."""
        request = raw(line(1), "Connection: close").replace(b"Content-Type: application/json\r\n", b"")
        found = problem(await exchange(served, request))
        assert (found["status"], found["hint"]) == (415, "set the header Content-Type")
        assert found["detail"].startswith("the Content-Type is missing; send application/json")

    @pytest.mark.parametrize("at", [0, 10, 100, 150])
    @pytest.mark.parametrize("is_rude", [True, False])
    async def test_a_client_that_goes_away(self, server: Serving, at: int, is_rude: bool) -> None:
        """A client that disconnects in the middle of a request is no error, and leaves nothing in the queue."""
        for header in ("Connection: keep-alive", "Transfer-Encoding: chunked", "Content-Encoding: gzip"):
            _reader, writer = await connect(server.address["http"])
            writer.write(raw(line(0, 100), header)[:at])
            await asyncio.sleep(0.01)
            if is_rude:
                writer.transport.abort()
            else:
                writer.close()
        await asyncio.sleep(0.05)
        assert await server.stored() == []

    async def test_a_client_that_does_not_go_on(self, served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
        """A request of which nothing more comes is given up; nobody else waited for it."""
        monkeypatch.setattr("forwarder.ingest.http._IDLE_SECONDS", 0.05)
        monkeypatch.setattr("forwarder.ingest.http.GRACE_SECONDS", 0.05)
        reader, writer = await connect(served.address["http"])
        writer.write(raw(line(0)[:50], f"Content-Length: {len(line(0))}"))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 408 ")
        assert "timeout" in (await reader.read(200)).decode()
        writer.close()


@pytest.mark.slow
class TestHoldsUpNobody:
    @pytest.mark.parametrize(
        ("body", "headers", "status"),
        [
            # Each line has a key twice that is none of the envelope, so that each is read member by member.
            (b'{"a":1,"a":2,"eventSourceId":"s","eventType":"t"}\n' * 8000, NDJSON, 202),
            (b"[" + b'{"a":1,"a":2,"eventSourceId":"s","eventType":"t"},' * 8000 + b"{}]", JSON, 422),
            (b"[" + b'{"a":1,"a":2,"eventSourceId":"s","eventType":"t"},' * 1200 + b"{}]", JSON, 422),
            (b"{}\n" * 150_000, NDJSON, 422),
            (zstd.compress(b"") * 200_000, {**NDJSON, "Content-Encoding": "zstd"}, 413),
            (gzip.compress(b"") * 90_000, {**NDJSON, "Content-Encoding": "gzip"}, 413),
        ],
        ids=["lines", "array", "small array", "bad lines", "zstd frames", "gzip members"],
    )
    async def test_what_takes_long(
        self, served: Serving, body: bytes, headers: dict[str, str], status: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """While a body is looked at that takes long, the loop goes on: others are served in between."""
        turns = 0

        async def turn() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        real = asyncio.to_thread
        seen: list[int] = []

        async def to_thread(*args: Any) -> Any:
            before = turns
            try:
                return await real(*args)
            finally:
                seen.append(turns - before)

        monkeypatch.setattr(asyncio, "to_thread", to_thread)
        turning = asyncio.create_task(turn())
        assert (await post(served, io.BytesIO(body), headers))[0] == status
        turning.cancel()
        assert max(seen) > 1


class TestUnavailable:
    @pytest.mark.parametrize(
        ("refusal", "status", "type_", "retry_after"),
        [
            (QueueFullError("the queue is full"), 503, "queue-full", "5"),
            (DiskFullError("no space left"), 503, "disk-full", "10"),
            (StorageError("I/O error"), 503, "storage-failing", "10"),
            (ShuttingDownError("shutting down"), 503, "shutting-down", "5"),
            (TooLargeError("can never fit"), 413, "too-large", None),
        ],
    )
    async def test_the_queue_refuses(
        self, tmp_path: Path, refusal: ForwarderError, status: int, type_: str, retry_after: str | None
    ) -> None:
        """While the queue cannot take events, a client is told when to come again; then it is served."""
        queue = StubbornQueue(refusal)
        async with serving(tmp_path, queue=queue) as server, client(server) as session:
            async with session.post(PATH, json=event(0)) as response:
                answer = await response.json(content_type=None)
                assert (response.status, answer["type"]) == (status, f"urn:forwarder:problem:{type_}")
                assert response.headers.get("Retry-After") == retry_after
            queue.relent()
            async with session.post(PATH, json=event(0)) as response:
                assert response.status == 202

    async def test_a_queue_that_is_really_full(self, tmp_path: Path) -> None:
        """A queue that has reached its size refuses; what it had accepted stays."""
        async with open_queue(tmp_path, max_bytes=1024 * 1024) as queue, serving(tmp_path, queue=queue) as server:
            accepted = 0
            while (answer := await post(server, lines(accepted, accepted + 100, 300), NDJSON))[0] == 202:
                accepted += 100
            assert answer[1]["type"] == "urn:forwarder:problem:queue-full"
            assert 0 < accepted < 5000
            assert await server.stored() == list(range(accepted))

    async def test_shutting_down(self, served: Serving) -> None:
        """Once the intake is closed, requests are told so."""
        served.intake.close()
        status, answer = await post(served, json.dumps(event(0)))
        assert (status, answer["type"]) == (503, "urn:forwarder:problem:shutting-down")

    async def test_too_much_at_once(self, served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
        """Requests that are large together wait for each other, but not for ever."""
        body = lines(0, 1500)
        most = len(body) * 2 // 3
        for name, value in (("_MAX_BYTES", most), ("LARGE_BYTES", 1000), ("_WAIT_SECONDS", 0.05)):
            monkeypatch.setattr(f"forwarder.ingest.admission.{name}", value)
        assert await post(served, body, NDJSON) == (202, {"accepted": 1500})
        _reader, writer = await connect(served.address["http"])
        writer.write(raw(body[:90_000], f"Content-Length: {len(body)}", kind=NDJSON["Content-Type"]))
        await asyncio.sleep(0.05)
        packed = gzip.compress(body)
        for part, headers in ((body, NDJSON), (packed, {**NDJSON, "Content-Encoding": "gzip"})):
            status, answer = await post(served, part, headers)
            assert (status, answer["type"]) == (503, "urn:forwarder:problem:busy")
        monkeypatch.setattr("forwarder.ingest.admission._WAIT_SECONDS", 60.0)
        waiting = asyncio.create_task(post(served, body, NDJSON))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        assert await post(served, lines(0, 5), NDJSON) == (202, {"accepted": 5})
        writer.close()
        assert await waiting == (202, {"accepted": 1500})


class TestBugs:
    async def test_a_bug_of_ours(self, tmp_path: Path, logs: Logs) -> None:
        """Where the forwarder fails, the client gets no traceback, the log has it, and the connection goes on."""
        queue = StubbornQueue(RuntimeError("a secret of the inside"))
        async with serving(tmp_path, queue=queue) as server, client(server) as session:
            async with session.post(PATH, json=event(0)) as response:
                text = await response.text()
                assert response.status == 500
                assert response.content_type == "application/problem+json"
            queue.relent()
            async with session.post(PATH, json=event(0)) as response:
                assert response.status == 202
        assert "secret" not in text
        assert "Traceback" not in text
        assert [(found["event"], found["path"]) for found in logs] == [("intake.failed", PATH)]
        logs.clear()

    async def test_a_bug_beyond_the_handler(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where even the handling of errors fails, there is still a problem for the client and a line in the log."""

        def fail(_error: Exception) -> None:
            raise RuntimeError("a secret of the inside")

        async with serving(tmp_path) as server:
            monkeypatch.setattr("forwarder.ingest.http.problem_of", fail)
            found = problem(await exchange(server, raw(b"{", "Connection: close")))
        assert (found["status"], found["type"]) == (500, "urn:forwarder:problem:internal")
        assert [record[:2] for record in caplog.record_tuples] == [("aiohttp.server", 40)]
        caplog.clear()
