"""A real forwarder that is started through something else: a tracer, another clock, fewer rights."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tests.integration.process import PATIENCE, Forwarder

FORWARDER = ("forwarder",)


class Wrapped(Forwarder):
    """`prefix` are the words before the command; it must end by becoming the daemon. `environment` is added.

    `module` is what Python runs, with its first words: the forwarder, or one that is spoiled on purpose.
    """

    def __init__(self, folder: Path, url: str, **settings: Any) -> None:
        super().__init__(folder, url, **settings)
        self.prefix: Sequence[str] = ()
        self.module: Sequence[str] = FORWARDER
        self.environment: Mapping[str, str] = {}

    def launch(self) -> None:
        """Start the process, and wait for nothing."""
        self.write_config()
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, sys.executable, "-m", *self.module, "run", "-c", str(self.config_file)],
                stderr=log,
                stdout=log,
                env={**os.environ, **self.environment},
            )

    async def start(self) -> Self:
        """Start the process and wait until it answers."""
        self.launch()
        await self.until(self.answers)
        return self

    async def start_or_end(self) -> int | None:
        """Start the process; return None once it answers, or the exit code where it ends instead."""
        self.launch()

        async def is_decided() -> bool:
            assert self.process is not None
            return self.process.poll() is not None or await self.answers()

        await self.until(is_decided)
        assert self.process is not None
        return self.process.poll()

    def said(self) -> list[str]:
        """Return what it wrote that is no line of the log."""
        return [line for line in self.log_text().splitlines() if line and not line.startswith("{")]

    async def ready(self) -> tuple[bool, str]:
        """Ask whether it is ready; return that, and the reason why it is not."""
        status, answer = await self.admin("GET", "/readyz")
        return status == 200, "" if status == 200 else answer["detail"]

    async def becomes_ready(self) -> None:
        """Wait until it accepts."""

        async def is_ready() -> bool:
            return (await self.ready())[0]

        await self.until(is_ready, PATIENCE)


def without_rights(words: Sequence[str] = ()) -> list[str]:
    """Return a prefix with which root, too, may only do what the modes of files allow."""
    if os.getuid() != 0:
        return list(words)
    found = shutil.which("setpriv")
    assert found is not None, "setpriv is part of util-linux, as mount is"
    return [*words, found, "--bounding-set", "-dac_override,-dac_read_search", "--inh-caps", "-all"]
