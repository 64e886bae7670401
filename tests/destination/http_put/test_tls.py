"""The TLS settings of a destination: files that can be used, and files that cannot."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from forwarder.config import TlsConfig
from forwarder.destination.http_put.tls import tls_context
from forwarder.errors import ConfigError
from tests.certificates import Authority
from tests.delivery.conftest import PATIENCE


@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_unusable_authority(tmp_path: Path, content: bytes | None) -> None:
    """A file that is missing, empty or broken is named, with the setting."""
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"destinations\.main\.tls\.ca_file: .*ca\.pem"):
        tls_context(TlsConfig(ca_file=file), "destinations.main.tls")


def test_unusable_client_certificate(authority: Authority, tmp_path: Path) -> None:
    """A key that does not belong to the certificate is refused before anything is sent."""
    certificate, _ = authority.issue("one.example")
    _, key = authority.issue("two.example")
    with pytest.raises(ConfigError, match=r"destinations\.main\.tls\.cert_file"):
        tls_context(TlsConfig(cert_file=certificate, key_file=key), "destinations.main.tls")


@pytest.mark.parametrize("field", ["ca_file", "cert_file", "key_file"])
def test_a_pipe_is_not_waited_for(authority: Authority, tmp_path: Path, field: str) -> None:
    """A named pipe in the place of a file is refused at once, by the name of the setting."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    certificate, key = authority.issue("one.example")
    tls = replace(TlsConfig(ca_file=authority.file, cert_file=certificate, key_file=key), **{field: tmp_path / "pipe"})
    with pytest.raises(ConfigError, match=rf"destinations\.main\.tls\.{field}: .*pipe: is not a regular file"):
        tls_context(tls, "destinations.main.tls")


def test_a_client_key_is_kept_as_a_secret(authority: Authority) -> None:
    """The private key of a client certificate is refused where others may read it, as signing keys are."""
    certificate, key = authority.issue("one.example")
    key.chmod(0o644)
    with pytest.raises(ConfigError, match=r"tls\.key_file: .*its mode is 0644"):
        tls_context(TlsConfig(cert_file=certificate, key_file=key), "destinations.main.tls")


def test_an_encrypted_key_asks_nobody(authority: Authority) -> None:
    """A key that needs a passphrase is refused; nobody is asked for it on the terminal."""
    certificate, key = authority.issue("forwarder.example", passphrase=b"secret")
    script = (
        "import sys; from forwarder.config import TlsConfig\n"
        "from forwarder.destination.http_put.tls import tls_context\n"
        "tls_context(TlsConfig(cert_file=sys.argv[1], key_file=sys.argv[2]), 'destinations.main.tls')"
    )
    # Without a terminal, standard input is asked; it stays open and says nothing.
    with subprocess.Popen(
        [sys.executable, "-c", script, certificate, key],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        try:
            assert process.wait(PATIENCE) == 1
        finally:
            process.kill()
        assert b"unencrypted key" in process.stderr.read()
