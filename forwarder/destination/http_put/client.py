"""One attempt: send a signed batch to the destination's URL and say what it answered.

Redirects are not followed, proxies of the environment are not used, cookies are not kept, and of an
answer only the start is read. A status that has arrived counts, whatever happens to the rest of the
answer; what counts as arrived, `reply` says.

It is a client of our own because no other gives the status of a head of which it does not like a
field (a `Content-Length` that stands twice, or beside a `Transfer-Encoding`; `X : a`; a NUL), nor tells
an answer from one that came before the request was sent.

A connection that was kept may have been closed by the server in the same moment. Where it ends before
a byte was answered, the request goes out again at once over a new one, and no more than once.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from forwarder import __version__
from forwarder.config import DestinationConfig
from forwarder.destination.http_put.connection import Connection
from forwarder.destination.http_put.endpoint import Endpoint, request_head
from forwarder.destination.http_put.failure import NoAnswerError
from forwarder.destination.http_put.pool import Pool
from forwarder.destination.http_put.redaction import Redaction
from forwarder.destination.http_put.reply import Reply
from forwarder.destination.http_put.resolver import Lookup, look_up
from forwarder.destination.http_put.route import Progress, Route
from forwarder.destination.http_put.tls import tls_context
from forwarder.errors import UnreachableError

_USER_AGENT = f"event-forwarder/{__version__}"
# Seconds in which a server that refuses a client certificate says so: with TLS 1.3 it does after the handshake.
_REFUSAL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Response:
    """What came back: `status` is None where there was no answer, `detail` says why or is its start."""

    status: int | None
    detail: str
    retry_after: str | None = None
    reached: bool = True
    """Whether any of the request was sent; False where there was no address, no connection, no TLS, no tunnel."""
    timed_out: bool = False
    """Whether the time ran out before there was an answer."""


class Client:
    """Sends to one destination over kept-alive connections. Use as `async with`.

    `lookup` resolves its name; it blocks, and is called in a thread.
    """

    def __init__(self, name: str, config: DestinationConfig, *, lookup: Lookup = look_up) -> None:
        self._timeout = config.timeout
        self._max_connection_age = config.max_connection_age
        self._redaction = Redaction(config)
        destination = Endpoint.of(config.url)
        proxy = None if config.proxy is None else Endpoint.of(config.proxy)
        context = tls_context(config.tls, f"destinations.{name}.tls")
        self._route = Route(destination, proxy, context, user_agent=_USER_AGENT, lookup=lookup)
        self._head = _head(destination, proxy, config.headers)
        self._pool: Pool | None = None

    async def __aenter__(self) -> Self:
        self._pool = Pool(self._max_connection_age)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            await self._pool.close()

    def renew(self) -> None:
        """Send what comes next over new connections, to the address that the name has now."""
        self._route.forget()
        if self._pool is not None:
            self._pool.renew()

    async def send(self, body: bytes, *, fresh: bool = False) -> Response:
        """Post one compact JWS; never raises for what the network or the destination does.

        `fresh` sends it over a new connection, which may lead to another of several servers.
        """
        if self._pool is None:
            raise RuntimeError("use the client as `async with`")
        progress = Progress()
        try:
            async with asyncio.timeout(self._timeout):
                return self._response(await self._attempt(self._pool, body, progress, fresh=fresh))
        except TimeoutError:
            if progress.reply is not None and progress.reply.status is not None:
                return self._response(progress.reply)
            return self._no_response(f"{progress.lacks} within {self._timeout:g} s", progress.reached, timed_out=True)
        except NoAnswerError as error:
            return self._no_response(str(error), error.reached)

    async def probe(self) -> str:
        """Connect as for an attempt, send no event, and hang up; return what was reached, and how.

        Raises UnreachableError. A client certificate that is refused is noticed, also with TLS 1.3.
        """
        progress = Progress()
        pool = Pool(self._max_connection_age)
        try:
            async with asyncio.timeout(self._timeout):
                connection = await self._route.connect(progress, pool.lost)
            pool.add(connection, pool.generation)
            version = connection.tls_version
            await connection.wait_refused(_REFUSAL_SECONDS if version else 0.0)
        except TimeoutError:
            hint = "Look at the network, a firewall, the proxy"
            raise UnreachableError(f"{progress.lacks} within {self._timeout:g} s", hint=hint) from None
        except NoAnswerError as error:
            raise UnreachableError(self._redaction.of_failure(str(error)), hint=error.hint) from error
        finally:
            await pool.close()
        return f"{self._route.words} connects" + (f" ({version})" if version else "")

    async def _attempt(self, pool: Pool, body: bytes, progress: Progress, *, fresh: bool) -> Reply:
        connection = None if fresh else await pool.take()
        if connection is not None:
            try:
                return await self._exchange(pool, connection, body, progress)
            except NoAnswerError as error:
                if not error.unanswered:
                    raise
        generation, progress.reached, progress.reply = pool.generation, False, None
        connection = await self._route.connect(progress, pool.lost)
        pool.add(connection, generation)
        return await self._exchange(pool, connection, body, progress)

    async def _exchange(self, pool: Pool, connection: Connection, body: bytes, progress: Progress) -> Reply:
        progress.lacks, progress.reached = "no answer", True
        progress.reply = reply = Reply()
        await connection.exchange(self._head % len(body), body, reply)
        if reply.may_keep:
            pool.keep(connection, reply.idle_seconds)
        return reply

    def _response(self, reply: Reply) -> Response:
        status = reply.status
        if status is None or status // 100 == 2:
            return Response(status, "")
        start = b"" if reply.is_encoded else reply.start
        return Response(status, self._redaction.of_answer(status, reply.reason, start), reply.retry_after)

    def _no_response(self, words: str, reached: bool, *, timed_out: bool = False) -> Response:
        return Response(None, self._redaction.of_failure(words), reached=reached, timed_out=timed_out)


def _head(destination: Endpoint, proxy: Endpoint | None, headers: dict[str, str]) -> bytes:
    """Return the head of every request, with a place for the length of its body."""
    fields = {
        "Host": destination.authority,
        "Content-Type": "application/jose",
        "Accept": "application/json",
        # A compressed answer could be of any size once it is unpacked.
        "Accept-Encoding": "identity",
        "User-Agent": _USER_AGENT,
    }
    own = {name.lower() for name in headers}
    fields = {name: value for name, value in fields.items() if name.lower() not in own} | headers
    target = destination.path
    if proxy is not None and not destination.is_secure:
        target = f"{destination.scheme}://{destination.authority}{destination.path}"
        fields |= proxy.authorization()
    return request_head("POST", target, fields).replace(b"%", b"%%") + b"Content-Length: %d\r\n\r\n"
