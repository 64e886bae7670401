"""A request's body, decompressed, and never more of it than the limit.

Compressed bodies are cut off while they are being decompressed, so one that grows a thousandfold
costs no more memory than the limit; each step is small, so it holds nobody up. Encodings: gzip and
deflate (RFC 9110 §8.4.1), zstd (RFC 8878).
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

# Bytes that are decompressed at a time.
_STEP = 256 * 1024


class _Decompressor(Protocol):
    """What the decompressors of the standard library have in common."""

    def decompress(self, data: bytes, max_length: int = ..., /) -> bytes: ...

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...


class Body:
    """Takes a body chunk by chunk; `limit` is the most bytes it may have, as sent and once decompressed.

    Raises UnsupportedError for an encoding that is not known.
    """

    def __init__(self, encoding: str, limit: int) -> None:
        self._encoding = encoding.strip().lower()
        if self._encoding not in {"", "identity", "gzip", "x-gzip", "deflate", "zstd"}:
            raise UnsupportedError(
                f"the content encoding {encoding!r} is not known",
                hint="send gzip, deflate, zstd or none",
            )
        self._is_plain = self._encoding in {"", "identity"}
        self._limit = limit
        self._taken = 0
        self._chunks: list[bytes] = []
        self._input = b""
        self._decompressor: _Decompressor | None = None
        self.size = 0
        """Bytes that are kept."""
        self.is_behind = False
        """Whether `step` is to be called before more is fed."""

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes from the wire. Raises TooLargeError or MalformedError."""
        if self._is_plain:
            self._keep(chunk)
            return
        # What decompresses to nothing would never meet the other limit.
        self._taken += len(chunk)
        if self._taken > self._limit:
            raise self._too_large()
        self._input = chunk
        self.step()

    def step(self) -> None:
        """Decompress a little more of what was fed. Raises TooLargeError or MalformedError."""
        if self._decompressor is None or self._decompressor.eof:
            self._decompressor = self._next_member()
        try:
            out = self._decompressor.decompress(self._input, _STEP)
        except (zlib.error, zstd.ZstdError) as error:
            raise MalformedError(f"the body is not {self._encoding}: {error}") from None
        is_over = self._decompressor.eof
        self._input = self._decompressor.unused_data if is_over else b""
        self.is_behind = bool(self._input) if is_over else len(out) == _STEP
        self._keep(out)

    def finish(self) -> bytes:
        """Return the whole body. Raises MalformedError where it ends too early."""
        if not self._is_plain and (self._decompressor is None or not self._decompressor.eof):
            raise MalformedError(f"the {self._encoding} body ends too early")
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)

    def _next_member(self) -> _Decompressor:
        """Return what decompresses the next member (gzip) or frame (zstd); deflate has but one."""
        if self._encoding == "zstd":
            return zstd.ZstdDecompressor()
        if self._encoding != "deflate":
            return _Zlib(zlib.MAX_WBITS | 16)
        if self._decompressor is not None:
            raise MalformedError("the body goes on after the end of its deflate data")
        # Some clients send raw deflate under this name; zlib's first byte tells them apart.
        return _Zlib(zlib.MAX_WBITS if self._input[0] & 0x0F == 8 else -zlib.MAX_WBITS)

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
    """zlib with the interface of the newer decompressors: it keeps what it has not consumed yet."""

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
