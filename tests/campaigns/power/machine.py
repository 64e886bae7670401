"""A machine in qemu whose power can be cut: booted with orders, heard over a serial port, killed.

What the guest says is kept on this side, so a report outlives the machine. The machine reaches the queue's
drive over NBD only, and no other state of it survives.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

from tests.campaigns.power.drive import SECTOR, Drive
from tests.campaigns.power.image import Image, qemu


class MachineError(Exception):
    """The machine did not do what it was started for: it failed, ended or fell silent."""


class Machine:
    """One boot; `async with Machine(…) as machine`, then listen to `machine.heard(…)` until `await machine.cut()`."""

    def __init__(self, image: Image, drive: Drive, folder: Path, orders: dict[str, Any]) -> None:
        self._image = image
        self._drive = drive
        self._console = folder / "console"
        self._port = folder / "port.sock"
        self._orders = orders
        # None comes after the last.
        self._reports: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._server: asyncio.Server | None = None
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._console.unlink(missing_ok=True)
        self._port.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._hear, self._port, limit=2**24)
        self._process = await asyncio.create_subprocess_exec(qemu(), *self._words())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cut()
        assert self._server is not None
        self._server.close()

    async def cut(self) -> None:
        """Cut the power, of the drive first: what the guest still does reaches no disk."""
        self._drive.cut_off()
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def heard(self, patience: float) -> AsyncIterator[dict[str, Any]]:
        """Yield what the guest says until the power is cut; raises MachineError for what should not be."""
        while True:
            try:
                async with asyncio.timeout(patience):
                    report = await self._reports.get()
            except TimeoutError:
                raise MachineError(
                    f"the machine is silent for {patience:g} s; its console:\n{self.console()}"
                ) from None
            if self._drive.has_power and (report is None or "failed" in report):
                reason = "the machine has ended" if report is None else report["failed"]
                raise MachineError(f"{reason}; the console:\n{self.console()}")
            if report is None:
                return
            yield report

    def console(self) -> str:
        """Return what kernel and programs printed, the last of it."""
        text = self._console.read_text(encoding="utf-8", errors="replace") if self._console.exists() else ""
        return "\n".join(text.splitlines()[-40:])

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(json.dumps(self._orders).encode() + b"\n")
        try:
            # A line that the cut left without its end says nothing.
            while (line := await reader.readline()).endswith(b"\n"):
                self._reports.put_nowait(json.loads(line))
        except ConnectionError:
            # The machine was killed while something of ours was on its way to it.
            pass
        finally:
            self._reports.put_nowait(None)
            writer.close()

    def _words(self) -> list[str]:
        drive = f"driver=nbd,node-name=queue,server.type=unix,server.path={self._drive.path}"
        root = f"driver=raw,node-name=root,read-only=on,file.driver=file,file.filename={self._image.root}"
        sectors = f"logical_block_size={SECTOR},physical_block_size={SECTOR}"
        return [
            *("-accel", "tcg", "-machine", "q35", "-cpu", "max", "-smp", "2", "-m", "768"),
            *("-nodefaults", "-display", "none", "-no-reboot"),
            *("-kernel", str(self._image.kernel), "-initrd", str(self._image.initramfs)),
            *("-append", "console=ttyS0 loglevel=6 panic=-1 rdinit=/init"),
            *("-serial", f"file:{self._console}"),
            *("-device", "virtio-serial-pci", "-chardev", f"socket,id=port,path={self._port}"),
            *("-device", "virtserialport,chardev=port"),
            *("-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile="),
            *("-blockdev", root, "-device", "virtio-blk-pci,drive=root"),
            *("-blockdev", drive),
            *("-device", f"virtio-blk-pci,drive=queue,write-cache=on,discard=off,write-zeroes=off,{sectors}"),
        ]
