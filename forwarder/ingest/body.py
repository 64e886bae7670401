"""A request's body, decompressed, and never more of it than the limit.

Compressed bodies are cut off while they are being decompressed, so one that grows a thousandfold
costs no more memory than the limit; each step is small in what it reads and in what it writes, so it
holds nobody up. Encodings: gzip and deflate (RFC 9110 §8.4.1), zstd (RFC 8878). A body may consist of
many gzip members or zstd frames, but each has a price, so that nothing is had for a few bytes.
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

# Bytes that come out of one step, and bytes that go into it: blocks that hold nothing cost time, too.
_STEP = 256 * 1024
_WINDOW = 16 * 1024
# Bytes that come out before the caller is to look at how much it has become.
_AT_ONCE = 2 * 1024 * 1024
# What a member is counted as, in bytes of the limit: to begin one takes 10 µs (zstd).
_MEMBER_BYTES = 1024
# Members that a body may have whatever the limit is.
_FEW_MEMBERS = 64


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
        # What the header lists is applied one after the other; identity is nothing (RFC 9110 §8.4).
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
        """How much of the input was given to the decompressor."""
        self._is_full = False
        """Whether the decompressor has more to give without more input."""
        self._decompressor: _Decompressor | None = None
        self.size = 0
        """Bytes that are kept."""
        self.is_behind = False
        """Whether `catch_up` is to be called before more is fed."""

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes from the wire, and a first step. Raises TooLargeError or MalformedError."""
        if not self._encoding:
            self._keep(chunk)
            return
        # What decompresses to nothing would never meet the other limit.
        self._taken += len(chunk)
        if self._taken > self._limit:
            raise self._too_large()
        self._input, self._at = chunk, 0
        self._step()

    def catch_up(self) -> None:
        """Go on with what was fed, for up to 2 MiB; may be called in a thread. Raises as `feed` does."""
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
        """Return how many zeros follow a member of gzip: disks and tapes fill blocks so, and gzip(1) skips them."""
        is_between = self._decompressor is not None and self._decompressor.eof and self._encoding in {"gzip", "x-gzip"}
        return len(window) - len(window.lstrip(b"\0")) if is_between else 0

    def finish(self) -> bytes:
        """Return the whole body. Raises MalformedError where it ends too early."""
        if self._encoding and (self._decompressor is None or not self._decompressor.eof):
            raise MalformedError(f"the {self._encoding} body ends too early")
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)

    def _next_member(self, start: bytes) -> _Decompressor:
        """Return what decompresses the next member (gzip) or frame (zstd); deflate has but one."""
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
        # Some clients send raw deflate under this name; zlib's first byte tells them apart.
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
