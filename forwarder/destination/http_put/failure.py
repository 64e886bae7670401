"""Why there was no answer: the cause in words that an operator can act on.

A failure below HTTP is reported where it happens and in the words of whoever noticed it: the
system, the resolver, the TLS library, or the other side in a TLS alert. None of these holds a
secret; what the other side sent is masked where it is shown.
"""

from __future__ import annotations

import os
import re
import socket
import ssl

# Names of alerts as OpenSSL gives them, such as TLSV13_ALERT_CERTIFICATE_REQUIRED, TLSV1_UNRECOGNIZED_NAME.
_ALERT = re.compile(r"(?:SSLV3|TLSV1|TLSV13)_(?:ALERT_)?(?P<name>[A-Z_]+)")
# What OpenSSL says about bytes that are not TLS; which of these depends on the bytes and on its version.
_NOT_TLS = frozenset(
    {"HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL", "WRONG_VERSION_NUMBER"}
)
# What the other side says about a client certificate, or about the lack of one.
_ABOUT_THE_CLIENT = frozenset(
    {
        "access denied",
        "bad certificate",
        "certificate expired",
        "certificate required",
        "certificate revoked",
        "certificate unknown",
        "handshake failure",
        "unknown ca",
        "unsupported certificate",
    }
)

# X509_V_ERR_CERT_HAS_EXPIRED of OpenSSL (verify(1)).
_HAS_ENDED = 10

_NETWORK = "See whether it runs, and look at the network, a firewall, the port"
_TRUST = "Look at the host in the url, and at tls.ca_file"
_RENEW = "Have that certificate renewed at the server; if it is still good, the clock here is wrong (timedatectl)"


class NoAnswerError(Exception):
    """An attempt brought no answer; the text says why, and `hint` what to look at.

    `reached` says whether any of the request was sent, `timed_out` whether the time ran out. `unanswered` says that
    the connection ended before a single byte came back. `expired` is the host and port whose certificate is over,
    that of the destination or of a proxy on the way; it is empty where no certificate is to blame. `is_repeated` says
    that the request had gone out once before, over a kept connection that ended, and may have been taken then.
    """

    def __init__(
        self,
        words: str,
        *,
        hint: str = "",
        reached: bool = False,
        unanswered: bool = False,
        timed_out: bool = False,
        expired: str = "",
    ) -> None:
        super().__init__(words)
        self.hint = hint
        self.reached = reached
        self.unanswered = unanswered
        self.timed_out = timed_out
        self.expired = expired
        self.is_repeated = False


def not_resolved(host: str, error: OSError) -> NoAnswerError:
    """Return the failure of a name that has no address."""
    words = f"{host} cannot be resolved: {error.strerror or cause(error)}"
    return NoAnswerError(words, hint="Correct the host, or look at the name server")


def not_connected(where: str, errors: list[OSError]) -> NoAnswerError:
    """Return the failure of a place that took no connection, with each cause once."""
    causes = dict.fromkeys(cause(error) for error in errors)
    return NoAnswerError(f"cannot connect to {where}: {', '.join(causes) or 'it has no address'}", hint=_NETWORK)


def not_secured(where: str, error: Exception | None) -> NoAnswerError:
    """Return the failure of a TLS handshake, or of a connection that an alert has ended."""
    match error:
        case ssl.SSLCertVerificationError():
            words = f"the certificate of {where} is not trusted: {error.verify_message}"
            has_ended = error.verify_code == _HAS_ENDED
            return NoAnswerError(words, hint=_RENEW if has_ended else _TRUST, expired=where if has_ended else "")
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError() | None:
            return NoAnswerError(f"{where} ended the connection during the TLS handshake")
        case ssl.SSLError(reason=str() as reason):
            if reason in _NOT_TLS:
                return NoAnswerError(f"{where} does not speak TLS: use http://, or the port is wrong")
            if (alert := _ALERT.fullmatch(reason)) is not None:
                return NoAnswerError(f"{where} refused TLS: {_alert(alert['name'])}")
            return NoAnswerError(f"TLS with {where} failed: {reason.replace('_', ' ').lower()}")
    return NoAnswerError(f"TLS with {where} failed: {cause(error)}")


def _alert(name: str) -> str:
    words = name.replace("_", " ").lower()
    return words + (" (look at tls.cert_file)" if words in _ABOUT_THE_CLIENT else "")


def cause(error: Exception) -> str:
    """Return the system's own words for an error."""
    # A resolver's and a TLS library's errors have numbers of their own, which mean something else to the system.
    if isinstance(error, OSError) and not isinstance(error, (ssl.SSLError, socket.gaierror)) and error.errno:
        return os.strerror(error.errno)
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
