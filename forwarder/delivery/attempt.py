"""One attempt: send a signed batch to the destination's URL and say what it answered.

Redirects are not followed, proxies of the environment are not used, cookies are not kept, and of an
answer only the start is read. A status that has arrived counts, whatever happens to the rest of the
answer.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self, cast

import aiohttp
from aiohttp import hdrs
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_proto import ResponseHandler
from multidict import CIMultiDict

from forwarder import __version__
from forwarder.config import DestinationConfig, TlsConfig
from forwarder.delivery.detail import Details
from forwarder.errors import ConfigError, Problem

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


_END_OF_HEAD = b"\r\n\r\n"


class _Protocol(ResponseHandler):
    """A connection on which the head of an answer counts, even if what comes with it is broken.

    aiohttp parses what arrived together in one go: a broken chunk in the packet that holds the
    status would take the status with it.
    """

    _last = b""

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

    def __init__(self, value: bytes) -> None:
        super().__init__(value)
        self._size = len(value)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return self._value.decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        writer.send_headers()
        view = memoryview(self._value)
        for start in range(0, len(view), _AT_ONCE_BYTES):
            await writer.write(view[start : start + _AT_ONCE_BYTES])


class _Connector(aiohttp.TCPConnector):
    """Makes connections of our own protocol; aiohttp has no setting for it."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._factory = cast("partial[ResponseHandler]", partial(_Protocol, loop=self._loop))


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: `status` is None where there was no answer, `detail` says why or is its start."""

    status: int | None
    detail: str
    retry_after: str | None = None


def tls_context(tls: TlsConfig, path: str) -> ssl.SSLContext:
    """Return the TLS settings of a destination; raises ConfigError for files that cannot be used."""
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

    async def __aenter__(self) -> Self:
        connector = _Connector(
            ssl=self._context, limit=self._in_flight, keepalive_timeout=_KEEP_ALIVE, ttl_dns_cache=60
        )
        self._session = aiohttp.ClientSession(
            connector=connector, timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def send(self, body: bytes) -> Answer:
        """Post one compact JWS; never raises for what the network or the destination does."""
        if self._session is None:
            raise RuntimeError("use the client as `async with`")
        try:
            async with self._session.post(
                self._url, data=_Body(body), headers=self._headers, allow_redirects=False, proxy=self._proxy
            ) as response:
                return await self._read(response)
        except TimeoutError:
            return Answer(None, f"no answer within {self._timeout.total:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Answer(None, self._details.of_error(error))

    async def _read(self, response: aiohttp.ClientResponse) -> Answer:
        start = await _start_of(response)
        if response.status // 100 == 2:
            return Answer(response.status, "")
        if response.headers.get(hdrs.CONTENT_ENCODING, "identity") != "identity":
            start = b""
        detail = self._details.of_answer(response.status, response.reason, start)
        return Answer(response.status, detail, response.headers.get(hdrs.RETRY_AFTER))


async def _start_of(response: aiohttp.ClientResponse) -> bytes:
    """Return the start of an answer's body; what cannot be read in a moment is left out."""
    start = bytearray()
    # The status counts, so an answer that breaks off or is late is as good as a short one.
    with suppress(aiohttp.ClientError, OSError, TimeoutError):
        async with asyncio.timeout(_READ_SECONDS):
            while len(start) < _READ_BYTES and (more := await response.content.read(_READ_BYTES)):
                start += more
    return bytes(start)
