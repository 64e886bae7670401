"""Files, their modes, and listen addresses as settings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from forwarder.config.document import Scalar
from forwarder.config.files import FileMode, FilePath, ListenAddress
from forwarder.config.mistakes import SettingError
from forwarder.model import Address


@pytest.mark.parametrize("mode", range(0o1000))
def test_a_file_mode_is_shown_as_it_is_read(mode: int) -> None:
    """Each mode that lets somebody connect reads back from what is shown, and fits the schema."""
    kind = FileMode()
    shown = kind.show(mode)
    assert re.search(kind.schema()["pattern"], shown)
    if mode & 0o222:
        assert kind.read(Scalar(shown, "str", ""), {}) == mode
    else:
        with pytest.raises(SettingError, match="nobody could connect"):
            kind.read(Scalar(shown, "str", ""), {})


def test_variables_are_replaced_in_paths_and_addresses() -> None:
    """`${NAME}` stands for a variable in each setting that names a file or a socket."""
    environ = {"RUNTIME_DIRECTORY": "/run/x"}
    assert FilePath(absolute=True).parse("${RUNTIME_DIRECTORY}/key.pem", environ) == Path("/run/x/key.pem")
    assert ListenAddress().parse("unix:${RUNTIME_DIRECTORY}/a", environ) == Address(path="/run/x/a")


def test_only_some_paths_must_be_absolute() -> None:
    """A relative path counts from the working folder, where a setting allows it."""
    assert FilePath().parse("key.pem", {}) == Path("key.pem")
    with pytest.raises(SettingError, match="absolute"):
        FilePath(absolute=True).parse("key.pem", {})
