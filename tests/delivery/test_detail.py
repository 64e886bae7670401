"""What an answer or an error says, as one short line without secrets."""

from __future__ import annotations

import ssl
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from forwarder.delivery.detail import DETAIL_BYTES, Details
from tests.delivery.conftest import destination

SECRETS = [
    "https://api.example/hooks/T0123456789abcdef?token=query-secret&x=1",
    "T0123456789abcdef",
    "token=query-secret&x=1",
    "query-secret",
    "Bearer header-secret",
    "header-secret",
    "proxy-user:proxy-secret",
    "proxy-secret",
]
DETAILS = Details(
    destination(
        SECRETS[0],
        headers={"Authorization": SECRETS[4], "X-Tenant": "blue"},
        proxy="http://proxy-user:proxy-secret@proxy.example:3128",
    )
)
PLAIN = Details(destination())


class TestAnswer:
    @pytest.mark.parametrize(
        ("status", "reason", "body", "detail"),
        [
            (400, "Bad Request", b"", "400 Bad Request"),
            (400, None, b"no", "400: no"),
            (503, "", b" \r\n ", "503"),
            (422, "Unprocessable", b'{\r\n  "error":\t"eventType"\n}\n', '422 Unprocessable: { "error": "eventType" }'),
            (400, "Bad", b"\x1b[2Jred\x00\x07 \xe2\x80\xa8line", "400 Bad: [2Jred line"),
            (400, "Bad", b"\xff\xfe", "400 Bad: \ufffd\ufffd"),
            (400, "Bad", "größer".encode(), "400 Bad: größer"),
        ],
    )
    def test_is_one_line(self, status: int, reason: str | None, body: bytes, detail: str) -> None:
        """Status, reason and the start of the body stand on one line, without control characters."""
        assert PLAIN.of_answer(status, reason, body) == detail

    @given(st.text(max_size=3000), st.binary(max_size=3000))
    def test_is_short(self, reason: str, body: bytes) -> None:
        """Whatever is answered, the detail is one printable line of at most 512 bytes."""
        detail = PLAIN.of_answer(400, reason, body)
        assert len(detail.encode()) <= DETAIL_BYTES
        assert detail.isprintable()

    @given(st.sampled_from(SECRETS), st.binary(max_size=600))
    def test_secrets_are_masked(self, secret: str, before: bytes) -> None:
        """An answer that repeats what it was sent does not bring URL, headers or proxy into the log."""
        detail = DETAILS.of_answer(400, f"Bad {secret}", before + secret.encode())
        assert secret not in detail
        assert "-secret" not in detail
        assert "***" in detail

    def test_words_stay(self) -> None:
        """Short values, such as the name of a tenant, are no secrets: text stays readable."""
        assert DETAILS.of_answer(400, "Bad", b"no tenant blue") == "400 Bad: no tenant blue"


def key(host: str = "api.example", port: int = 443) -> ConnectionKey:
    return ConnectionKey(host, port, True, True, None, None, None)


def info() -> Any:
    url = URL(SECRETS[0])
    return aiohttp.RequestInfo(url, "POST", CIMultiDictProxy(CIMultiDict()), url)


def untrusted() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed")
    error.verify_message = "unable to get local issuer certificate"
    return error


class TestError:
    @pytest.mark.parametrize(
        ("error", "detail"),
        [
            (
                aiohttp.ClientConnectorError(key(), OSError(111, "Connect call failed ('10.0.0.1', 443)")),
                "cannot connect to api.example:443: Connection refused",
            ),
            (
                aiohttp.ClientConnectorError(key(), OSError("Multiple exceptions: one, two")),
                "cannot connect to api.example:443: Multiple exceptions: one, two",
            ),
            (
                aiohttp.ClientConnectorDNSError(key(), OSError(-2, "Name or service not known")),
                "api.example cannot be resolved: Name or service not known",
            ),
            (
                aiohttp.ClientConnectorCertificateError(key(), untrusted()),
                "the certificate of api.example:443 is not trusted: unable to get local issuer certificate",
            ),
            (
                aiohttp.ClientConnectorSSLError(key(), ssl.SSLError(1, "[SSL] record layer failure (_ssl.c:1006)")),
                "cannot connect to api.example:443: [SSL] record layer failure (_ssl.c:1006)",
            ),
            (
                aiohttp.ClientProxyConnectionError(key("proxy.example", 3128), OSError(111, "refused")),
                "cannot connect to proxy.example:3128: Connection refused",
            ),
            (
                aiohttp.ClientHttpProxyError(info(), (), status=407, message="Proxy Authentication Required"),
                "the proxy answered 407 Proxy Authentication Required",
            ),
            (
                aiohttp.ClientResponseError(info(), (), status=400, message="Bad status line:\n\n  b'x'\n   ^"),
                "the answer is not HTTP: Bad status line: b'x' ^",
            ),
            (aiohttp.ServerDisconnectedError(), "the connection was closed without an answer"),
            (
                aiohttp.ClientOSError(32, f"Can not write request body for {SECRETS[0]}"),
                "the connection broke: Broken pipe",
            ),
            (aiohttp.ClientConnectionError(f"Failed to send to {SECRETS[0]}"), "the connection broke"),
            (ValueError(f"{SECRETS[0]} is odd"), "*** is odd"),
            (ValueError(), "ValueError"),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_is_in_our_words(self, error: Exception, detail: str) -> None:
        """Host, port and the system's words are told; the URL and what else could be secret are not."""
        assert DETAILS.of_error(error) == detail

    def test_an_error_without_text(self) -> None:
        """An error that says nothing is told by its name."""
        error = aiohttp.ClientConnectorError(key(), cast("OSError", SimpleNamespace(errno=None, strerror=None)))
        assert PLAIN.of_error(error).startswith("cannot connect to api.example:443: ")
