"""When the certificates end that a destination's TLS rests on, as far as they stand in files here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cryptography import x509

from forwarder import files
from forwarder.config import TlsConfig
from forwarder.destination.base import Certificate
from forwarder.errors import FileError

# The largest file of certificates, in bytes; those of a whole system take a quarter of a megabyte.
MAX_BYTES = 4 * 1024 * 1024


def in_files(tls: TlsConfig) -> Iterator[Certificate]:
    """Yield the client certificate and those that are trusted, each file as one; it reads a disk."""
    if tls.cert_file is not None and (ends := _ends(tls.cert_file)):
        # Nothing in a chain may have ended.
        yield Certificate(f"the client certificate {tls.cert_file}", min(ends))
    if tls.ca_file is not None and (ends := _ends(tls.ca_file)):
        # A bundle may hold old ones beside those that are needed: it has ended with the last one.
        yield Certificate(f"the certificate to trust in {tls.ca_file}", max(ends))


def _ends(file: Path) -> list[float]:
    """Return when each certificate of a file ends, in seconds since the epoch; none where they cannot be read.

    TLS has read the file before this: what it took and this does not is a form that is rare.
    """
    try:
        found = x509.load_pem_x509_certificates(files.read(file, MAX_BYTES, secret=False))
    except (FileError, ValueError):
        return []
    return [certificate.not_valid_after_utc.timestamp() for certificate in found]
