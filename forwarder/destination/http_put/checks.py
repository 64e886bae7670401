"""What `forwarder check` looks at: key, certificates and, where it is wanted, a connection; no event is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from urllib.parse import urlsplit

from forwarder.config import DestinationConfig
from forwarder.destination.http_put.client import Client
from forwarder.destination.http_put.failure import NoAnswerError
from forwarder.destination.http_put.put import load_signer
from forwarder.destination.http_put.redaction import Redaction
from forwarder.destination.http_put.tls import tls_context
from forwarder.errors import UnreachableError

# Seconds for the connection: whoever checks is waiting.
_PATIENCE = 10.0


def checks(name: str, config: DestinationConfig, connects: bool) -> Iterator[tuple[str, Callable[[], str]]]:
    """Yield what there is to look at: each is looked at whatever came of the others."""
    yield "key", partial(_key, config)
    yield "TLS", partial(_tls, name, config)
    if connects:
        yield "connection", partial(_connection, name, config)


def _key(config: DestinationConfig) -> str:
    signer = load_signer(config)
    return f"{config.signing.key_file}, RSA {signer.bits} bits, {signer.alg}, thumbprint {signer.thumbprint}"


def _tls(name: str, config: DestinationConfig) -> str:
    if urlsplit(config.url).scheme != "https":
        return "not used, the URL is http"
    tls_context(config.tls, f"destinations.{name}.tls")
    return f"{config.tls.ca_file or 'the certificates of the system'}" + (
        f", client certificate {config.tls.cert_file}" if config.tls.cert_file else ""
    )


def _connection(name: str, config: DestinationConfig) -> str:
    return asyncio.run(connect(name, replace(config, timeout=min(config.timeout, _PATIENCE))))


async def connect(name: str, config: DestinationConfig) -> str:
    """Connect as the daemon does, and send nothing; return what was reached. Raises UnreachableError."""
    try:
        return await Client(name, config).probe()
    except NoAnswerError as error:
        raise UnreachableError(Redaction(config).of(str(error)), hint=error.hint) from error
