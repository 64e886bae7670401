"""Why there was no answer, in words that an operator can act on."""

from __future__ import annotations

import errno
import socket
import ssl

import pytest

from forwarder.destination.http_put.failure import cause, not_connected, not_resolved, not_secured

WHERE = "api.example:443"


def refused(reason: str) -> ssl.SSLError:
    """Return an error as the TLS library makes it."""
    error = ssl.SSLError(1, f"[SSL: {reason}] {reason.lower()} (_ssl.c:2580)")
    error.reason = reason
    return error


def untrusted() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed")
    error.verify_message = "unable to get local issuer certificate"
    error.verify_code = 20
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (untrusted(), "the certificate of api.example:443 is not trusted: unable to get local issuer certificate"),
        (
            refused("TLSV13_ALERT_CERTIFICATE_REQUIRED"),
            "api.example:443 refused TLS: certificate required (look at tls.cert_file)",
        ),
        (refused("TLSV1_ALERT_UNKNOWN_CA"), "api.example:443 refused TLS: unknown ca (look at tls.cert_file)"),
        (
            refused("SSLV3_ALERT_CERTIFICATE_EXPIRED"),
            "api.example:443 refused TLS: certificate expired (look at tls.cert_file)",
        ),
        (refused("TLSV1_UNRECOGNIZED_NAME"), "api.example:443 refused TLS: unrecognized name"),
        (refused("TLSV1_ALERT_PROTOCOL_VERSION"), "api.example:443 refused TLS: protocol version"),
        (
            refused("WRONG_VERSION_NUMBER"),
            "api.example:443 does not speak TLS: use http://, or the port is wrong",
        ),
        (
            refused("RECORD_LAYER_FAILURE"),
            "api.example:443 does not speak TLS: use http://, or the port is wrong",
        ),
        (refused("DH_KEY_TOO_SMALL"), "TLS with api.example:443 failed: dh key too small"),
        (ssl.SSLEOFError(8, "EOF occurred"), "api.example:443 ended the connection during the TLS handshake"),
        (None, "api.example:443 ended the connection during the TLS handshake"),
        (OSError(errno.ECONNRESET, "x"), "TLS with api.example:443 failed: Connection reset by peer"),
    ],
)
def test_tls(error: Exception | None, words: str) -> None:
    """What the TLS library and the other side say is told as it is meant, with the next step where it is known."""
    assert str(not_secured(WHERE, error)) == words


def test_addresses() -> None:
    """Each cause stands once, in the system's own words."""
    errors = [OSError(errno.ENETUNREACH, ""), OSError(errno.ECONNREFUSED, ""), OSError(errno.ECONNREFUSED, "")]
    words = "cannot connect to api.example:443: Network is unreachable, Connection refused"
    assert str(not_connected(WHERE, errors)) == words
    assert str(not_connected(WHERE, [])) == "cannot connect to api.example:443: it has no address"


def test_names() -> None:
    """The number of a resolver's error is none of the system's."""
    error = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    assert str(not_resolved("api.example", error)) == "api.example cannot be resolved: Name or service not known"


def test_an_error_without_text() -> None:
    """An error that says nothing is told by its name."""
    assert cause(OSError()) == "OSError"
