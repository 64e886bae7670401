"""When the certificates in files end."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from forwarder.config import TlsConfig
from forwarder.destination.http_put.certificates import in_files
from tests.certificates import DAY, Authority


def days(tls: TlsConfig) -> list[tuple[str, float]]:
    """Return what each certificate is, and in how many days it ends."""
    return [(found.what, (found.ends - time.time()) / DAY) for found in in_files(tls)]


def test_nothing_is_configured() -> None:
    """Without files there is nothing to look at: the certificates of the system are its own business."""
    assert days(TlsConfig()) == []


def test_of_a_chain_the_first_end_counts_and_of_what_is_trusted_the_last(tmp_path: Path) -> None:
    """A chain is good until one of it has ended, a bundle as long as any of it is good."""
    authority = Authority(tmp_path, "some")
    several = b""
    for name, length in (("a.example", 30), ("b.example", 3), ("c.example", 300)):
        certificate, key = authority.issue(name, ends_in=length * DAY)
        several += certificate.read_bytes()
    file = tmp_path / "several.pem"
    file.write_bytes(several)
    (client, first), (trusted, last) = days(TlsConfig(ca_file=file, cert_file=file, key_file=key))
    assert (client, trusted) == (f"the client certificate {file}", f"the certificate to trust in {file}")
    assert first == pytest.approx(3, abs=0.01)
    assert last == pytest.approx(300, abs=0.01)


@pytest.mark.parametrize(
    "content", [b"", b"nothing of the kind", b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----"]
)
def test_what_cannot_be_read_says_nothing(tmp_path: Path, content: bytes) -> None:
    """Whether a file can be used at all is not decided here."""
    (tmp_path / "ca.pem").write_bytes(content)
    assert days(TlsConfig(ca_file=tmp_path / "ca.pem", cert_file=tmp_path / "missing.pem")) == []
