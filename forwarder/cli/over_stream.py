"""Send events over the stream socket, and count the acks that arrive in the meantime.

The daemon settles lines in order: `{"ack": N}` says that the first N lines are stored or refused, and
`{"refused": N, ...}` comes before the ack that covers line N. While the daemon takes nothing, its side of
the socket fills up, and writing waits.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable

import msgspec

from forwarder.cli.connection import dial, unreachable
from forwarder.cli.reader import Reader
from forwarder.cli.report import Report
from forwarder.cli.splitter import Chunk, Splitter
from forwarder.cli.text import printable
from forwarder.errors import NegativeAnswerError, NotReachableError
from forwarder.model import Address
from forwarder.waiting import wait_at_most

# The first event is sent alone, so that it can be sent again if it turns out that an HTTP server listens
# there. Such a server answers at once. After so many seconds without an answer it is a stream socket, of
# a daemon whose queue is full.
_FIRST_ANSWER = 2.0
# Seconds without an ack after which we say why we are waiting.
_SLOW = 3.0
_MAX_ANSWER_BYTES = 1024 * 1024


class SpeaksHttpError(Exception):
    """An HTTP server answered. Nothing was stored, and the input is back at its start."""


class Answer(msgspec.Struct):
    """A line from the daemon: an ack or a refusal."""

    ack: int | None = None
    refused: int | None = None
    status: int = 0
    detail: str = ""


class StreamSender:
    """One connection; `why` asks the daemon why it takes no events.

    Raises NotReachableError, NegativeAnswerError or SpeaksHttpError.
    """

    def __init__(
        self, address: Address, token: str | None, splitter: Splitter, report: Report, why: Callable[[], str]
    ) -> None:
        self._address = address
        self._why = why
        self._token = token
        self._splitter = splitter
        self._report = report
        self._sent = 0
        self._first: Chunk | None = None
        self._answered = asyncio.Event()
        # The numbers of refused events that no ack has covered yet.
        self._refused: deque[int] = deque()

    async def send(self, chunks: Reader) -> None:
        """Send all of the input; return when every event is stored or refused."""
        try:
            reader, writer = await asyncio.open_connection(sock=dial(self._address), limit=_MAX_ANSWER_BYTES)
        except OSError as error:
            raise unreachable(self._address, error) from None
        reading = asyncio.ensure_future(self._read(reader, chunks))
        writing = asyncio.ensure_future(self._write(writer, chunks))
        try:
            complete = await self._both(reading, writing)
        finally:
            reading.cancel()
            writing.cancel()
            await asyncio.gather(reading, writing, return_exceptions=True)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        if not complete or self._report.settled < self._sent:
            raise self._report.lost(self._address, self._splitter.place)

    async def _both(self, reading: asyncio.Future[None], writing: asyncio.Future[None]) -> bool:
        """Wait for both directions; return whether everything was written and the answers ended properly."""
        await asyncio.wait({reading, writing}, return_when=asyncio.FIRST_COMPLETED)
        complete = writing.done()
        try:
            if writing.done():
                await writing
        except ConnectionError:
            # Before it hung up the daemon may have said why, so read its answers first.
            complete = False
        try:
            await reading
        except ConnectionError:
            complete = False
        return complete

    async def _write(self, writer: asyncio.StreamWriter, chunks: Reader) -> None:
        if self._token is not None and not self._address.is_unix:
            # The line with the token is not counted as an event. A unix socket needs none.
            writer.write(msgspec.json.encode({"token": self._token}) + b"\n")
        alone = True
        while True:
            await chunks.wait()
            chunk = chunks.next_chunk()
            if chunk is None:
                break
            if alone:
                chunk, rest = chunk.split(1)
                self._first = chunk
                if rest:
                    chunks.put_back(rest)
            writer.write(chunk.data)
            self._sent += chunk.events
            await writer.drain()
            if alone:
                await wait_at_most(_FIRST_ANSWER, self._answered)
                alone = False
        writer.write_eof()

    async def _read(self, reader: asyncio.StreamReader, chunks: Reader) -> None:
        while True:
            try:
                async with asyncio.timeout(_SLOW):
                    line = await reader.readline()
            except TimeoutError:
                if self._sent > self._report.settled:
                    self._report.wait(await asyncio.to_thread(self._why))
                continue
            except ValueError:
                raise self._stranger() from None
            if not line:
                return
            if line.startswith(b"HTTP/") and self._first is not None and self._sent == self._first.events:
                chunks.put_back(self._first)
                raise SpeaksHttpError
            self._heed(line)
            self._answered.set()

    def _heed(self, line: bytes) -> None:
        """Process an ack or a refusal."""
        try:
            answer = msgspec.json.decode(line, type=Answer)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise self._stranger() from None
        if answer.refused:
            self._refused.append(answer.refused)
            self._report.refuse(self._splitter.place(answer.refused), answer.status, answer.detail)
        elif answer.ack is None or answer.ack > self._sent:
            raise self._denied(answer) if answer.detail else self._stranger()
        elif answer.ack > self._report.settled:
            self._settle(answer.ack)

    def _settle(self, event: int) -> None:
        refused = 0
        while self._refused and self._refused[0] <= event:
            self._refused.popleft()
            refused += 1
        self._report.wait("")
        self._report.store(event - self._report.settled - refused)
        self._report.settle(event)
        self._splitter.forget(event + 1)

    def _denied(self, answer: Answer) -> NegativeAnswerError:
        hint = "give the token: --token-file FILE" if answer.status == 401 else ""
        return NegativeAnswerError(f"{self._address}: {printable(answer.detail)}", status=answer.status, hint=hint)

    def _stranger(self) -> NotReachableError:
        return NotReachableError(
            f"{self._address} is not a stream socket of a forwarder",
            hint="for the HTTP intake, give --to http+unix:PATH or --to http://HOST:PORT",
        )
