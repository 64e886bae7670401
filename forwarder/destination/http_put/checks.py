"""What `forwarder check` looks at: key, certificates and, where it is wanted, a connection; no event is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from urllib.parse import urlsplit

from forwarder.config import DestinationConfig
from forwarder.destination.http_put.client import Client
from forwarder.destination.http_put.put import load_signer
from forwarder.destination.http_put.tls import tls_context

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
    """Connect as the daemon does, and send nothing."""
    return asyncio.run(Client(name, replace(config, timeout=min(config.timeout, _PATIENCE))).probe())
