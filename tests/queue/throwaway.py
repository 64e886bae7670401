"""A backend in one file, as somebody would add it: events in dictionaries that the settings of the queue carry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from forwarder.observe.base import Observer
from forwarder.queue.backends import BACKENDS, Backend, Backends
from forwarder.queue.memory import Account, MemoryQueue


@dataclass(frozen=True)
class DictConfig:
    """The settings; whoever opens the queue with the same ones again finds what was in it."""

    max_bytes: int
    accounts: dict[str, Account] = field(default_factory=dict)


async def open_queue(config: DictConfig, names: Sequence[str], observer: Observer) -> MemoryQueue:
    return MemoryQueue(config.max_bytes, accounts=config.accounts)


def describe(config: DictConfig) -> Mapping[str, str]:
    return {"queue": "in memory"}


def holder(config: DictConfig) -> str:
    return ""


def check(config: DictConfig) -> str:
    return f"in memory, {len(config.accounts)} destinations"


WITH_DICT: Backends = {**BACKENDS, DictConfig: Backend(open_queue, describe, holder, check, fixed=["max_bytes"])}
