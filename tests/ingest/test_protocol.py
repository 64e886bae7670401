"""Connections on which every answer is a problem of ours, whatever aiohttp thinks of the request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from forwarder.ingest.protocol import Runner, first_line


async def echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read())


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
        b"POST /%b HTTP/1.1\r\nHost: x\r\n\r\n" % (b"secret" * 3000),
        b"POST / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n\r\n" % (b"secret" * 3000),
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nsecret\r\n",
    ],
    ids=["words", "tls", "path", "header", "lengths", "chunks"],
)
async def test_what_is_not_http(address: str, request_: bytes) -> None:
    """What the parser refuses is answered with 400, in its words, without what the client sent; nothing is logged."""
    status, problem = await ask(address, request_)
    assert (status, problem["type"]) == (400, "urn:forwarder:problem:malformed")
    assert problem["detail"].startswith("not HTTP: ")
    assert "secret" not in problem["detail"]


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
