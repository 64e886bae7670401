"""What an answer or an error says, as one short line for people, without secrets.

Such a line goes to the log, to the status and to the dead letters. Destinations and libraries repeat what
they were sent, so whatever could be a secret in the URL, the proxy or the configured headers is masked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from forwarder.config import DestinationConfig

# How much of an answer is kept with a dead letter and shown to people, in bytes.
DETAIL_BYTES = 512
# How many bytes are searched for secrets: more than are kept, so that no secret is cut in half before it is found.
_SEARCHED_BYTES = 8 * DETAIL_BYTES
# Shorter values are words such as `blue`, and every text would be unreadable without them.
_SHORTEST_SECRET = 6
# Segments of a path from this length on may be tokens, as in the URLs of webhooks.
_LONG_SEGMENT = 16
_MASK = "***"


class Redaction:
    """Masks the secrets of one destination in whatever it says."""

    def __init__(self, config: DestinationConfig) -> None:
        secrets = sorted(set(_secrets(config)), key=len, reverse=True)
        self._secret = re.compile("|".join(map(re.escape, secrets))) if secrets else None

    def of_answer(self, status: int | None, reason: str | None, start: bytes) -> str:
        """Return status, reason and the start of the body."""
        text = start[:_SEARCHED_BYTES].decode(errors="replace")
        return self.of(f"{status} {reason or ''}".strip() + (f": {text}" if text.strip() else ""))

    def of(self, text: str) -> str:
        """Return a text that may repeat what was sent, on one line and without secrets."""
        if self._secret is not None:
            text = self._secret.sub(_MASK, text)
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return text.encode(errors="replace")[:DETAIL_BYTES].decode(errors="ignore")


def _secrets(config: DestinationConfig) -> Iterator[str]:
    url = urlsplit(config.url)
    yield config.url
    if len(url.query) >= _SHORTEST_SECRET:
        yield url.query
    for parameter in url.query.split("&"):
        value = parameter.partition("=")[2]
        if len(value) >= _SHORTEST_SECRET:
            yield value
    yield from (part for part in url.path.split("/") if len(part) >= _LONG_SEGMENT)
    for value in config.headers.values():
        # What follows `Bearer` or another scheme is a secret by itself, too.
        yield from (part for part in (value, value.rpartition(" ")[2]) if len(part) >= _SHORTEST_SECRET)
    if config.proxy is not None:
        credentials = urlsplit(config.proxy).netloc.rpartition("@")[0]
        yield from (part for part in (config.proxy, credentials, credentials.partition(":")[2]) if part)
