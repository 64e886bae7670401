"""One attempt: send a signed batch to the destination's URL and say what it answered.

Redirects are not followed, proxies of the environment are not used, cookies are not kept, and of an
answer only the start is read. A status that has arrived counts, whatever happens to the rest of the
answer.

To take a request through aiohttp's session costs several times what it costs to send it. So it does
that once: from then on the same request, with another body, goes straight to a connection of
aiohttp's pool, and the answer is read by aiohttp's parser (what is sent to a proxy excepted, and
what is very large).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self, TypeGuard, cast

import aiohttp
from aiohttp import hdrs
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError, RawResponseMessage
from aiohttp.tracing import Trace
from multidict import CIMultiDict, CIMultiDictProxy

from forwarder import __version__, files
from forwarder.config import DestinationConfig, TlsConfig
from forwarder.delivery.detail import Details
from forwarder.errors import ConfigError, FileError, Problem

# As much of a body, in bytes, as is handed to the transport at once; then others may act.
_AT_ONCE_BYTES = 1024 * 1024
# As much of an answer as is read: more than is kept of it, as a connection can be used again only
# after the whole answer was read, and most answers are shorter.
_READ_BYTES = 16 * 1024
# Seconds for which the rest of an answer is waited for when its status is known.
_READ_SECONDS = 1.0
# Seconds an idle connection is kept; shorter than what common servers and proxies keep theirs
# (nginx: 75), so that it is us who closes and not a request that finds it closed.
_KEEP_ALIVE = 15.0
# The longest body, in bytes, that is given to the transport as a whole: others may wait for so long.
_AGAIN_BYTES = 2 * _AT_ONCE_BYTES
# Bytes of a file of certificates; those of a whole system take a quarter of a megabyte.
_MAX_TLS_BYTES = 4 * 1024 * 1024
_END_OF_HEAD = b"\r\n\r\n"


class _Protocol(ResponseHandler):
    """A connection on which the head of an answer counts, even if what comes with it is broken.

    aiohttp parses what arrived together in one go: a broken chunk in the packet that holds the
    status would take the status with it.
    """

    _last = b""
    was_used = False
    """Whether it has been handed out before."""

    def data_received(self, data: bytes) -> None:
        known, start, at = self._last + data, 0, 0
        while (end := known.find(_END_OF_HEAD, at)) >= 0:
            at = end + len(_END_OF_HEAD)
            # In `data`, which begins behind what came before it.
            until = at - len(self._last)
            super().data_received(data[start:until])
            start = until
        self._last = known[at:][1 - len(_END_OF_HEAD) :]
        if start < len(data) or not data:
            super().data_received(data[start:])


class _Body(aiohttp.Payload):
    """A body that is not copied: aiohttp would join it with the head."""

    _value: bytes
    _autoclose = True

    was_sent = False
    """Whether a connection was found to write it to."""

    def __init__(self, value: bytes) -> None:
        super().__init__(value)
        self._size = len(value)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return self._value.decode(encoding, errors)

    @property
    def value(self) -> bytes:
        return self._value

    def forget(self) -> None:
        """Let go of the bytes: the request that has this body is kept."""
        self._value = b""

    async def write(self, writer: AbstractStreamWriter) -> None:
        self.was_sent = True
        writer.send_headers()
        view = memoryview(self._value)
        for start in range(0, len(view), _AT_ONCE_BYTES):
            await writer.write(view[start : start + _AT_ONCE_BYTES])


class _Connector(aiohttp.TCPConnector):
    """Makes connections of our own protocol; aiohttp has no setting for it."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._factory = cast("partial[ResponseHandler]", partial(_Protocol, loop=self._loop))

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        """Return a connection over which nothing came unasked: it would be taken for the answer."""
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = cast("_Protocol", connection.protocol)
            # Not a new one: who greets does so on each, and is told by that.
            if not (protocol.was_used and protocol.should_close):
                protocol.was_used = True
                return connection
            connection.close()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: `status` is None where there was no answer, `detail` says why or is its start."""

    status: int | None
    detail: str
    retry_after: str | None = None
    reached: bool = True
    """Whether any of the request was sent; False where there was no address, no connection, no TLS, no tunnel."""
    timed_out: bool = False
    """Whether the time ran out before there was an answer."""


def tls_context(tls: TlsConfig, path: str) -> ssl.SSLContext:
    """Return the TLS settings of a destination; raises ConfigError for files that cannot be used."""
    _look_at(tls, path)
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise _tls_error(path, "ca_file", f"{tls.ca_file} cannot be used: {error}", "a PEM file") from error
    if tls.cert_file is not None:
        try:
            # Without a password OpenSSL would ask for one on the terminal, and wait.
            context.load_cert_chain(tls.cert_file, tls.key_file, password="")
        except (OSError, ssl.SSLError) as error:
            words = f"{tls.cert_file} and {tls.key_file} cannot be used: {error}"
            raise _tls_error(path, "cert_file", words, "a PEM certificate and its unencrypted key") from error
    return context


def _look_at(tls: TlsConfig, path: str) -> None:
    """Raise ConfigError for a file that OpenSSL, which opens them by name, would wait for, or that is no secret."""
    for field, file, read in (
        ("ca_file", tls.ca_file, files.read_public),
        ("cert_file", tls.cert_file, files.read_public),
        ("key_file", tls.key_file, files.read_secret),
    ):
        if file is not None:
            try:
                read(file, _MAX_TLS_BYTES)
            except FileError as error:
                problem = Problem("TLS", f"{path}.{field}", error.message, f"Hint: {error.hint}")
                raise ConfigError([problem]) from None


def _tls_error(path: str, field: str, problem: str, right: str) -> ConfigError:
    return ConfigError([Problem("TLS", f"{path}.{field}", problem, f"Give {right} that this user may read.")])


class Client:
    """Sends to one destination over kept-alive connections. Use as `async with`."""

    def __init__(self, name: str, config: DestinationConfig) -> None:
        self._url = config.url
        self._proxy = config.proxy
        self._timeout = aiohttp.ClientTimeout(total=config.timeout)
        self._in_flight = config.in_flight
        self._context = tls_context(config.tls, f"destinations.{name}.tls")
        self._details = Details(config)
        self._headers = CIMultiDict(
            {
                hdrs.CONTENT_TYPE: "application/jose",
                hdrs.ACCEPT: "application/json",
                # A compressed answer could be of any size once it is unpacked.
                hdrs.ACCEPT_ENCODING: "identity",
                hdrs.USER_AGENT: f"event-forwarder/{__version__}",
            }
        )
        self._headers.update(config.headers)
        self._session: aiohttp.ClientSession | None = None
        self._again: _Again | None = None

    async def __aenter__(self) -> Self:
        self._again = None
        self._session = self._open()
        return self

    def _open(self) -> aiohttp.ClientSession:
        connector = _Connector(
            ssl=self._context, limit=self._in_flight, keepalive_timeout=_KEEP_ALIVE, ttl_dns_cache=60
        )

        def request(*values: Any, **more: Any) -> aiohttp.ClientRequest:
            made = aiohttp.ClientRequest(*values, **more)
            if self._proxy is None and self._again is None:
                self._again = _Again(made, connector, self._timeout)
            return made

        return aiohttp.ClientSession(
            connector=connector,
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            request_class=cast("type[aiohttp.ClientRequest]", request),
        )

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def send(self, body: bytes, *, fresh: bool = False) -> Answer:
        """Post one compact JWS; never raises for what the network or the destination does.

        `fresh` sends it over a new connection, which may lead to another of several servers.
        """
        if self._session is None:
            raise RuntimeError("use the client as `async with`")
        data = _Body(body)
        try:
            if fresh:
                async with self._open() as session:
                    return await self._send(session, data)
            if self._again is not None and len(body) <= _AGAIN_BYTES:
                async with self._again.post(data) as (message, content, until):
                    return await self._read(message.code, message.reason, message.headers, content, until)
            return await self._send(self._session, data)
        except TimeoutError:
            words = f"no answer within {self._timeout.total:g} s"
            return Answer(None, words, reached=data.was_sent, timed_out=True)
        except (aiohttp.ClientError, HttpProcessingError, OSError, ValueError) as error:
            return Answer(None, self._details.of_error(error), reached=data.was_sent)
        finally:
            data.forget()

    async def _send(self, session: aiohttp.ClientSession, data: _Body) -> Answer:
        """Send with all that aiohttp does for a request."""
        async with session.post(
            self._url, data=data, headers=self._headers, allow_redirects=False, proxy=self._proxy
        ) as response:
            return await self._read(response.status, response.reason, response.headers, response.content)

    async def _read(
        self,
        status: int,
        reason: str | None,
        headers: CIMultiDictProxy[str],
        content: aiohttp.StreamReader,
        until: float | None = None,
    ) -> Answer:
        start = await _start_of(content, until)
        if status // 100 == 2:
            return Answer(status, "")
        if headers.get(hdrs.CONTENT_ENCODING, "identity") != "identity":
            start = b""
        return Answer(status, self._details.of_answer(status, reason, start), headers.get(hdrs.RETRY_AFTER))


class _Again:
    """A request that aiohttp has made, to be sent again with other bodies."""

    def __init__(
        self, request: aiohttp.ClientRequest, connector: aiohttp.BaseConnector, timeout: aiohttp.ClientTimeout
    ) -> None:
        self._request = request
        self._connector = connector
        self._timeout = timeout
        fields = [f"{name}: {value}" for name, value in request.headers.items() if name != hdrs.CONTENT_LENGTH]
        self._head = "\r\n".join([f"POST {request.url.raw_path_qs} HTTP/1.1", *fields, hdrs.CONTENT_LENGTH]).encode()

    @asynccontextmanager
    async def post(self, data: _Body) -> AsyncIterator[tuple[RawResponseMessage, aiohttp.StreamReader, float | None]]:
        """Send a body; yield the head of the answer, what is to be read of it, and until when by the loop's time.

        Raises what aiohttp raises, and HttpProcessingError.
        """
        async with asyncio.timeout(self._timeout.total) as limit:
            connection = await self._connector.connect(self._request, [], self._timeout)
            data.was_sent = True
            with _given_up(connection):
                message, content = await self._exchange(connection, data.value)
        with _given_up(connection):
            yield message, content, limit.when()
        if _is_writing(connection.transport):
            # It was answered before all of it was read.
            _give_up(connection)
        else:
            connection.release()

    async def _exchange(self, connection: Connection, body: bytes) -> tuple[RawResponseMessage, aiohttp.StreamReader]:
        protocol, transport = connection.protocol, connection.transport
        if protocol is None or transport is None:
            raise aiohttp.ServerDisconnectedError
        protocol.set_response_params(read_until_eof=True, auto_decompress=False)
        transport.write(self._head + b": %d\r\n\r\n" % len(body))
        transport.write(body)
        while True:
            message, content = await protocol.read()
            # What is said on the way to an answer is none (RFC 9110, section 15.2), but for a change of protocol.
            if message.code // 100 != 1 or message.code == HTTPStatus.SWITCHING_PROTOCOLS:
                return message, content


@contextmanager
def _given_up(connection: Connection) -> Iterator[None]:
    """Give a connection up where something goes wrong with it."""
    try:
        yield
    except BaseException:
        _give_up(connection)
        raise


def _is_writing(transport: asyncio.Transport | None) -> TypeGuard[asyncio.Transport]:
    return transport is not None and transport.get_write_buffer_size() > 0


def _give_up(connection: Connection) -> None:
    """Close a connection, at once where something is still to be sent over it that nobody reads."""
    transport = connection.transport
    if _is_writing(transport):
        transport.abort()
    connection.close()


async def _start_of(content: aiohttp.StreamReader, until: float | None) -> bytes:
    """Return the start of an answer's body; what cannot be read in a moment, or `until` then, is left out."""
    start = bytearray()
    if content.at_eof():
        return b""
    soon = asyncio.get_running_loop().time() + _READ_SECONDS
    # The status counts, so an answer that breaks off or is late is as good as a short one.
    with suppress(aiohttp.ClientError, OSError, TimeoutError):
        async with asyncio.timeout_at(soon if until is None else min(soon, until)):
            while len(start) < _READ_BYTES and (more := await content.read(_READ_BYTES)):
                start += more
    return bytes(start)
