"""What an answer or an error says, as one short line without secrets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.destination.http_put.redaction import DETAIL_BYTES, Redaction
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
MASKED = destination(
    SECRETS[0],
    headers={"Authorization": SECRETS[4], "X-Tenant": "blue"},
    proxy="http://proxy-user:proxy-secret@proxy.example:3128",
)
PLAIN = Redaction(destination())


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
        detail = Redaction(MASKED).of_answer(400, f"Bad {secret}", before + secret.encode())
        assert secret not in detail
        assert "-secret" not in detail
        assert "***" in detail

    def test_words_stay(self) -> None:
        """Short values, such as the name of a tenant, are no secrets: text stays readable."""
        assert Redaction(MASKED).of_answer(400, "Bad", b"no tenant blue") == "400 Bad: no tenant blue"


def test_a_failure_is_masked() -> None:
    """Why there was no answer may repeat what was sent; secrets in it are masked."""
    assert Redaction(MASKED).of(f"the answer is not HTTP: {SECRETS[0]}\n") == "the answer is not HTTP: ***"
