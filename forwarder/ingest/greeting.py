"""The token line that a stream client over TCP begins with: `{"token": "…"}`.

Whoever sends it is not known yet, so little is kept of it, and nothing behind it is looked at before the token is
known to be right.
"""

from __future__ import annotations

import msgspec

from forwarder.errors import UnauthorizedError
from forwarder.web.access import Access

# The longest line with a token, in bytes: a token is one line of a file, and no page of text.
MAX_BYTES = 8 * 1024
_SPACE = b" \t\r\n"


class _Token(msgspec.Struct):
    token: str


class Greeting:
    """Takes the bytes of a connection until its first line that is not blank is there."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._begun = b""

    @property
    def is_full(self) -> bool:
        """Whether no more is to be read before `rest` was called: a whole line is there, or there will be none."""
        return b"\n" in self._begun or len(self._begun) > MAX_BYTES

    def feed(self, data: bytes) -> None:
        """Take the next bytes. Blank lines in front do not count."""
        self._begun = (self._begun + data).lstrip(_SPACE)

    def finish(self) -> None:
        """Take note that the client has ended its side: its line needs no newline."""
        if self._begun:
            self._begun += b"\n"

    def rest(self) -> bytes | None:
        """Return what came behind the line once its token is found right; None while there is no whole line.

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
    """Return what a client is told that has not said who it is."""
    return UnauthorizedError('a token is required: send {"token": "…"} as the first line')
