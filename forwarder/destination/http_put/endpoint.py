"""Where a URL leads, and the head of a request to it (RFC 9112, section 3.2)."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import quote, unquote, urlsplit

_PORTS: Final = {"http": 80, "https": 443}
# What may stand in a path or a query as it is (RFC 3986, section 3.3), and what is escaped already.
_IN_PATH = "/%:@!$&'()*+,;="
_IN_QUERY = _IN_PATH + "?"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The host and port that a URL names, and what is asked for there."""

    scheme: str
    host: str
    """A name in ASCII, or an address without brackets."""
    port: int
    path: str = "/"
    """Path and query."""
    credentials: str | None = None
    """User and password, as `user:password`."""

    @classmethod
    def of(cls, url: str) -> Self:
        """Return where a URL leads that the configuration has accepted."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        if not host.isascii():
            host = host.encode("idna").decode()
        path = quote(parts.path or "/", safe=_IN_PATH) + (
            f"?{quote(parts.query, safe=_IN_QUERY)}" if parts.query else ""
        )
        credentials = None
        if parts.username is not None:
            credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        return cls(parts.scheme, host, parts.port or _PORTS[parts.scheme], path, credentials)

    @property
    def is_secure(self) -> bool:
        return self.scheme == "https"

    @property
    def where(self) -> str:
        """Host and port, as CONNECT and people want them."""
        return f"{self._bracketed}:{self.port}"

    @property
    def authority(self) -> str:
        """Host and port, the port only where it is not the usual one."""
        return self._bracketed if self.port == _PORTS[self.scheme] else self.where

    @property
    def _bracketed(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    def authorization(self) -> dict[str, str]:
        """Return the field that shows the credentials to a proxy (RFC 7617)."""
        if self.credentials is None:
            return {}
        return {"Proxy-Authorization": f"Basic {base64.b64encode(self.credentials.encode()).decode()}"}


def request_head(method: str, target: str, fields: Mapping[str, str]) -> bytes:
    """Return the lines of a request up to and without the empty one."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), ""]
    return "\r\n".join(lines).encode()
