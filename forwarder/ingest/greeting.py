"""The token line with which a stream client over TCP begins: `{"token": "…"}`.

Until the token is checked the client may be anybody. So little of what it sends is kept, and nothing
after the line is looked at.
"""

from __future__ import annotations

import msgspec

from forwarder.errors import UnauthorizedError
from forwarder.web.access import Access

# The longest line with a token, in bytes; a token is one line of a file, so this is ample.
MAX_BYTES = 8 * 1024
_SPACE = b" \t\r\n"


class _Token(msgspec.Struct):
    token: str


class Greeting:
    """Takes the bytes of a connection until its first line that is not blank is complete."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._begun = b""

    @property
    def is_full(self) -> bool:
        """Whether to stop reading until `rest` is called: the line is complete, or already too long."""
        return b"\n" in self._begun or len(self._begun) > MAX_BYTES

    def feed(self, data: bytes) -> None:
        """Take the next bytes. Blank lines before the token are skipped."""
        self._begun = (self._begun + data).lstrip(_SPACE)

    def finish(self) -> None:
        """Record that the client has ended its side: its line then needs no newline."""
        if self._begun:
            self._begun += b"\n"

    def rest(self) -> bytes | None:
        """Check the token and return the bytes after its line; return None while the line is incomplete.

        Raises UnauthorizedError.
        """
        line, newline, rest = self._begun.partition(b"\n")
        if len(line) > MAX_BYTES:
            raise no_token()
        if not newline:
            return None
        try:
            token = msgspec.json.decode(line, type=_Token).token
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise no_token() from None
        self._access.check_token(token)
        self._begun = b""
        return rest


def no_token() -> UnauthorizedError:
    """Return the error for a client that has not sent a token."""
    return UnauthorizedError('a token is required: send {"token": "…"} as the first line')
