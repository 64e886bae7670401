"""A configuration that works, and what `load` says about changed ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from forwarder.config import Config, load
from forwarder.errors import ConfigError, Problem

DESTINATION = """\
destinations:
  main:
    url: https://example.com/put
    signing: {key_file: /etc/forwarder/key.pem}
"""

Load = Callable[..., Config]
Refuse = Callable[..., list[Problem]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "forwarder.yaml"


@pytest.fixture
def accept(file: Path) -> Load:
    """Load a configuration from text, which must work."""

    def accept(text: str = DESTINATION, environ: Mapping[str, str] = {}) -> Config:
        file.write_text(text)
        return load(file, environ)

    return accept


@pytest.fixture
def refuse(file: Path) -> Refuse:
    """Load a configuration from text, which must not work; return its problems."""

    def refuse(text: str = DESTINATION, environ: Mapping[str, str] = {}) -> list[Problem]:
        file.write_text(text)
        with pytest.raises(ConfigError) as caught:
            load(file, environ)
        assert caught.value.exit_code == 78
        return caught.value.problems

    return refuse
