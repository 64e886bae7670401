"""TLS towards a destination: whom to trust, who we are, and what is said under it.

A session turns bytes into bytes and does no I/O. So an alert can be read whatever has become of the
connection over which it came: with TLS 1.3 a client certificate is refused after the handshake has ended
on our side, and the connection may be reset while a request is being written.
"""

from __future__ import annotations

import ssl
from contextlib import suppress

from forwarder import files
from forwarder.config import TlsConfig
from forwarder.destination.http_put.certificates import MAX_BYTES
from forwarder.errors import ConfigError, FileError, Problem

# How much is taken out of a session at once, in bytes: more than a record holds.
_READ_BYTES = 64 * 1024


def tls_context(tls: TlsConfig, path: str) -> ssl.SSLContext:
    """Return the TLS settings of a destination; raises ConfigError for files that cannot be used."""
    _look_at(tls, path)
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise _tls_error(path, "ca_file", f"{tls.ca_file} cannot be used: {error}", "a PEM file") from error
    if tls.cert_file is not None:
        try:
            # Without a password OpenSSL would ask for one on the terminal, and wait.
            context.load_cert_chain(tls.cert_file, tls.key_file, password="")
        except (OSError, ssl.SSLError) as error:
            words = f"{tls.cert_file} and {tls.key_file} cannot be used: {error}"
            raise _tls_error(path, "cert_file", words, "a PEM certificate and its unencrypted key") from error
    # The only version that is spoken; some servers would choose HTTP/2 for those who say nothing.
    context.set_alpn_protocols(["http/1.1"])
    return context


def _look_at(tls: TlsConfig, path: str) -> None:
    """Raise ConfigError for what OpenSSL must not open by name: a file that blocks, or a key that others may read."""
    for field, file in (("ca_file", tls.ca_file), ("cert_file", tls.cert_file), ("key_file", tls.key_file)):
        if file is not None:
            try:
                files.read(file, MAX_BYTES, secret=field == "key_file")
            except FileError as error:
                problem = Problem("TLS", f"{path}.{field}", error.message, f"Hint: {error.hint}")
                raise ConfigError([problem]) from None


def _tls_error(path: str, field: str, problem: str, right: str) -> ConfigError:
    return ConfigError([Problem("TLS", f"{path}.{field}", problem, f"Give {right} that this user may read.")])


class Tls:
    """A session with a host: what arrives is unwrapped, what is sent is wrapped; the first `reply` is our hello."""

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._session = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self.is_agreed = False
        """Whether the handshake has ended."""
        self.is_ended = False
        """Whether the other side has announced that it sends no more."""
        self.error: ssl.SSLError | None = None
        """Why the session has ended, if it did not end in good order."""
        self._shake_hands()

    @property
    def certificate_ends(self) -> float | None:
        """When the certificate of the other side ends, in seconds since the epoch, once the handshake has ended."""
        found = self._session.getpeercert() if self.is_agreed else None
        ends = (found or {}).get("notAfter")
        return ssl.cert_time_to_seconds(ends) if isinstance(ends, str) else None

    @property
    def version(self) -> str | None:
        return self._session.version()

    def unwrap(self, data: bytes) -> bytes:
        """Take what has arrived; return what it says. `reply` may be due after it."""
        if self.error is not None:
            return b""
        self._incoming.write(data)
        if not self.is_agreed:
            self._shake_hands()
        parts: list[bytes] = []
        try:
            while self.is_agreed and not self.is_ended:
                part = self._session.read(_READ_BYTES)
                parts.append(part)
                self.is_ended = not part
        except ssl.SSLWantReadError:
            # The rest of the record is still to come.
            pass
        except ssl.SSLError as error:
            self.error = error
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def reply(self) -> bytes:
        """Return what TLS itself has to send: handshakes, alerts."""
        return self._outgoing.read()

    def wrap(self, data: bytes | memoryview) -> bytes:
        """Return these bytes as they are sent, in records."""
        view = memoryview(data)
        while view:
            # It takes a record at a time.
            view = view[self._session.write(view) :]
        return self._outgoing.read()

    def goodbye(self) -> bytes:
        """Return the announcement that no more will be sent."""
        # The other side has not answered it yet, or the session has ended in another way.
        with suppress(ssl.SSLError):
            self._session.unwrap()
        return self._outgoing.read()

    def _shake_hands(self) -> None:
        try:
            self._session.do_handshake()
            self.is_agreed = True
        except ssl.SSLWantReadError:
            # It is the server's turn.
            pass
        except ssl.SSLError as error:
            self.error = error
