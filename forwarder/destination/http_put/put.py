"""The Event API's `/put`: a batch is a JSON array, signed as a JWS; the status of the answer says what came of it.

Here alone meet the signature, the request and the table of statuses. A key, a certificate, or what a status means
is changed by building another one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from forwarder.config import DestinationConfig, secret
from forwarder.destination.base import Answer
from forwarder.destination.http_put.client import Client
from forwarder.destination.http_put.responses import is_about_events, outcome_of, parse_retry_after
from forwarder.errors import ConfigError, Problem, SigningKeyError
from forwarder.model import Batch, Outcome
from forwarder.signing import Signer


class HttpPut:
    """A destination that takes signed batches; `responses` overrides the table, `as_object` is for lone events."""

    def __init__(self, client: Client, signer: Signer, responses: Mapping[int, Outcome], *, as_object: bool) -> None:
        self._client = client
        self._signer = signer
        self._responses = responses
        self._as_object = as_object
        self.description = {"alg": signer.alg, "key": signer.thumbprint}

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    async def prepare(self, batch: Batch) -> bytes:
        """Return the compact JWS of a batch."""
        # Joined in the thread, too: what copies much does it outside of the event loop.
        return await asyncio.to_thread(lambda: self._signer.sign(payload(batch.data, as_object=self._as_object)))

    async def send(self, body: bytes, *, fresh: bool = False) -> Answer:
        """Post a compact JWS, and say what the answer means."""
        response = await self._client.send(body, fresh=fresh)
        status, retry_after = response.status, response.retry_after
        return Answer(
            outcome_of(status, self._responses),
            response.detail,
            parse_retry_after(retry_after, time.time()),
            status,
            response.timed_out,
            is_about_events(status, retry_after, reached=response.reached),
        )

    def renew(self) -> None:
        """Send what comes next over new connections, to the address that the name has now."""
        self._client.renew()


def build(name: str, config: DestinationConfig) -> HttpPut:
    """Return the destination of that name. Raises ConfigError for files that cannot be used."""
    try:
        signer = load_signer(config)
    except SigningKeyError as error:
        raise ConfigError([Problem(f"destinations.{name}.signing", "", error.message, error.hint)]) from error
    return HttpPut(Client(name, config), signer, config.responses, as_object=config.single_as_object)


def files(config: DestinationConfig) -> list[Path | None]:
    """Return the files that are read for it; None where there is none."""
    tls = config.tls
    return [config.signing.key_file, config.signing.passphrase_file, tls.ca_file, tls.cert_file, tls.key_file]


def load_signer(config: DestinationConfig) -> Signer:
    """Read a destination's key. Raises SigningKeyError or ConfigError."""
    signing = config.signing
    return Signer.load(
        signing.key_file,
        passphrase=secret(signing.passphrase_file) if signing.passphrase_file else None,
        alg=signing.alg,
        kid=signing.kid,
        typ=signing.typ,
        cty=signing.cty,
    )


def payload(data: bytes, *, as_object: bool = False) -> bytes:
    """Return the JSON that is signed: an array of the events in `data`, a line each.

    No event is parsed: a newline cannot stand inside compact JSON, so each one becomes a comma.
    With `as_object` a lone event is sent without the array around it.
    """
    if as_object and data.find(b"\n") == len(data) - 1:
        return data[:-1]
    joined = memoryview(data.replace(b"\n", b","))
    return b"".join((b"[", joined[:-1], b"]"))
