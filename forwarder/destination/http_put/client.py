"""One attempt: post a signed batch to the destination's URL, and read the answer.

Redirects are not followed, proxies of the environment are ignored, cookies are not kept, and only the
start of an answer is read. A status that has arrived counts, whatever happens to the rest of the
answer; `reply` says what counts as arrived.

No library does this: HTTP clients throw the status away with a head in which they dislike a field (two
`Content-Length`, or one beside a `Transfer-Encoding`; `X : a`; a NUL), and none can tell an answer from
one that came before the request was sent.

The server may close a kept connection in the very moment in which it is used again. If it ends before a
single byte was answered, the request is sent again at once over a new connection, and only once.
"""

from __future__ import annotations

import asyncio
import time

from forwarder import __version__
from forwarder.config import DestinationConfig
from forwarder.destination.base import Certificate
from forwarder.destination.http_put.connection import Connection
from forwarder.destination.http_put.endpoint import Endpoint, request_head
from forwarder.destination.http_put.failure import NoAnswerError
from forwarder.destination.http_put.pool import Pool
from forwarder.destination.http_put.reply import Reply
from forwarder.destination.http_put.resolver import Lookup, look_up
from forwarder.destination.http_put.route import Progress, Route
from forwarder.destination.http_put.tls import tls_context

_USER_AGENT = f"event-forwarder/{__version__}"
# Seconds in which a server says that it refuses a client certificate: with TLS 1.3 that comes after the handshake.
_REFUSAL_SECONDS = 1.0


class Client:
    """Sends to one destination over connections that are kept until `aclose`.

    `lookup` resolves its name; it blocks, and is called in a thread.
    """

    def __init__(self, name: str, config: DestinationConfig, *, lookup: Lookup = look_up) -> None:
        self._timeout = config.timeout
        destination = Endpoint.of(config.url)
        proxy = None if config.proxy is None else Endpoint.of(config.proxy)
        context = tls_context(config.tls, f"destinations.{name}.tls")
        self._route = Route(destination, proxy, context, user_agent=_USER_AGENT, lookup=lookup)
        self._head = _head(destination, proxy, config.headers)
        self._pool = Pool(config.max_connection_age)
        self._certificates: dict[str, Certificate] = {}

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """Those of the servers on the way, a proxy and the destination, as of the last handshake with each."""
        return tuple(self._certificates.values())

    async def aclose(self) -> None:
        """End all connections."""
        await self._pool.close()

    def renew(self) -> None:
        """Send what comes next over new connections, to the address that the name has now."""
        self._route.forget()
        self._pool.renew()

    async def send(self, body: bytes, *, fresh: bool = False) -> Reply:
        """Post one compact JWS, and return an answer that has a status. Raises NoAnswerError.

        `fresh` sends it over a new connection, which may lead to another of several servers.
        """
        progress = Progress()
        try:
            reply = await self._in_time(body, progress, fresh=fresh)
        except NoAnswerError as error:
            error.is_repeated = progress.is_repeated
            raise
        reply.is_repeated = progress.is_repeated
        return reply

    async def probe(self) -> str:
        """Connect as for an attempt, send no event, and hang up; return what was reached, and how.

        Raises NoAnswerError. A client certificate that is refused is noticed, also with TLS 1.3.
        """
        progress = Progress()
        try:
            async with asyncio.timeout(self._timeout):
                connection = await self._connect(progress)
            version = connection.tls_version
            await connection.wait_refused(_REFUSAL_SECONDS if version else 0.0)
        except TimeoutError:
            raise self._late(progress) from None
        finally:
            await self.aclose()
        return f"{self._route.words} connects" + (f" ({version})" if version else "")

    async def _in_time(self, body: bytes, progress: Progress, *, fresh: bool) -> Reply:
        try:
            async with asyncio.timeout(self._timeout):
                return await self._attempt(body, progress, fresh=fresh)
        except TimeoutError:
            if progress.reply is not None and progress.reply.status is not None:
                return progress.reply
            raise self._late(progress) from None

    async def _attempt(self, body: bytes, progress: Progress, *, fresh: bool) -> Reply:
        connection = None if fresh else await self._pool.take()
        if connection is not None:
            try:
                return await self._exchange(connection, body, progress)
            except NoAnswerError as error:
                if not error.unanswered:
                    raise
                progress.is_repeated = True
        progress.reply = None
        return await self._exchange(await self._connect(progress), body, progress)

    async def _connect(self, progress: Progress) -> Connection:
        # Noted first: a renewal that comes while this one is opened may mean another address.
        generation = self._pool.generation
        try:
            connection = await self._route.connect(progress, self._pool.lost)
        except NoAnswerError as error:
            if error.expired:
                self._note_expired(error.expired, time.time())
            raise
        ends = connection.certificate_ends
        self._certificates = {where: Certificate(_whose(where), end) for where, end in ends.items()}
        self._pool.add(connection, generation)
        return connection

    def _note_expired(self, where: str, now: float) -> None:
        # It is not shown after such a handshake: it ended when it was said to, or else before now.
        known = self._certificates.get(where)
        if known is None or known.ends > now:
            self._certificates[where] = Certificate(_whose(where), now, is_exact=False)

    async def _exchange(self, connection: Connection, body: bytes, progress: Progress) -> Reply:
        progress.lacks = "no answer"
        progress.reply = reply = Reply()
        await connection.exchange(self._head % len(body), body, reply)
        if reply.may_keep:
            self._pool.keep(connection, reply.idle_seconds)
        return reply

    def _late(self, progress: Progress) -> NoAnswerError:
        words, hint = f"{progress.lacks} within {self._timeout:g} s", "Look at the network, a firewall, the proxy"
        return NoAnswerError(words, hint=hint, reached=progress.reply is not None, timed_out=True)


def _whose(where: str) -> str:
    return f"the certificate of {where}"


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
