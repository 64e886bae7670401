"""Whether the configuration file says something else than what was read of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from forwarder.config import Config
from forwarder.daemon.config_file import ConfigFile
from forwarder.errors import ConfigError


def loaded(path: Path) -> ConfigFile:
    """Return a file of which everything was read, and is in force."""
    file = ConfigFile(path, lambda: Config(destinations={}))
    file.load()
    file.took_effect()
    return file


def test_from_a_change_to_its_effect(tmp_path: Path) -> None:
    """Changed, it is unread until it is loaded, and not in force until it took effect."""
    path = tmp_path / "forwarder.yaml"
    path.write_text("one")
    file = loaded(path)
    found = []
    for act in (file.look, lambda: path.write_text("two"), file.look, file.load, file.took_effect):
        act()
        found.append((file.is_unread, file.is_changed))
    assert found == [(False, False), (False, False), (True, True), (False, True), (False, False)]


def test_bytes_count(tmp_path: Path) -> None:
    """A file that was touched, or written anew as it was, has not changed; one as long as it was may have."""
    path = tmp_path / "forwarder.yaml"
    path.write_text("one")
    file = loaded(path)
    os.utime(path, (1, 1))
    file.look()
    assert not file.is_unread
    (tmp_path / "fresh").write_text("one")
    (tmp_path / "fresh").replace(path)
    file.look()
    assert not file.is_unread
    (tmp_path / "fresh").write_text("two")
    (tmp_path / "fresh").replace(path)
    file.look()
    assert file.is_unread


def test_no_file(tmp_path: Path) -> None:
    """A file that is gone, or that never was, cannot be read; one that appears can."""
    file = loaded(path := tmp_path / "forwarder.yaml")
    file.look()
    assert not file.is_unread
    path.write_text("one")
    file.look()
    assert file.is_unread
    path.unlink()
    os.mkfifo(path)
    file.look()
    assert not file.is_unread


def test_a_file_that_is_refused_was_read(tmp_path: Path) -> None:
    """What cannot be loaded is not tried again until it changes."""
    path = tmp_path / "forwarder.yaml"
    path.write_text("one")

    def refuse() -> Config:
        raise ConfigError([])

    file = ConfigFile(path, refuse)
    with pytest.raises(ConfigError):
        file.load()
    file.look()
    assert (file.is_unread, file.is_changed) == (False, True)
