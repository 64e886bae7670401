"""URLs, headers and statuses as settings."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.config.http import HeaderName, HeaderValue, OutcomeWord, ProxyUrl, Status, Url
from forwarder.config.mistakes import SettingError
from forwarder.model import Outcome


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://proxy.example:3128", "http://proxy.example:3128"),
        ("http://S3KRET@proxy.example:3128", "http://***@proxy.example:3128"),
        ("http://me:secret@proxy.example:3128/", "http://***@proxy.example:3128/"),
        ("http://:secret@proxy.example", "http://***@proxy.example"),
        ("http://joe@corp.example:S3KRET@proxy:3128", "http://***@proxy:3128"),
        ("http://me:se@cr:et@proxy.example", "http://***@proxy.example"),
    ],
)
def test_a_password_in_a_proxy_is_masked(url: str, shown: str) -> None:
    """A proxy is shown without user and password, and what is shown is a URL of a proxy again."""
    kind = ProxyUrl()
    assert kind.show(kind.parse(url, {})) == shown
    assert kind.parse(shown, {}) == shown


@pytest.mark.parametrize("url", ["https://example.com", "http://[::1]:8080/put?a=b", "HTTPS://example.com/put"])
def test_a_url_stays_as_it_was_written(url: str) -> None:
    """Deployments differ: host, port, path and query are the operator's."""
    assert Url().parse(url, {}) == url


@given(st.text())
def test_header_names_follow_the_rfc(name: str) -> None:
    """A name is taken exactly if it is a token (RFC 9110, section 5.6.2) and not the forwarder's own."""
    token = bool(re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name))
    try:
        assert HeaderName().parse(name, {}) == name
    except SettingError:
        assert not token or name.lower() in {"content-type", "content-length", "host", "transfer-encoding"}
    else:
        assert token


@given(st.text())
def test_header_values_cannot_break_out_of_their_line(value: str) -> None:
    """Only printable ASCII without blanks at the ends is taken."""
    try:
        assert HeaderValue().parse(value, {}) == value
    except SettingError:
        return
    assert value == value.strip()
    assert value.isascii()
    assert value.isprintable()


def test_the_schema_of_header_names_knows_the_forwarders_own_in_any_case() -> None:
    """The schema refuses what reading refuses."""
    refused = HeaderName().schema()["not"]["pattern"]
    assert all(re.search(refused, name) for name in ("Content-Type", "hOST", "TRANSFER-ENCODING"))
    assert not re.search(refused, "Content-Type-X")


def test_each_outcome_has_its_word() -> None:
    """Every outcome can be configured, by the word that the model has for it."""
    kind = OutcomeWord()
    assert {kind.parse(kind.show(outcome), {}) for outcome in Outcome} == set(Outcome)
    assert set(kind.schema()["enum"]) == {outcome.value for outcome in Outcome}


def test_statuses_are_those_of_http() -> None:
    """Only 100 to 599 are statuses."""
    taken = []
    for number in range(1100):
        try:
            taken.append(Status().parse(str(number), {}))
        except SettingError:
            continue
    assert taken == list(range(100, 600))
