"""What `forwarder check` looks at: the key, the certificates, a connection."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import replace
from pathlib import Path

import pytest

from forwarder.config import SigningConfig, TlsConfig
from forwarder.destination.http_put.checks import checks, connect
from forwarder.errors import ConfigError, ForwarderError, SigningKeyError, UnreachableError
from forwarder.signing import Signer, generate_key
from tests.certificates import Authority
from tests.delivery.conftest import destination, raw_server, until
from tests.destination.http_put.servers import alerting_server, answering, at, proxy, tls_server


@pytest.mark.parametrize("connects", [False, True])
def test_each_is_looked_at_by_itself(connects: bool) -> None:
    """A key that is missing hides neither what is wrong with the certificates nor with the connection."""
    tls = TlsConfig(ca_file=Path("/nowhere/ca.pem"))
    wrong: dict[str, type[ForwarderError]] = {}
    for subject, look in checks("main", destination("https://nobody.invalid/put", tls=tls), connects):
        with pytest.raises(ForwarderError) as caught:
            look()
        wrong[subject] = caught.type
    # To connect takes the certificates, too.
    expected = {"key": SigningKeyError, "TLS": ConfigError} | ({"connection": ConfigError} if connects else {})
    assert wrong == expected


def test_what_is_good_is_told(tmp_path: Path) -> None:
    """The key is named by its file, length, algorithm and thumbprint; http needs no certificates."""
    key_file = tmp_path / "key.pem"
    key_file.write_bytes(generate_key(2048))
    key_file.chmod(0o600)
    config = replace(destination(), signing=SigningConfig(key_file=key_file))
    thumbprint = Signer.load(key_file).thumbprint
    assert {subject: look() for subject, look in checks("main", config, False)} == {
        "key": f"{key_file}, RSA 2048 bits, RS256, thumbprint {thumbprint}",
        "TLS": "not used, the URL is http",
    }


async def test_what_is_reached_is_told(authority: Authority) -> None:
    """Connected as for an attempt, over TLS and through a proxy; nothing is sent."""
    seen: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.read())

    async with tls_server(authority, handle) as port, proxy([]) as between:
        config = destination(f"https://localhost:{port}/put", tls=TlsConfig(ca_file=authority.file))
        assert await connect("main", config) == f"localhost:{port} connects (TLSv1.3)"
        config = replace(config, proxy=f"http://127.0.0.1:{between}")
        words = f"localhost:{port} through the proxy 127.0.0.1:{between} connects (TLSv1.3)"
        assert await connect("main", config) == words
        await until(lambda: len(seen) == 2)
    async with raw_server(handle) as port:
        assert await connect("main", at(port)) == f"127.0.0.1:{port} connects"
        await until(lambda: len(seen) == 3)
    assert seen == [b"", b"", b""]


async def test_a_client_certificate_that_is_missing(authority: Authority) -> None:
    """With TLS 1.3 the handshake ends well, and the refusal comes behind it."""
    with alerting_server(authority, ssl.TLSVersion.TLSv1_3) as port:
        config = destination(f"https://localhost:{port}/put", tls=TlsConfig(ca_file=authority.file))
        with pytest.raises(UnreachableError, match="certificate required"):
            await connect("main", config)


async def test_what_is_not_reached_is_told() -> None:
    """What is wrong is said in the words of an attempt."""
    async with raw_server(answering(forever=True)) as port:
        config = destination(f"https://127.0.0.1:{port}/put", timeout=0.5)
        with pytest.raises(UnreachableError, match=r"did not end the TLS handshake within 0\.5 s"):
            await connect("main", config)
    with pytest.raises(UnreachableError, match=r"nobody\.invalid cannot be resolved"):
        await connect("main", destination("http://nobody.invalid/put"))
    async with raw_server(speaking_first) as port:
        with pytest.raises(UnreachableError, match="spoke before it was asked: 220 mail"):
            await connect("main", at(port))


async def speaking_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Greet, as servers of other protocols do."""
    writer.write(b"220 mail.example ESMTP\r\n")
    await reader.read()
