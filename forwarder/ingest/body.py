"""A request's body, decompressed, and never more of it than the limit.

Compressed bodies are cut off while they are being decompressed, so one that grows a thousandfold
costs no more memory than the limit. Encodings: gzip and deflate (RFC 9110 §8.4.1), zstd (RFC 8878).
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
    """Takes a body chunk by chunk; `limit` is the most bytes it may have once decompressed."""

    def __init__(self, encoding: str, limit: int) -> None:
        self._encoding = encoding.strip().lower()
        if self._encoding not in {"", "identity", "gzip", "x-gzip", "deflate", "zstd"}:
            raise UnsupportedError(
                f"the content encoding {encoding!r} is not known",
                hint="send gzip, deflate, zstd or none",
            )
        self._limit = limit
        self._chunks: list[bytes] = []
        self.size = 0
        self._decompressor: _Decompressor | _Zlib | None = None
        self._is_plain = self._encoding in {"", "identity"}

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes from the wire. Raises TooLargeError or MalformedError."""
        if self._is_plain:
            self._keep(chunk)
            return
        try:
            while chunk:
                chunk = self._decompress(chunk)
        except (zlib.error, zstd.ZstdError, EOFError) as error:
            raise MalformedError(f"the body is not {self._encoding}: {error}") from None

    def finish(self) -> bytes:
        """Return the whole body. Raises MalformedError where it ends too early."""
        if self._decompressor is not None and not self._decompressor.eof:
            raise MalformedError(f"the {self._encoding} body ends too early")
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)

    def _decompress(self, chunk: bytes) -> bytes:
        """Decompress a chunk; return what belongs to a next member or frame."""
        if self._decompressor is None or self._decompressor.eof:
            self._decompressor = self._new(chunk)
        decompressor = self._decompressor
        out = decompressor.decompress(chunk, _STEP)
        self._keep(out)
        while not decompressor.eof and len(out) == _STEP:
            out = decompressor.decompress(b"", _STEP)
            self._keep(out)
        return decompressor.unused_data if decompressor.eof else b""

    def _new(self, start: bytes) -> _Decompressor | _Zlib:
        if self._encoding == "zstd":
            return zstd.ZstdDecompressor()
        if self._encoding == "deflate":
            # Some clients send raw deflate under this name; zlib's first byte tells them apart.
            return _Zlib(zlib.MAX_WBITS if start[0] & 0x0F == 8 else -zlib.MAX_WBITS)
        return _Zlib(zlib.MAX_WBITS | 16)

    def _keep(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if self.size > self._limit:
            raise TooLargeError(
                f"the request has more than {self._limit:,} bytes (ingest.max_request_bytes)",
                hint="send the events in several requests",
            )
        if chunk:
            self._chunks.append(chunk)


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
