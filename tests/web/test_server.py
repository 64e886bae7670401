"""Connections on which every answer is a problem of ours, whatever aiohttp thinks of the request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from forwarder.web.server import Runner, first_line
from tests.fixtures import PATIENCE


async def echo(request: web.Request) -> web.Response:
    try:
        return web.Response(body=await request.read())
    except HttpProcessingError:
        return web.Response(status=400)


async def ignore(_request: web.Request) -> web.Response:
    return web.Response(body=b'{"status": 200}', content_type="application/problem+json")


async def fail(_request: web.Request) -> web.Response:
    raise RuntimeError("secret")


@pytest.fixture
async def address(tmp_path: Path) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/", echo)
    app.router.add_post("/fail", fail)
    app.router.add_post("/ignore", ignore)
    runner = Runner(app, access_log=None)
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "sock")).start()
    yield str(tmp_path / "sock")
    await runner.cleanup()


async def ask(address: str, request: bytes) -> tuple[int, dict[str, Any]]:
    """Send bytes and return status and problem of the answer."""
    reader, writer = await asyncio.open_unix_connection(address)
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"Content-Type: application/problem+json\r\n" in head
    size = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
    problem: dict[str, Any] = json.loads(await reader.readexactly(size))
    writer.close()
    assert problem["status"] == int(head.split()[1])
    return problem["status"], problem


@pytest.mark.parametrize(
    "request_",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nsecret\r\n",
    ],
    ids=["words", "tls", "lengths", "chunks"],
)
async def test_what_is_not_http(address: str, request_: bytes) -> None:
    """What the parser refuses is answered with 400, in its words, without what the client sent; nothing is logged."""
    status, problem = await ask(address, request_)
    assert (status, problem["type"]) == (400, "urn:forwarder:problem:malformed")
    assert problem["detail"].startswith("not HTTP: ")
    assert "secret" not in problem["detail"]


@pytest.mark.parametrize(
    ("request_", "status", "type_", "words"),
    [
        (b"POST /%b HTTP/1.1\r\nHost: x\r\n\r\n" % (b"secret" * 3000), 414, "uri-too-long", "8,192 bytes"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nX: %b\r\n\r\n" % (b"secret" * 3000), 431, None, "8,190 bytes"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nX: %b\r\n\r\n" % (b"/" * 8191), 431, None, "8,190 bytes"),
        (b"POST / HTTP/1.1\r\nHost: x\r\n%b: 1\r\n\r\n" % (b"secret" * 3000), 431, None, "8,190 bytes"),
    ],
    ids=["path", "field", "field like a path", "name"],
)
async def test_what_is_too_long(address: str, request_: bytes, status: int, type_: str | None, words: str) -> None:
    """A request line and header fields have limits, and each has its status; the limit is told, not the value."""
    found, problem = await ask(address, request_)
    assert (found, problem["type"]) == (status, f"urn:forwarder:problem:{type_ or 'header-fields-too-large'}")
    assert words in problem["detail"]
    assert "secret" not in problem["detail"]


@pytest.mark.skipif(aiohttp.__version__ < "3.14", reason="older versions do not count the fields")
async def test_too_many_fields(address: str) -> None:
    """The number of header fields has a limit, too."""
    found, problem = await ask(address, b"POST / HTTP/1.1\r\nHost: x\r\n%b\r\n" % (b"X: 1\r\n" * 128))
    assert (found, problem["type"]) == (431, "urn:forwarder:problem:header-fields-too-large")
    assert "128 header fields" in problem["detail"]


async def test_fields_up_to_the_limit(address: str) -> None:
    """A field of as many bytes as the limit says is read."""
    reader, writer = await asyncio.open_unix_connection(address)
    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nX: %b\r\n\r\n" % (b"x" * 8189))
    assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
    writer.close()


async def test_a_client_that_ends_its_side(address: str) -> None:
    """Every request that came before the client ended its side is answered, in order; then the connection ends."""
    for count in (1, 2, 3, 100):
        reader, writer = await asyncio.open_unix_connection(address)
        bodies = [b"%d" % number for number in range(count)]
        for body in bodies:
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        writer.write_eof()
        async with asyncio.timeout(PATIENCE):
            answer = await reader.read()
        assert [part.rpartition(b"\r\n")[2] for part in answer.split(b"HTTP/1.1 200")[1:]] == bodies
        writer.close()


@pytest.mark.parametrize("start", [b"Content-Length: 10\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel"])
@pytest.mark.parametrize("before", [0, 1])
async def test_a_client_that_ends_in_the_middle(address: str, start: bytes, before: int) -> None:
    """A body that can come to no end any more is refused at once, also behind other requests."""
    reader, writer = await asyncio.open_unix_connection(address)
    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n" * before)
    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\n" + start)
    writer.write_eof()
    async with asyncio.timeout(PATIENCE):
        answer = await reader.read()
    assert [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]] == [b"200"] * before + [b"400"]
    writer.close()


async def test_a_client_that_ends_before_its_first_request(address: str) -> None:
    """A client that ends its side and has asked nothing, or only a part of a question, is hung up on."""
    for start in (b"", b"POST / HTTP/1.1\r\nHo"):
        reader, writer = await asyncio.open_unix_connection(address)
        writer.write(start)
        writer.write_eof()
        async with asyncio.timeout(PATIENCE):
            assert await reader.read() == b""
        writer.close()


async def test_an_expectation_that_is_not_known(address: str) -> None:
    """An expectation other than 100-continue is answered with 417, at any path."""
    for path in (b"/", b"/nowhere"):
        request = b"POST %b HTTP/1.1\r\nHost: x\r\nExpect: wonders\r\nContent-Length: 0\r\n\r\n" % path
        status, problem = await ask(address, request)
        assert (status, problem["type"]) == (417, "urn:forwarder:problem:expectation-failed")


async def test_a_body_that_nobody_reads(address: str) -> None:
    """A body that cannot be decompressed is no error where nobody wanted it; nothing is logged."""
    reader, writer = await asyncio.open_unix_connection(address)
    writer.write(b"POST /ignore HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 10\r\n\r\n")
    assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
    writer.write(b"hellohello")
    # The rest of the answer, until the connection is closed.
    await reader.read()
    writer.close()


async def test_a_bug(address: str, caplog: pytest.LogCaptureFixture) -> None:
    """What nobody caught is answered with 500 without its words; the log has them."""
    status, problem = await ask(address, b"POST /fail HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    assert (status, problem["type"]) == (500, "urn:forwarder:problem:internal")
    assert "secret" not in json.dumps(problem)
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["secret"]
    caplog.clear()


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("Invalid method encountered:\n\n  b'x'\n    ^", "Invalid method encountered"),
        ("Got more than 8190 bytes when reading: bytearray(b'/secret').", "Got more than 8190 bytes when reading"),
        ('Got more than 8190 bytes when reading: b"it\'s".', "Got more than 8190 bytes when reading"),
        (" Duplicate 'Host' header found. ", "Duplicate 'Host' header found."),
    ],
)
def test_first_line(message: str, words: str) -> None:
    """Of the parser's words those are kept that are its own."""
    assert first_line(message) == words
