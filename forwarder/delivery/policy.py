"""What delivery keeps to at a destination, whatever kind of destination it is."""

from __future__ import annotations

from typing import Protocol

from forwarder.config import BatchConfig, RateConfig, RetryConfig


class Policy(Protocol):
    """The settings that every kind of destination has."""

    @property
    def batch(self) -> BatchConfig: ...
    @property
    def retry(self) -> RetryConfig: ...
    @property
    def max_rate(self) -> RateConfig: ...
    @property
    def in_flight(self) -> int: ...
