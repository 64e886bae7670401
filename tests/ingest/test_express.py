"""The short way for small requests: what it takes, what it leaves to aiohttp, and that both answer alike."""

from __future__ import annotations

import asyncio
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_parser import HttpRequestParser
from hypothesis import given
from hypothesis import strategies as st

from forwarder.ingest.express import read_head
from tests.fixtures import PATIENCE
from tests.ingest.http_client import answer, ask, body, clients, raw, statuses
from tests.ingest.serving import MAX_EVENT, Serving, connect, line, serving

REQUEST = b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n"


def head(*fields: str, start: str = "POST /v1/events HTTP/1.1") -> bytes:
    """Write a head that is served here, with other fields behind its own."""
    own = ["Host: x", "Content-Type: application/json", "Content-Length: 2"]
    return "\r\n".join([start, *own, *fields, "", ""]).encode()


class TestHead:
    @pytest.mark.parametrize(
        "fields",
        [
            [],
            ["User-Agent: x/1", "Accept: */*", "accept-encoding: gzip, br"],
            ["Connection: keep-alive"],
            ["CONNECTION:Keep-Alive"],
            [f"X{number}:" for number in range(125)],
            ["Authorization: Bearer s3cret", "X-Empty:", "X-Tab: \t a\tb \t"],
        ],
    )
    def test_plain(self, fields: list[str]) -> None:
        """A usual head is read: its length, and its fields by the names of aiohttp."""
        found = read_head(head(*fields))
        assert found is not None
        assert found.length == 2
        assert found.headers["Content-Type"] == "application/json"
        for field in fields:
            name, _, value = field.partition(":")
            assert found.headers[name.title()] == value.strip()

    @pytest.mark.parametrize("kind", ["Application/JSON", "application/json; charset=UTF-8"])
    def test_kinds(self, kind: str) -> None:
        """JSON may say that it is UTF-8."""
        assert read_head(REQUEST.replace(b"application/json", kind.encode())) is not None

    @pytest.mark.parametrize(
        "fields",
        [
            ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAA"],
            ["connection: keep-alive,upgrade", "upgrade: H2C"],
            ["Connection: Keep-Alive"],
        ],
    )
    def test_an_offer_of_another_protocol(self, fields: list[str]) -> None:
        """A client that offers HTTP/2 for the next requests, as Java's does, has sent a plain one."""
        assert read_head(head(*fields)) is not None

    @pytest.mark.parametrize(
        "found",
        [
            head(start="POST /v1/events HTTP/1.0"),
            head(*[f"X{number}:" for number in range(126)]),
            head(start="post /v1/events HTTP/1.1"),
            head(start="POST /v1/events?return=ids HTTP/1.1"),
            head(start="POST http://localhost/v1/events HTTP/1.1"),
            head(start="POST /v1/events/ HTTP/1.1"),
            head(start="GET /healthz HTTP/1.1"),
            head("Content-Length: 2"),
            head("content-length: 3"),
            head("Host: a", "HOST: b"),
            head("Transfer-Encoding: chunked"),
            head("Content-Encoding: gzip"),
            head("Expect: 100-continue"),
            head("Upgrade: websocket"),
            head("Upgrade: h2c, websocket"),
            head("Connection: upgrade, close", "Upgrade: h2c"),
            head("Connection: close"),
            head("Connection: keep-alive, X"),
            head("No colon"),
            head("Space : before"),
            head(" folded: field"),
            head("X: nul\0"),
            head("X: line\nfeed"),
            head("X: \u00e4"),
            head("X: \x7f"),
            REQUEST.replace(b"application/json", b"application/x-ndjson"),
            REQUEST.replace(b"application/json", b"application/json; charset=latin1"),
            REQUEST.replace(b"Content-Length: 2\r\n", b""),
            REQUEST.replace(b"Host: x\r\n", b""),
            REQUEST.replace(b"Length: 2", b"Length: +2"),
            REQUEST.replace(b"Length: 2", b"Length: 0x2"),
            REQUEST.replace(b"Length: 2", b"Length: 2, 2"),
            REQUEST.replace(b"Length: 2", b"Length: 99999999"),
            REQUEST.replace(b"Length: 2", b"Length: \xb2"),
            REQUEST.replace(b"\r\n", b"\n"),
            REQUEST[:-1],
            REQUEST + b"\r\n",
            b"POST /v1/events HTTP/1.1\r\n\r\n",
            b"",
        ],
    )
    def test_anything_else(self, found: bytes) -> None:
        """Whatever has a meaning, stands twice or is not quite HTTP is left to aiohttp."""
        assert read_head(found) is None


class TestServed:
    async def test_one_after_the_other(self, server: Serving, handed_over: list[bytes]) -> None:
        """Events on a kept connection are stored in order, and answered as aiohttp would."""
        last = raw(body(7) + b"\n", kind="application/x-ndjson")
        async with clients(server, 1) as (ours,):
            for numbers in ([0], [1, 2, 3], [4], [5, 6]):
                found = b",".join(map(body, numbers))
                status, headers, said = await ask(ours, raw(found if len(numbers) == 1 else b"[" + found + b"]"))
                assert (status, said) == (202, {"accepted": len(numbers)})
            assert handed_over == []
            theirs = await ask(ours, last)
        assert handed_over == [last]
        assert theirs[0::2] == (202, {"accepted": 1})
        assert headers.keys() == theirs[1].keys() - {"server"}
        assert headers["content-type"] == theirs[1]["content-type"].partition(";")[0]
        assert await server.stored() == list(range(8))

    @pytest.mark.parametrize("end", [b"\n", b"\r\n", b" \t\r\n \n"])
    async def test_white_space_at_the_end(self, server: Serving, handed_over: list[bytes], end: bytes) -> None:
        """What an encoder writes behind an event or an array, such as a newline, makes it no other."""
        async with clients(server, 3) as found:
            bodies = [body(0), b"[" + body(1) + b"," + body(2) + b"]", body(3)]
            said = await asyncio.gather(*(ask(one, raw(sent + end)) for one, sent in zip(found, bodies, strict=True)))
            assert [status for status, _, _ in said] == [202] * 3
        assert handed_over == []
        assert sorted(await server.stored()) == [0, 1, 2, 3]

    async def test_many_at_once(self, server: Serving, handed_over: list[bytes]) -> None:
        """Events of many connections are stored together; a bad one among them is refused alone, in its own words."""
        bad = {3: b"{}", 7: b'{"a"}', 11: b'{"eventSourceId":"s","eventType":"t","x":"\xff"}', 13: b"{}{}"}
        bad[17] = body(17)[:-1] + b',"y":"' + b"y" * MAX_EVENT + b'"}'
        async with clients(server, 20) as found:
            said = await asyncio.gather(*(ask(one, raw(bad.get(n) or body(n))) for n, one in enumerate(found)))
            again = await asyncio.gather(*(ask(one, raw(body(20 + n))) for n, one in enumerate(found)))
        wanted = {3: 422, 7: 400, 11: 400, 13: 400, 17: 413}
        assert [status for status, _, _ in said] == [wanted.get(number, 202) for number in range(20)]
        assert [(error["index"], error["field"]) for error in said[3][2]["errors"]] == [(0, "eventSourceId")]
        assert said[3][1]["content-type"] == "application/problem+json"
        assert [status for status, _, _ in again] == [202] * 20
        assert handed_over == []
        assert sorted(await server.stored()) == sorted({*range(20)} - bad.keys() | {*range(20, 40)})

    async def test_in_parts(self, server: Serving, handed_over: list[bytes]) -> None:
        """However a request is cut on its way behind its head, it is served here."""
        request = raw(b"[" + body(0) + b", " + body(1) + b"]")
        start = request.index(b"\r\n\r\n") + 4
        async with clients(server, 1) as (ours,):
            for cuts in ([start], [start + 10], [start, start + 1], range(start, len(request), 40)):
                for first, until in pairwise([0, *cuts]):
                    ours[1].write(request[first:until])
                    await asyncio.sleep(0.01)
                assert (await ask(ours, request[cuts[-1] :]))[0::2] == (202, {"accepted": 2})
            assert handed_over == []
        assert await server.stored() == [0, 1] * 4

    async def test_more_than_a_request_in_parts(self, server: Serving, handed_over: list[bytes]) -> None:
        """Where the next request comes with the rest of one, aiohttp answers both."""
        request = raw(body(0))
        async with clients(server, 1) as (ours,):
            ours[1].write(request[:-5])
            await asyncio.sleep(0.02)
            ours[1].write(request[-5:] + raw(body(1)))
            assert [(await answer(ours))[0] for _ in range(2)] == [202, 202]
        assert handed_over == [request + raw(body(1))]
        assert await server.stored() == [0, 1]

    async def test_arrays_at_once(self, server: Serving, handed_over: list[bytes]) -> None:
        """Arrays that come at the same moment as single events are each accepted or refused as a whole."""
        bodies = [
            b"[" + body(0) + b"," + body(1) + b"]",
            body(2),
            b"[" + body(3) + b",{}]",
            b"[" + body(4) + b"\n,\n" + body(5) + b"]",
            b"{}",
            b"[" + body(6) + b",]",
            b"[]",
            b"[[]]",
        ]
        async with clients(server, len(bodies)) as found:
            for one, sent in zip(found, bodies, strict=True):
                one[1].write(raw(sent))
            answers = [await answer(one) for one in found]
        assert [status for status, _, _ in answers] == [202, 202, 422, 202, 422, 400, 202, 422]
        assert [said["accepted"] for status, _, said in answers if status == 202] == [2, 1, 2, 0]
        assert answers[2][2]["errors"][0]["index"] == 1
        assert handed_over == []
        assert sorted(await server.stored()) == [0, 1, 2, 4, 5]

    async def test_a_large_array(self, server: Serving, handed_over: list[bytes]) -> None:
        """An array that is too large for the short way is stored like any other."""
        large = b"[" + b",".join([body(number % 100) for number in range(1000)]) + b"]"
        async with clients(server, 1) as (ours,):
            assert (await ask(ours, raw(large)))[0::2] == (202, {"accepted": 1000})
        assert len(handed_over) == 1
        assert await server.stored() == [number % 100 for number in range(1000)]

    async def test_a_rest_that_does_not_come(
        self, served: Serving, handed_over: list[bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What came in part is given to aiohttp after a while, which gives it up with words."""
        monkeypatch.setattr("forwarder.ingest.express._REST_SECONDS", 0.05)
        monkeypatch.setattr("forwarder.ingest.http._IDLE_SECONDS", 0.05)
        async with clients(served, 1) as (ours,):
            status, _, said = await ask(ours, raw(body(0))[:-5])
        assert (status, said["type"]) == (408, "urn:forwarder:problem:timeout")
        assert len(handed_over) == 1

    async def test_a_request_before_the_answer(self, server: Serving) -> None:
        """Requests that do not wait for answers are answered in order."""
        async with clients(server, 1) as (ours,):
            ours[1].write(raw(body(0)))
            await asyncio.sleep(0)
            for request in (body(1), b"{}", body(2)):
                ours[1].write(raw(request))
            assert [(await answer(ours))[0] for _ in range(4)] == [202, 202, 422, 202]
        assert await server.stored() == [0, 1, 2]

    async def test_a_client_that_ends_its_side(self, served: Serving) -> None:
        """A client that sends nothing more after its request still gets the answer, and then the end."""
        async with clients(served, 1) as (ours,):
            ours[1].write(raw(body(0)))
            ours[1].write_eof()
            assert (await answer(ours))[0] == 202
            assert await ours[0].read() == b""

    async def test_a_client_that_is_gone(self, served: Serving) -> None:
        """An event whose sender has hung up since is stored, and the answer is nobody's."""
        _reader, writer = await connect(served.address["http"])
        writer.write(raw(body(0)))
        await asyncio.sleep(0)
        writer.transport.abort()
        async with asyncio.timeout(PATIENCE):
            while await served.stored() != [0]:
                await asyncio.sleep(0.01)

    async def test_a_client_that_does_not_read(self, served: Serving, handed_over: list[bytes]) -> None:
        """A client that never reads its answers is not read from in the end."""
        reader, writer = await connect(served.address["http"])
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        sent, is_taken = 0, True
        async with asyncio.timeout(PATIENCE):
            # On a busy machine nothing is taken for a while at any time: what counts is that it was handed over before.
            while is_taken or not handed_over:
                writer.write(raw(b"{}"))
                sent += 1
                try:
                    async with asyncio.timeout(0.5):
                        await writer.drain()
                    await asyncio.sleep(0)
                except TimeoutError:
                    is_taken = False
        assert sent < 50_000
        writer.transport.abort()
        assert reader.exception() is None

    async def test_a_second_look(
        self, served: Serving, monkeypatch: pytest.MonkeyPatch, handed_over: list[bytes]
    ) -> None:
        """A connection that seems to have been idle for too long is looked at again: it may be us who stood still."""
        monkeypatch.setattr("forwarder.ingest.express._IDLE_SECONDS", 0.2)
        monkeypatch.setattr("forwarder.ingest.express.GRACE_SECONDS", 30.0)
        async with clients(served, 1) as (client,):
            await asyncio.sleep(0.5)
            assert (await ask(client, raw(body(1))))[0] == 202
        assert handed_over == []

    async def test_idle(self, served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
        """A connection on which nothing comes is closed in the end, and one in use is not."""
        monkeypatch.setattr("forwarder.ingest.express._IDLE_SECONDS", 0.3)
        async with clients(served, 2) as (idle, used):
            async with asyncio.timeout(PATIENCE):
                while not idle[0].at_eof():
                    assert (await ask(used, raw(body(0))))[0] == 202
                    await asyncio.sleep(0.02)
            assert (await ask(used, raw(body(1))))[0] == 202

    async def test_a_small_limit(self, served: Serving, handed_over: list[bytes]) -> None:
        """A body over `max_request_bytes` is refused with the words of that, also where it is small."""
        served.http.limit(50)
        async with clients(served, 1) as (ours,):
            status, _, said = await ask(ours, raw(body(0)))
        assert (status, "the limit is 50" in said["detail"]) == (413, True)
        assert len(handed_over) == 1

    async def test_not_an_object(self, server: Serving) -> None:
        """Whatever else the body is, it is taken or refused as everywhere."""
        async with clients(server, 1) as (ours,):
            for found, status in (
                (b"[]", 202),
                (b" ", 400),
                (b'{"a":1}\n', 422),
                (line(1), 202),
                (b"{\n}", 422),
                (b"7", 400),
            ):
                assert (await ask(ours, raw(found)))[0] == status

    async def test_who_may_not_come_in(self, tmp_path: Path) -> None:
        """Tokens and browsers are looked at for each request, also where the head is known already."""
        async with serving(tmp_path, tcp=True, token="s3cret") as server, clients(server, 4) as found:
            good = raw(body(0), "Authorization: Bearer s3cret")
            for one, request, status in (
                (found[0], good, 202),
                (found[1], raw(body(0)), 401),
                (found[2], raw(body(0), "Authorization: Bearer s3cret", "Origin: http://x"), 403),
                (found[3], good.replace(b"Host: localhost", b"Host: evil.example"), 403),
            ):
                assert (await ask(one, request))[0] == status
            assert (await ask(found[0], good))[0] == 202


MESSAGES = [
    raw(body(1)),
    raw(body(2), "Connection: keep-alive"),
    raw(body(3), kind="application/json; charset=utf-8"),
    raw(b"{}"),
    raw(b"[]"),
    raw(b"[" + body(7) + b", " + body(8) + b"]"),
    raw(b"[" + body(9) + b",{}]"),
    raw(b"[" + body(9) + b",]"),
    raw(b'{"a":'),
    raw(line(4) + line(5), kind="application/x-ndjson"),
    raw(body(6), path="/v1/events?return=ids"),
    raw(b"", path="/other"),
    b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
]


class TestAlike:
    @pytest.mark.parametrize("cut", [1, 40, 150, 300, 10_000])
    async def test_however_it_is_cut(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int) -> None:
        """Whether a connection begins here or at aiohttp, and however it is cut into reads, the answers are alike."""
        sent = b"".join(MESSAGES) + raw(body(10), "Connection: close")

        async def talk(folder: Path) -> tuple[list[int], list[int]]:
            async with serving(folder) as server:
                reader, writer = await connect(server.address["http"])
                for at in range(0, len(sent), cut):
                    writer.write(sent[at : at + cut])
                    if cut > 1 or at % 100 == 0:
                        await asyncio.sleep(0.001)
                async with asyncio.timeout(PATIENCE):
                    found = await reader.read()
                writer.close()
                return statuses(found), await server.stored()

        for name in ("ours", "theirs"):
            (tmp_path / name).mkdir()
        ours = await talk(tmp_path / "ours")
        monkeypatch.setattr("forwarder.ingest.express.read_head", lambda _head: None)
        assert ours == await talk(tmp_path / "theirs")
        assert len(ours[0]) == len(MESSAGES) + 1

    @given(st.binary(max_size=40), st.sampled_from(range(len(REQUEST))))
    def test_damaged_heads(self, damage: bytes, at: int) -> None:
        """A head is served here only if aiohttp would read it in the same way."""
        found = REQUEST[:at] + damage + REQUEST[at + len(damage) :]
        ours = read_head(found)
        if ours is None:
            return
        with closing(asyncio.new_event_loop()) as loop:
            ((message, _payload),), _, _ = HttpRequestParser(BaseProtocol(loop), loop, 2**16).feed_data(found)
        assert (message.method, message.path, message.should_close) == ("POST", "/v1/events", False)
        assert int(message.headers["Content-Length"]) == ours.length
        for name, value in ours.headers.items():
            assert message.headers.getall(name) == [value]
