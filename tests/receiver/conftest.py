"""What the receiver's tests share: a key, its signer, and payloads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from forwarder.signing import Signer, generate_key


@pytest.fixture(scope="session")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write one key for the whole run."""
    file = tmp_path_factory.mktemp("keys") / "key.pem"
    file.write_bytes(generate_key(2048))
    file.chmod(0o600)
    return file


@pytest.fixture(scope="session")
def signer(key_file: Path) -> Signer:
    return Signer.load(key_file)


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    """Return a signer whose key nobody knows."""
    file = tmp_path_factory.mktemp("keys") / "stranger.pem"
    file.write_bytes(generate_key(2048))
    file.chmod(0o600)
    return Signer.load(file)


def event(event_id: str | None = None, **members: Any) -> dict[str, Any]:
    """Return an event that breaks no rule."""
    fields = {"eventSourceId": "app", "eventType": "Tested", **members}
    return fields if event_id is None else {**fields, "eventId": event_id}


def payload(*events: dict[str, Any]) -> bytes:
    """Return an array of events as the forwarder would write it."""
    return json.dumps(events, separators=(",", ":")).encode()
