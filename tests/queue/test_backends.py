"""The list of backends: how a queue is described, and what of it a reload may change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from forwarder.config import QueueConfig, SqliteConfig
from forwarder.queue.backends import BACKENDS, changed_for_good
from tests.queue.throwaway import WITH_DICT, DictConfig

SQLITE = SqliteConfig(path=Path("/q/queue.db"))


def test_every_backend_that_can_be_configured_is_there() -> None:
    """Whatever settings `queue.backend` chooses, there is a backend for them, and no other."""
    assert set(BACKENDS) == {QueueConfig}


def test_what_only_a_start_changes() -> None:
    """Where the queue is, and how large it may become, stay until a restart; the policy when full may change."""
    assert changed_for_good(SQLITE, replace(SQLITE, when_full="drop_oldest")) == []
    assert changed_for_good(SQLITE, replace(SQLITE, path=Path("/r"), max_bytes=1 << 20)) == ["path", "max_bytes"]


def test_another_backend_needs_a_start() -> None:
    """Of another backend only that is said: its settings are others."""
    assert changed_for_good(SQLITE, DictConfig(1 << 20), WITH_DICT) == ["backend"]
    assert changed_for_good(DictConfig(1), DictConfig(2), WITH_DICT) == ["max_bytes"]


def test_the_log_says_where_each_queue_is() -> None:
    """Every backend can be described without being opened."""
    for config in (SQLITE, DictConfig(1 << 20)):
        assert WITH_DICT[type(config)].describe(config)["queue"]
