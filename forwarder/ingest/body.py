"""Decompress a request's body, and never keep more of it than the limit.

The size is checked while the body is being decompressed, so one that grows a thousandfold takes no more
memory than the limit. Each step reads and writes little, so that it does not hold up other requests.
Encodings: gzip and deflate (RFC 9110 §8.4.1), zstd (RFC 8878). A body may consist of many gzip members
or zstd frames, but their number is limited, because even an empty one takes time to decompress.
"""

from __future__ import annotations

import sys
import zlib
from typing import Protocol

from forwarder.errors import MalformedError, TooLargeError, UnsupportedError

if sys.version_info >= (3, 14):  # pragma: no cover - one of the two, by the interpreter
    from compression import zstd
else:
    from backports import zstd

# The most bytes that one step puts out, and the most that it reads: input that decompresses to nothing takes time, too.
_STEP = 256 * 1024
_WINDOW = 16 * 1024
# Bytes of output after which `catch_up` returns, so that the caller can account for the memory.
_AT_ONCE = 2 * 1024 * 1024
# One member is allowed for each of so many bytes of the limit, because to begin one takes 10 µs (zstd).
_MEMBER_BYTES = 1024
# Members that a body may have however low the limit is.
_FEW_MEMBERS = 64


class _Decompressor(Protocol):
    """The interface that the decompressors of the standard library share."""

    def decompress(self, data: bytes, max_length: int = ..., /) -> bytes: ...

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...


class Body:
    """Takes a body chunk by chunk; `limit` is the most bytes it may have, both as sent and decompressed.

    Raises UnsupportedError for an unknown encoding.
    """

    def __init__(self, encoding: str, limit: int) -> None:
        # The header lists the encodings in the order in which they were applied; identity means none (RFC 9110 §8.4).
        applied = [part for part in map(str.strip, encoding.lower().split(",")) if part not in {"", "identity"}]
        self._encoding = ", ".join(applied)
        if self._encoding not in {"", "gzip", "x-gzip", "deflate", "zstd"}:
            raise UnsupportedError(
                f"the content encoding {encoding!r} is not known",
                hint="send gzip, deflate, zstd or none",
            )
        self._limit = limit
        self._taken = 0
        self._members = 0
        self._chunks: list[bytes] = []
        self._input = b""
        self._at = 0
        """How much of the input the decompressor has been given."""
        self._is_full = False
        """Whether the decompressor has more output without further input."""
        self._decompressor: _Decompressor | None = None
        self.size = 0
        """Bytes that are kept."""
        self.is_behind = False
        """Whether `catch_up` has to be called before the next `feed`."""

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes from the wire and do a first step. Raises TooLargeError or MalformedError."""
        if not self._encoding:
            self._keep(chunk)
            return
        # Input that decompresses to nothing would never reach the limit of the output.
        self._taken += len(chunk)
        if self._taken > self._limit:
            raise self._too_large()
        self._input, self._at = chunk, 0
        self._step()

    def catch_up(self) -> None:
        """Decompress up to 2 MiB more of what was fed; may be called in a thread. Raises as `feed` does."""
        until = self.size + _AT_ONCE
        while self.is_behind and self.size < until:
            self._step()

    def _step(self) -> None:
        window = b"" if self._is_full else self._input[self._at : self._at + _WINDOW]
        padding = self._padding(window)
        if padding:
            self._at += padding
        elif window or self._is_full:
            self._decompress(window)
        self.is_behind = self._is_full or self._at < len(self._input)

    def _decompress(self, window: bytes) -> None:
        if self._decompressor is None or self._decompressor.eof:
            self._decompressor = self._next_member(window)
        try:
            out = self._decompressor.decompress(window, _STEP)
        except (zlib.error, zstd.ZstdError) as error:
            raise MalformedError(f"the body is not {self._encoding}: {error}") from None
        is_over = self._decompressor.eof
        self._at += len(window) - (len(self._decompressor.unused_data) if is_over else 0)
        self._is_full = not is_over and len(out) == _STEP
        self._keep(out)

    def _padding(self, window: bytes) -> int:
        """Return how many zeros follow a gzip member: tapes and disks pad blocks with them, and gzip(1) skips them."""
        is_between = self._decompressor is not None and self._decompressor.eof and self._encoding in {"gzip", "x-gzip"}
        return len(window) - len(window.lstrip(b"\0")) if is_between else 0

    def finish(self) -> bytes:
        """Return the whole body. Raises MalformedError if it ends too early."""
        if self._encoding and (self._decompressor is None or not self._decompressor.eof):
            raise MalformedError(f"the {self._encoding} body ends too early")
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)

    def _next_member(self, start: bytes) -> _Decompressor:
        """Return a decompressor for the next gzip member or zstd frame; deflate data has no second part."""
        self._members += 1
        most = max(_FEW_MEMBERS, self._limit // _MEMBER_BYTES)
        if self._members > most:
            words = "zstd frames" if self._encoding == "zstd" else "gzip members"
            raise TooLargeError(
                f"the body consists of more than {most:,} {words}", hint="compress the events of a request together"
            )
        if self._encoding == "zstd":
            return zstd.ZstdDecompressor()
        if self._encoding != "deflate":
            return _Zlib(zlib.MAX_WBITS | 16)
        if self._decompressor is not None:
            raise MalformedError("the body goes on after the end of its deflate data")
        # "deflate" means the zlib format, but some clients send raw deflate data; the first byte tells which it is.
        return _Zlib(zlib.MAX_WBITS if start[0] & 0x0F == 8 else -zlib.MAX_WBITS)

    def _keep(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if self.size > self._limit:
            raise self._too_large()
        if chunk:
            self._chunks.append(chunk)

    def _too_large(self) -> TooLargeError:
        return TooLargeError(
            f"the request has more than {self._limit:,} bytes (ingest.max_request_bytes)",
            hint="send the events in several requests",
        )


class _Zlib:
    """zlib with the interface of the newer decompressors, which keep the input that they have not consumed yet."""

    def __init__(self, wbits: int) -> None:
        self._zlib = zlib.decompressobj(wbits)

    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes:
        return self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data
