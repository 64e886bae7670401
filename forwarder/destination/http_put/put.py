"""The Event API's `/put`: a batch is a JSON array, signed as a JWS; the status of the answer says what came of it.

Only this module knows the signature, the request and the table of statuses together. Its settings never change:
a reload with another key, certificate or meaning of a status builds another destination.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from forwarder.config import DestinationConfig, secret
from forwarder.destination.base import Answer, Outlook
from forwarder.destination.http_put.certificates import in_files
from forwarder.destination.http_put.client import Client
from forwarder.destination.http_put.failure import NoAnswerError
from forwarder.destination.http_put.peer_clock import PeerClock
from forwarder.destination.http_put.redaction import Redaction
from forwarder.destination.http_put.resolver import Lookup, look_up
from forwarder.destination.http_put.responses import ABOUT_KEY, NOT_NOW, outcome_of, parse_date, parse_retry_after
from forwarder.errors import ConfigError, Problem, SigningKeyError
from forwarder.model import Batch, Outcome
from forwarder.signing import Signer


class HttpPut:
    """A destination that takes signed batches; `lookup` resolves its name, and blocks."""

    def __init__(self, name: str, config: DestinationConfig, signer: Signer, *, lookup: Lookup = look_up) -> None:
        self._client = Client(name, config, lookup=lookup)
        self._signer = signer
        self._redaction = Redaction(config)
        self._responses = config.responses
        self._as_object = config.single_as_object
        self.description = {"alg": signer.alg, "key": signer.thumbprint}
        self._certificates = tuple(in_files(config.tls))
        self._clock = PeerClock()
        self._date: str | None = None

    @property
    def outlook(self) -> Outlook:
        """What its certificates and the dates of its answers say of trouble to come."""
        return Outlook(self._certificates + self._client.certificates, self._clock.ahead(time.time(), _steady()))

    async def aclose(self) -> None:
        """End all connections."""
        await self._client.aclose()

    def renew(self) -> None:
        """Send what comes next over new connections, to the address that the name has now."""
        self._client.renew()

    async def prepare(self, batch: Batch) -> bytes:
        """Return the compact JWS of a batch."""
        # Joined in the thread, too: what copies much does it outside of the event loop.
        return await asyncio.to_thread(lambda: self._signer.sign(payload(batch.data, as_object=self._as_object)))

    async def send(self, body: bytes, *, fresh: bool = False) -> Answer:
        """Post a compact JWS, and say what the answer means."""
        try:
            reply = await self._client.send(body, fresh=fresh)
        except NoAnswerError as error:
            return Answer(
                Outcome.DEFERRED,
                self._redaction.of(str(error)),
                timed_out=error.timed_out,
                is_about_events=error.reached,
                is_repeated=error.is_repeated,
                hint=error.hint,
            )
        self._note_date(reply.date)
        status, asked = reply.status, reply.retry_after
        outcome = outcome_of(status, self._responses)
        if outcome is Outcome.DELIVERED:
            return Answer(outcome, status=status, is_repeated=reply.is_repeated)
        detail = self._redaction.of_answer(status, reply.reason, b"" if reply.is_encoded else reply.start)
        is_about_events = asked is None and status not in NOT_NOW
        retry_after, refuses_key = parse_retry_after(asked, time.time()), status in ABOUT_KEY
        return Answer(
            outcome,
            detail,
            retry_after,
            status,
            is_about_events=is_about_events,
            refuses_key=refuses_key,
            is_repeated=reply.is_repeated,
        )

    def _note_date(self, date: str | None) -> None:
        # A date has seconds, so many answers have the same, and only one of them is looked at.
        if date is None or date == self._date:
            return
        self._date = date
        if (at := parse_date(date)) is not None:
            self._clock.saw(at, time.time(), _steady())


def _steady() -> float:
    """Return the seconds of a clock that is never set, and goes on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def build(name: str, config: DestinationConfig) -> HttpPut:
    """Return the destination of that name. Raises ConfigError for files that cannot be used."""
    try:
        signer = load_signer(config)
    except SigningKeyError as error:
        raise ConfigError([Problem(f"destinations.{name}.signing", "", error.message, error.hint)]) from error
    return HttpPut(name, config, signer)


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
