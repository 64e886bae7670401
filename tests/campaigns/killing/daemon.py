"""One life of the real forwarder: started, read from, shot at, and looked at when it is dead."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp

from forwarder.config.addresses import parse_address
from forwarder.model import Address
from tests.campaigns.killing.shot import Shot, Sight
from tests.integration.process import Forwarder

_ROOT = Path(__file__).parents[3]
# Seconds in which anything must happen: a machine may be busy, or stand still, for minutes.
PATIENCE = 600.0
# The queue of a campaign is small, and filled as fast as it goes: producers are refused now and then.
_EXPECTED = "queue.full"


class Daemon:
    """A process of the forwarder. What it logs is read at once and kept in the folder's `log`."""

    def __init__(self, forwarder: Forwarder, sabotage: str | None, saw: Callable[[Sight], None]) -> None:
        self._forwarder = forwarder
        self._sabotage = sabotage
        self._saw = saw
        self._changed = asyncio.Event()
        self._listening: list[Address] = []
        self.complaints: list[str] = []
        """What it logged that a kill must not lead to: errors, tracebacks."""
        self.timeouts: Counter[str] = Counter()
        """For each destination, the requests that it had given up waiting for an answer to."""

    async def start(self, shot: Shot) -> None:
        """Start the process; the shot may go off from now on."""
        module = ["forwarder"] if self._sabotage is None else ["tests.campaigns.killing.sabotage", self._sabotage]
        self._began = time.monotonic()
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", *module, "run", "-c", str(self._forwarder.config_file)),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            cwd=_ROOT,
            limit=1 << 20,
        )
        shot.arm(self._process.pid, self._forwarder.folder / "queue")
        self._saw(Sight.SPAWNED)
        self._reading = asyncio.create_task(self._read())

    async def ready(self) -> bool:
        """Wait until it accepts events; return False where it ended before."""
        async with asyncio.timeout(PATIENCE):
            while not self._listening and not self._reading.done():
                await self._changed.wait()
                self._changed.clear()
        return bool(self._listening)

    async def ended(self, patience: float) -> bool:
        """Wait for the end; return whether it came within so many seconds."""
        done, _ = await asyncio.wait([self._reading], timeout=patience)
        return bool(done)

    async def code(self) -> int:
        """Return the exit code of a process that has ended."""
        return await self._process.wait()

    def terminate(self) -> None:
        """Send SIGTERM."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)

    @property
    def http(self) -> tuple[Address, Address]:
        """The addresses of the HTTP intake: unix, TCP."""
        return self._listening[0], self._listening[1]

    @property
    def stream(self) -> tuple[Address, Address]:
        """The addresses of the stream: unix, TCP."""
        return self._listening[2], self._listening[3]

    async def status(self) -> dict[str, Any] | None:
        """Return `GET /v1/status`, or None where the process was killed meanwhile."""
        try:
            found: dict[str, Any] = json.loads(await self._admin("/v1/status"))
        except (aiohttp.ClientError, OSError):
            if not await self.ended(PATIENCE):
                raise
            return None
        return found

    async def dead(self, route: str) -> list[dict[str, Any]]:
        """Return the dead letters of a destination."""
        return [json.loads(line) for line in (await self._admin(f"/v1/dead?destination={route}")).splitlines()]

    async def _admin(self, path: str) -> str:
        connector = aiohttp.UnixConnector(str(self._forwarder.folder / "admin.sock"))
        async with (
            aiohttp.ClientSession(connector=connector, raise_for_status=True) as session,
            session.get(f"http://localhost{path}") as answer,
        ):
            return await answer.text()

    async def _read(self) -> None:
        """Read the log until the process ends."""
        assert self._process.stderr is not None
        with self._forwarder.log_file.open("ab") as log:
            try:
                while line := await self._process.stderr.readline():
                    log.write(line)
                    # A kill may cut the last one short.
                    if line.endswith(b"\n"):
                        self._look_at(line)
            finally:
                self._changed.set()

    def _look_at(self, line: bytes) -> None:
        try:
            found = json.loads(line)
        except ValueError:
            self.complaints.append(line.decode(errors="replace").rstrip())
            return
        if (found["level"] in {"error", "critical"} and found["event"] != _EXPECTED) or "exception" in found:
            self.complaints.append(line.decode().rstrip())
        elif found["event"] in {"destination.failing", "batch.deferred"}:
            self.timeouts[found["destination"]] += found["detail"].startswith("no answer within")
        elif found["event"] == "forwarder.started":
            self._saw(Sight.READY)
            self._listening = [parse_address(word) for word in found["listening"].split(", ")]
            self._changed.set()


def damage_of(queue: Path) -> str | None:
    """Return what SQLite finds wrong with a queue that nobody has open, or None. A copy is looked at."""
    if not queue.exists():
        return None
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("", "-wal"):
            source = queue.with_name(queue.name + suffix)
            if source.exists():
                shutil.copyfile(source, os.path.join(folder, "queue.db" + suffix))  # noqa: PTH118
        with closing(sqlite3.connect(Path(folder) / "queue.db")) as copy:
            try:
                found = copy.execute("PRAGMA integrity_check").fetchall()
            except sqlite3.DatabaseError as error:
                return repr(error)
    return None if found == [("ok",)] else str(found)
