"""Where a URL leads, and the head of a request to it."""

from __future__ import annotations

import pytest

from forwarder.destination.http_put.endpoint import Endpoint, request_head


@pytest.mark.parametrize(
    ("url", "host", "port", "authority", "where", "path"),
    [
        ("https://api.example/put", "api.example", 443, "api.example", "api.example:443", "/put"),
        ("http://api.example:8080", "api.example", 8080, "api.example:8080", "api.example:8080", "/"),
        ("http://API.example:80?a=b", "api.example", 80, "api.example", "api.example:80", "/?a=b"),
        ("https://[2001:db8::1]:8443/a", "2001:db8::1", 8443, "[2001:db8::1]:8443", "[2001:db8::1]:8443", "/a"),
        ("https://b\u00fccher.example/", "xn--bcher-kva.example", 443, "xn--bcher-kva.example", None, "/"),
        ('http://h/a%20b/\u00e4?q=\u00e4&r=%2F"', "h", 80, "h", "h:80", "/a%20b/%C3%A4?q=%C3%A4&r=%2F%22"),
        ("http://h/a;b=c@d/e:f?g?/h", "h", 80, "h", "h:80", "/a;b=c@d/e:f?g?/h"),
    ],
)
def test_parts(url: str, host: str, port: int, authority: str, where: str | None, path: str) -> None:
    """Name, port and path are what stands in a request: in ASCII, escaped once, the usual port left out."""
    found = Endpoint.of(url)
    assert (found.host, found.port, found.authority, found.path) == (host, port, authority, path)
    assert where is None or found.where == where
    assert found.is_secure == url.startswith("https")


@pytest.mark.parametrize(
    ("url", "fields"),
    [
        ("http://proxy.example:3128", {}),
        ("http://user:secret@proxy.example:3128", {"Proxy-Authorization": "Basic dXNlcjpzZWNyZXQ="}),
        ("http://user@proxy.example:3128", {"Proxy-Authorization": "Basic dXNlcjo="}),
        ("http://a%3Ab:c%40d@proxy.example", {"Proxy-Authorization": "Basic YTpiOmNAZA=="}),
    ],
)
def test_credentials(url: str, fields: dict[str, str]) -> None:
    """User and password of a proxy are unescaped and shown to it."""
    assert Endpoint.of(url).authorization() == fields


def test_head() -> None:
    """A head is a request line and its fields, each on a line."""
    assert request_head("POST", "/a", {"Host": "h", "X": "y z"}) == b"POST /a HTTP/1.1\r\nHost: h\r\nX: y z\r\n"
