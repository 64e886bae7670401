"""A kind of destination is a class for its settings, what can be done with them, and an entry in a table."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from forwarder.config import BatchConfig, Config, RateConfig, RetryConfig, ShareConfig
from forwarder.daemon.assembly import Assembly
from forwarder.daemon.destinations import Destinations
from forwarder.destination.base import Answer, Outlook
from forwarder.destination.kinds import KINDS, Kind
from forwarder.model import Batch, Outcome, Segment
from forwarder.observe.logs import Logs
from forwarder.queue.fullness import Fullness
from forwarder.queue.memory import MemoryQueue
from tests.delivery.conftest import PATIENCE, until


class FileConfig(NamedTuple):
    """A destination that is a file, with what every kind of destination has."""

    file: Path
    match: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    batch: BatchConfig = BatchConfig(max_age=0.0)
    retry: RetryConfig = RetryConfig(initial=0.001, max=0.002)
    max_rate: RateConfig = RateConfig()
    in_flight: int = 1
    queue: ShareConfig = ShareConfig()


class ToFile:
    """Adds events to a file, the second time that it is asked."""

    description: Mapping[str, str] = MappingProxyType({"kind": "file"})
    outlook = Outlook()

    def __init__(self, file: Path) -> None:
        self._file = file
        self.tried = 0

    async def prepare(self, batch: Batch) -> bytes:
        return batch.data

    async def send(self, body: bytes, *, fresh: bool = False) -> Answer:
        self.tried += 1
        if self.tried == 1:
            return Answer(Outcome.DEFERRED, "not yet")
        with self._file.open("ab") as file:
            file.write(body)
        return Answer(Outcome.DELIVERED)

    def renew(self) -> None:
        """There is no connection to renew."""

    async def aclose(self) -> None:
        """There is no connection to end."""


async def test_a_kind_of_its_own_is_delivered_to(tmp_path: Path) -> None:
    """Another kind needs nothing but an entry: it is built, delivered to, and tried again where it defers."""
    kind = Kind(
        build=lambda _name, config: ToFile(config.file),
        files=lambda config: [config.file],
        checks=lambda _name, _config, _connects: [],
    )
    settings: Any = {"main": FileConfig(file=tmp_path / "events")}
    assembly = Assembly.build(Config(destinations=settings), {**KINDS, FileConfig: kind})
    assert assembly.files == ((tmp_path / "events", None),)
    async with MemoryQueue(1 << 20) as queue:
        await queue.configure(assembly.shares)
        destinations = Destinations(queue, Logs(), Fullness(time.monotonic, time.time))
        await destinations.apply(assembly.destinations)
        await queue.append([Segment("main", 2, b'{"n":0}\n{"n":1}\n')])

        async def is_delivered() -> bool:
            return (await queue.stats()).destinations["main"].delivered == 2

        await until(is_delivered)
        status = (await destinations.status())["main"]
        assert status.last_error is not None
        assert (status.last_error.status, status.last_error.detail) == (None, "not yet")
        await destinations.drain(PATIENCE)
    assert (await asyncio.to_thread((tmp_path / "events").read_bytes)) == b'{"n":0}\n{"n":1}\n'
