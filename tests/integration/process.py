"""A real forwarder process for tests: its configuration, its life, its sockets."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import aiohttp
import yaml

from forwarder.signing import Signer, generate_key
from tests.fixtures import PATIENCE as PATIENCE


class Forwarder:
    """A daemon in a folder of its own. `settings` are merged into a configuration that works."""

    def __init__(self, folder: Path, url: str, **settings: Any) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.key_file = folder / "key.pem"
        if not self.key_file.exists():
            self.key_file.touch(mode=0o600)
            self.key_file.write_bytes(generate_key(2048))
        self.signer = Signer.load(self.key_file)
        self.config_file = folder / "forwarder.yaml"
        self.config = merged(
            {
                "ingest": {
                    "http": {"listen": [f"unix:{folder}/http.sock"]},
                    "stream": {"listen": [f"unix:{folder}/stream.sock"]},
                },
                "queue": {"path": str(folder / "queue" / "queue.db")},
                "destinations": {
                    "main": {
                        "url": url,
                        "signing": {"key_file": str(self.key_file)},
                        "batch": {"max_age": "50ms"},
                        "retry": {"initial": "20ms", "max": "200ms"},
                    }
                },
                "admin": {"listen": [f"unix:{folder}/admin.sock"]},
                "log": {"format": "json"},
            },
            settings,
        )
        self.process: subprocess.Popen[bytes] | None = None
        self.passed: dict[str, socket.socket] = {}
        """Sockets that it is handed as systemd does, by their FileDescriptorName."""
        self.log_file = folder / "log"

    def write_config(self) -> None:
        self.config_file.write_text(yaml.safe_dump(self.config), encoding="utf-8")

    # --- life ----------------------------------------------------------------------------------

    async def start(self) -> Self:
        """Start the process and wait until it accepts events."""
        self.spawn()
        await self.until(self.answers)
        return self

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start the process."""
        self.write_config()
        words = [sys.executable, "-m", "forwarder", "run", "-c", str(self.config_file)]
        environ, descriptors = dict(os.environ), [passed.fileno() for passed in self.passed.values()]
        if self.passed:
            # sd_listen_fds(3): they are the descriptors from 3 on, of the process that is named.
            environ |= {"LISTEN_FDS": str(len(self.passed)), "LISTEN_FDNAMES": ":".join(self.passed)}
            moves = " ".join(f"{place}<&{found}" for place, found in enumerate(descriptors, 3))
            words = ["bash", "-c", f'export LISTEN_PID=$$; exec "$@" {moves}', "-", *words]
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(words, stderr=log, stdout=log, env=environ, pass_fds=descriptors)
        return self.process

    async def answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the forwarder ended with {self.process.returncode}: {self.log_text()}")
        try:
            await self.status()
        except (aiohttp.ClientError, OSError):
            return False
        return True

    async def kill(self) -> None:
        """End the process without warning."""
        await self.stop(signal.SIGKILL)

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; return the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return await asyncio.to_thread(self.process.wait, PATIENCE)

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            await self.kill()

    async def until(self, condition: Callable[[], Any], patience: float = PATIENCE) -> None:
        """Wait until a condition, sync or async, holds."""
        deadline = time.monotonic() + patience
        while True:
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return
            assert time.monotonic() < deadline, f"did not happen in time; status: {await self.status()}"
            await asyncio.sleep(0.01)

    # --- looking on ----------------------------------------------------------------------------

    def log_text(self) -> str:
        return self.log_file.read_text(encoding="utf-8") if self.log_file.exists() else ""

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Return the log lines with this event."""
        lines = (json.loads(line) for line in self.log_text().splitlines() if line.startswith("{"))
        return [line for line in lines if line["event"] == event]

    def rss(self) -> int:
        """Return the resident memory of the process in bytes."""
        assert self.process is not None
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text(encoding="utf-8").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def on_disk(self) -> int:
        """Return the bytes that the queue takes: its file, the log, the reserve and whatever else stands beside it."""
        return sum(path.stat().st_size for path in Path(self.config["queue"]["path"]).parent.iterdir())

    async def admin(self, method: str, path: str, **more: Any) -> tuple[int, Any]:
        """Ask the admin API, with its token where there is one; return status and JSON (or text)."""
        return await request(self.folder / "admin.sock", method, path, **{"headers": self._token(), **more})

    def _token(self) -> dict[str, str]:
        file = self.config["admin"].get("token_file")
        return {"Authorization": f"Bearer {Path(file).read_text(encoding='utf-8').strip()}"} if file else {}

    async def status(self) -> dict[str, Any]:
        """Return `GET /v1/status`, the identity of each account checked."""
        _code, found = await self.admin("GET", "/v1/status")
        for account in found["destinations"].values():
            parts = account["queued"] + account["delivered"] + account["dead"] + account["dropped"]
            assert account["accepted"] == parts, account
        return found  # type: ignore[no-any-return]

    async def account(self, destination: str = "main") -> dict[str, Any]:
        return (await self.status())["destinations"][destination]  # type: ignore[no-any-return]

    async def settled(self, patience: float = PATIENCE) -> dict[str, Any]:
        """Wait until nothing is queued; return the account."""

        async def empty() -> bool:
            return bool((await self.account())["queued"] == 0)

        await self.until(empty, patience)
        return await self.account()

    # --- sending -------------------------------------------------------------------------------

    async def post(
        self, body: Any, content_type: str = "application/json", path: str = "/v1/events"
    ) -> tuple[int, Any]:
        """Post events; return status and JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await request(self.folder / "http.sock", "POST", path, data=data, headers={"Content-Type": content_type})

    def stream(self) -> socket.socket:
        """Return a connected stream socket."""
        peer = socket.socket(socket.AF_UNIX)
        peer.settimeout(PATIENCE)
        peer.connect(str(self.folder / "stream.sock"))
        return peer

    def command(self, *words: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        """Run a command of the command line with this configuration."""
        return subprocess.run(
            [sys.executable, "-m", "forwarder", *words, "-c", str(self.config_file)],
            input=stdin,
            capture_output=True,
            check=False,
            timeout=PATIENCE,
        )


async def request(sock: Path, method: str, path: str, **more: Any) -> tuple[int, Any]:
    """Make one request over a unix socket; return status and JSON (or text)."""
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(sock))) as session,
        session.request(method, f"http://localhost{path}", **more) as answer,
    ):
        return answer.status, (await answer.json() if "json" in answer.content_type else await answer.text())


def merged(base: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with the settings of `more` put in, group by group."""
    found = dict(base)
    for name, value in more.items():
        old = found.get(name)
        found[name] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return found


def events(first: int, count: int, **fields: Any) -> list[dict[str, Any]]:
    """Return numbered events."""
    return [
        {"eventSourceId": "app", "eventType": "login", "data": {"n": number}, **fields}
        for number in range(first, first + count)
    ]
