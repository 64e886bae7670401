"""One connection: a request and its answer, and nothing that was not asked for."""

from __future__ import annotations

import asyncio

import pytest

from forwarder.destination.http_put.connection import Connection
from forwarder.destination.http_put.failure import NoAnswerError
from forwarder.destination.http_put.reply import Reply
from tests.delivery.conftest import PATIENCE, until
from tests.destination.http_put.pairs import Pairs

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


async def test_a_request_and_its_answer(pairs: Pairs) -> None:
    """The request arrives as it is, the answer is read to its end, and the connection serves the next one."""
    connection, reader, writer = await pairs.connect()
    for number in range(3):
        reply = Reply()
        exchange = asyncio.create_task(connection.exchange(b"head ", b"body%d" % number, reply))
        assert await reader.readexactly(10) == b"head body%d" % number
        writer.write(OK)
        await exchange
        assert (reply.status, reply.may_keep) == (200, True)
        assert await connection.is_silent()
    connection.close()
    assert await reader.read() == b""


async def test_what_is_said_unasked_ends_it(pairs: Pairs) -> None:
    """Nothing may be taken for the answer to a later request; what was said is told."""
    connection, reader, writer = await pairs.connect()
    writer.write(b"220 mail.example")
    with pytest.raises(NoAnswerError, match="spoke before it was asked: 220 mail"):
        await connection.wait_refused(PATIENCE)
    assert not await connection.is_silent()
    assert await reader.read() == b""


@pytest.mark.parametrize(
    ("said", "words", "unanswered"),
    [
        (b"", "closed without an answer", True),
        (b"HTTP/1.1 200 OK\r\nX: a", "in the middle of the answer's head", False),
    ],
)
async def test_an_end_without_an_answer(pairs: Pairs, said: bytes, words: str, unanswered: bool) -> None:
    """Whether anything was answered is known, as a request goes out again only where nothing was."""
    connection, reader, writer = await pairs.connect()
    exchange = asyncio.create_task(connection.exchange(b"head", b"", Reply()))
    await reader.readexactly(4)
    writer.write(said)
    writer.close()
    with pytest.raises(NoAnswerError, match=words) as found:
        await exchange
    assert (found.value.reached, found.value.unanswered) == (True, unanswered)
    assert connection.is_closed


async def test_an_answer_before_the_request_was_read(pairs: Pairs) -> None:
    """A large body is not written on once a refusal is there, and the connection is of no further use."""
    connection, reader, writer = await pairs.connect()
    reply = Reply()
    exchange = asyncio.create_task(connection.exchange(b"head", b"x" * (32 << 20), reply))
    await reader.readexactly(4)
    writer.write(b"HTTP/1.1 413 Large\r\nContent-Length: 0\r\n\r\n")
    async with asyncio.timeout(PATIENCE):
        await exchange
    assert (reply.status, reply.may_keep, connection.is_closed) == (413, False, True)


async def test_a_cancelled_request_ends_it(pairs: Pairs) -> None:
    """What was asked may still be answered, so nobody else can use the connection."""
    connection, reader, writer = await pairs.connect()
    exchange = asyncio.create_task(connection.exchange(b"head", b"", Reply()))
    await reader.readexactly(4)
    exchange.cancel()
    with pytest.raises(asyncio.CancelledError):
        await exchange
    assert connection.is_closed


@pytest.mark.parametrize("end", ["abort", "close", "other side"])
async def test_its_end_is_told_once(pairs: Pairs, end: str) -> None:
    """Whoever keeps account of connections hears of the end of each, and hears it once."""
    lost: list[Connection] = []
    connection, _reader, writer = await pairs.connect(lost.append)
    if end == "other side":
        writer.close()
    else:
        getattr(connection, end)()
    await until(lambda: bool(lost))
    connection.abort()
    await asyncio.sleep(0.01)
    assert lost == [connection]
