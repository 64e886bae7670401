"""The drive: what a flush keeps, what a cut may lose, and the protocol that qemu speaks with it."""

from __future__ import annotations

import asyncio
import random
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.campaigns.power.drive import SECTOR, Disk, Drive

SECTORS = 6
HEADER = struct.Struct(">IHHQQI")

writes = st.tuples(st.integers(0, SECTORS - 1), st.integers(1, 255))
steps = st.lists(st.one_of(writes, st.none()), max_size=30)


def sector(value: int) -> bytes:
    return bytes([value]) * SECTOR


@given(steps, st.integers(0, 1000))
def test_a_cut_keeps_what_was_flushed_or_written_later(changes: list[tuple[int, int] | None], seed: int) -> None:
    """After a cut each sector is as it was last flushed, or as some write since then made it, and whole."""
    disk = Disk(bytes(SECTOR * SECTORS))
    last, possible = [0] * SECTORS, [{0} for _ in range(SECTORS)]
    for change in changes:
        if change is None:
            disk.flush()
            possible = [{value} for value in last]
        else:
            at, value = change
            disk.write(at * SECTOR, sector(value))
            last[at] = value
            possible[at].add(value)
    assert [disk.read(at * SECTOR, SECTOR) for at in range(SECTORS)] == [sector(value) for value in last]
    disk.cut(random.Random(seed))
    for at in range(SECTORS):
        assert disk.read(at * SECTOR, SECTOR) in {sector(value) for value in possible[at]}


def test_a_cut_loses_what_was_not_flushed() -> None:
    """Over some cuts, each write that was not flushed is sometimes kept and sometimes lost, also before a later one."""
    found = set()
    for seed in range(50):
        disk = Disk(bytes(SECTOR * 2))
        disk.write(0, sector(1))
        disk.write(SECTOR, sector(2))
        fate = disk.cut(random.Random(seed))
        assert fate.cached == 2
        found.add((disk.read(0, 1)[0], disk.read(SECTOR, 1)[0], fate.dropped))
    assert found == {(0, 0, 2), (1, 0, 1), (0, 2, 1), (1, 2, 0)}


@pytest.mark.parametrize(("offset", "length"), [(1, SECTOR), (0, 1), (SECTOR, SECTOR)])
def test_only_whole_sectors_of_the_drive_are_written(offset: int, length: int) -> None:
    """A part of a sector, or one beyond the end, is refused."""
    with pytest.raises(ValueError, match="not whole sectors"):
        Disk(bytes(SECTOR)).write(offset, bytes(length))


class Client:
    """As much of an NBD client as shows what the drive answers."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def negotiate(self) -> tuple[int, int]:
        """Ask for the export with NBD_OPT_GO, after an option that is not known; return size and flags."""
        assert await self._reader.readexactly(18) == b"NBDMAGICIHAVEOPT\x00\x03"
        self._writer.write(struct.pack(">I", 3))
        for option in (8, 7):
            self._writer.write(b"IHAVEOPT" + struct.pack(">II", option, 6) + bytes(6))
        replies: list[tuple[int, bytes]] = []
        while not replies or replies[-1][0] != 1:
            _magic, _option, kind, length = struct.unpack(">QIII", await self._reader.readexactly(20))
            replies.append((kind, await self._reader.readexactly(length)))
        assert [kind for kind, _ in replies] == [(1 << 31) + 1, 3, 3, 1]
        kind, size, flags = struct.unpack(">HQH", replies[1][1])
        assert kind == 0
        return size, flags

    async def ask(self, command: int, offset: int, length: int, data: bytes = b"") -> tuple[int, bytes]:
        """Make one request; return error and data."""
        self._writer.write(HEADER.pack(0x25609513, 0, command, 77, offset, length) + data)
        magic, error, handle = struct.unpack(">IIQ", await self._reader.readexactly(16))
        assert (magic, handle) == (0x67446698, 77)
        return error, await self._reader.readexactly(length) if command == 0 else b""

    def close(self) -> None:
        self._writer.close()


async def test_speaks_nbd_until_the_power_goes(tmp_path: Path) -> None:
    """A client finds a drive with a cache to flush, reads what it wrote, and gets no answer to the last write."""
    disk = Disk(bytes(SECTOR * SECTORS))
    async with Drive(disk, tmp_path / "drive.sock") as drive:
        client = Client(*await asyncio.open_unix_connection(drive.path))
        assert await client.negotiate() == (SECTOR * SECTORS, 1 | 4)
        assert await client.ask(1, SECTOR, SECTOR, sector(5)) == (0, b"")
        assert await client.ask(0, SECTOR, SECTOR) == (0, sector(5))
        assert await client.ask(1, 1, SECTOR, sector(9)) == (22, b"")
        assert await client.ask(3, 0, 0) == (0, b"")
        assert (disk.writes, disk.flushes) == (1, 1)
        drive.cut_off_after(1)
        answer = asyncio.create_task(client.ask(1, 0, SECTOR, sector(6)))
        await asyncio.wait_for(drive.stopped.wait(), 10)
        client.close()
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await answer
    assert disk.read(SECTOR, SECTOR) == sector(5)
    assert disk.cut(random.Random(0)).cached == 1
