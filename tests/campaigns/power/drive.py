"""A drive with a volatile write cache, served over NBD: what was not flushed can be lost when the power is cut.

A write is answered when it is in the cache, a flush when everything that was written before it is on the
platter. At a cut each sector that is still in the cache may or may not have got there, in any order, as a
drive that sorts its writes leaves it; a sector is written whole or not at all, which the file system relies
on. No write is answered after a cut.

The protocol is the part of https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md that qemu
uses: fixed newstyle negotiation with NBD_OPT_GO, simple replies, read, write and flush. NBD_FLAG_SEND_FLUSH
tells the guest that there is a cache; without FUA in the flags, qemu flushes where a guest wants that.
"""

from __future__ import annotations

import asyncio
import random
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

SECTOR = 4096
"""Bytes that are written whole or not at all; the machine is told that sectors are of this size."""

_INIT_MAGIC: Final = 0x4E42444D41474943
_OPTION_MAGIC: Final = 0x49484156454F5054
_OPTION_REPLY_MAGIC: Final = 0x3E889045565A9
_REQUEST_MAGIC: Final = 0x25609513
_REPLY_MAGIC: Final = 0x67446698
_FIXED_NEWSTYLE, _NO_ZEROES = 1, 2
_OPT_ABORT, _OPT_GO = 2, 7
_ACK, _INFO, _UNSUPPORTED = 1, 3, (1 << 31) + 1
_INFO_EXPORT, _INFO_BLOCK_SIZE = 0, 3
_HAS_FLAGS, _SEND_FLUSH = 1, 4
_READ, _WRITE, _DISCONNECT, _FLUSH = 0, 1, 2, 3
_INVALID: Final = 22
_LARGEST: Final = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of the sectors that were in the cache when the power was cut."""

    cached: int
    dropped: int


class Disk:
    """What is on the platter, and what is still in the cache."""

    def __init__(self, content: bytes) -> None:
        self._durable = bytearray(content)
        self._current = bytearray(content)
        # Each sector that was written since the last flush, in order; the same one may stand there often.
        self._cached: list[tuple[int, bytes]] = []
        self.writes = 0
        self.flushes = 0

    def __len__(self) -> int:
        return len(self._current)

    def read(self, offset: int, length: int) -> bytes:
        """Return what was written last, flushed or not."""
        return bytes(self._current[offset : offset + length])

    def write(self, offset: int, data: bytes) -> None:
        """Take whole sectors into the cache; raises ValueError for anything else."""
        if offset % SECTOR or len(data) % SECTOR or offset + len(data) > len(self):
            raise ValueError(f"{len(data)} bytes at {offset} are not whole sectors of this drive")
        self._current[offset : offset + len(data)] = data
        self._cached += [(offset + at, data[at : at + SECTOR]) for at in range(0, len(data), SECTOR)]
        self.writes += 1

    def flush(self) -> None:
        """Put everything in the cache on the platter."""
        self._put(self._cached)
        self._cached = []
        self.flushes += 1

    def cut(self, chance: random.Random) -> Fate:
        """Lose what chance wants of the cache: all, none, the newest, or any sectors of it."""
        cached = self._cached
        match chance.choice(("all", "none", "newest", "any", "any")):
            case "all":
                kept = []
            case "none":
                kept = cached
            case "newest":
                kept = cached[: chance.randint(0, len(cached))]
            case _:
                share = chance.choice((0.1, 0.5, 0.9))
                kept = [sector for sector in cached if chance.random() < share]
        self._put(kept)
        self._cached = []
        self._current[:] = self._durable
        return Fate(len(cached), len(cached) - len(kept))

    def _put(self, sectors: list[tuple[int, bytes]]) -> None:
        for offset, data in sectors:
            self._durable[offset : offset + SECTOR] = data


class Drive:
    """A disk behind a unix socket; `async with Drive(disk, path) as drive`. One machine uses it at a time."""

    def __init__(self, disk: Disk, path: Path) -> None:
        self.disk = disk
        self.path = path
        self.has_power = True
        self.stopped = asyncio.Event()
        """Set when the power went after as many writes as were asked for."""
        self._last_write: int | None = None
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._serve, self.path, limit=_LARGEST)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut_off()
        assert self._server is not None
        self._server.close()

    def cut_off(self) -> None:
        """Take the power from the drive: it answers nothing more."""
        self.has_power = False

    def cut_off_after(self, writes: int) -> None:
        """Take the power after so many more writes; the last of them is in the cache, and not answered."""
        self._last_write = self.disk.writes + writes

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if await _negotiate(reader, writer, len(self.disk)):
                while await self._answer(reader, writer):
                    pass
        except (asyncio.IncompleteReadError, ConnectionError):
            # The machine was killed.
            pass
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Do one request; return whether more can come."""
        magic, _flags, command, handle, offset, length = struct.unpack(">IHHQQI", await reader.readexactly(28))
        if magic != _REQUEST_MAGIC:
            raise ConnectionError(f"a request begins with {magic:#x}")
        data = await reader.readexactly(length) if command == _WRITE else b""
        if command == _DISCONNECT:
            return False
        error, answer = self._do(command, offset, length, data) if self.has_power else (0, b"")
        if not self.has_power:
            # To the machine the drive is neither gone nor failing: it answers no more.
            while await reader.read(65536):
                pass
            return False
        writer.write(struct.pack(">IIQ", _REPLY_MAGIC, error, handle) + answer)
        await writer.drain()
        return True

    def _do(self, command: int, offset: int, length: int, data: bytes) -> tuple[int, bytes]:
        if command == _READ:
            return 0, self.disk.read(offset, length)
        if command == _FLUSH:
            self.disk.flush()
            return 0, b""
        if command != _WRITE:
            return _INVALID, b""
        try:
            self.disk.write(offset, data)
        except ValueError:
            return _INVALID, b""
        if self.disk.writes == self._last_write:
            self.cut_off()
            self.stopped.set()
        return 0, b""


async def _negotiate(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, size: int) -> bool:
    """Agree on the one export there is; return whether the client wants to use it."""
    writer.write(struct.pack(">QQH", _INIT_MAGIC, _OPTION_MAGIC, _FIXED_NEWSTYLE | _NO_ZEROES))
    await reader.readexactly(4)
    while True:
        _magic, option, length = struct.unpack(">QII", await reader.readexactly(16))
        await reader.readexactly(length)
        replies = [(_UNSUPPORTED, b"")]
        if option == _OPT_ABORT:
            replies = [(_ACK, b"")]
        elif option == _OPT_GO:
            export = struct.pack(">HQH", _INFO_EXPORT, size, _HAS_FLAGS | _SEND_FLUSH)
            sectors = struct.pack(">HIII", _INFO_BLOCK_SIZE, SECTOR, SECTOR, _LARGEST)
            replies = [(_INFO, export), (_INFO, sectors), (_ACK, b"")]
        for kind, data in replies:
            writer.write(struct.pack(">QIII", _OPTION_REPLY_MAGIC, option, kind, len(data)) + data)
        if option in {_OPT_ABORT, _OPT_GO}:
            return bool(option == _OPT_GO)
