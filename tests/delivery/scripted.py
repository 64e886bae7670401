"""A destination that answers what a test tells it, one request after the other."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from forwarder.destination.base import Answer, Outlook
from forwarder.model import Batch


class Scripted:
    """Takes batches as they are; `fresh` tells of each request whether it wanted a new connection."""

    description: Mapping[str, str] = MappingProxyType({})
    outlook = Outlook()

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.fresh: list[bool] = []

    async def prepare(self, batch: Batch) -> bytes:
        return batch.data

    async def send(self, body: bytes, *, fresh: bool = False) -> Answer:
        self.fresh.append(fresh)
        return self.answers.pop(0)

    def renew(self) -> None:
        """There is no connection to renew."""

    async def aclose(self) -> None:
        """There is no connection to end."""
