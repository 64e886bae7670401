"""Tokens and passphrases from files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from forwarder.config import secret
from forwarder.errors import ConfigError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "token"


def write(file: Path, content: bytes, mode: int = 0o600) -> Path:
    file.write_bytes(content)
    file.chmod(mode)
    return file


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"abc", "abc"),
        (b"abc\n", "abc"),
        (b"abc\r\n", "abc"),
        (b" a b \n", " a b "),
        ("schlüssel".encode(), "schlüssel"),
    ],
)
def test_a_secret_is_the_file_without_its_last_newline(file: Path, content: bytes, text: str) -> None:
    """Editors end a file with a newline; blanks belong to the secret."""
    assert secret(write(file, content)) == text


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o440])
def test_owner_and_group_may_read_a_secret(file: Path, mode: int) -> None:
    """A group is a usual way to hand a secret to a service."""
    assert secret(write(file, b"abc", mode)) == "abc"


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o601, 0o666])
def test_a_secret_that_others_may_use_is_refused_with_the_command_that_mends_it(file: Path, mode: int) -> None:
    """A secret that everybody can read is none."""
    with pytest.raises(ConfigError) as caught:
        secret(write(file, b"abc", mode))
    assert f"mode {mode:04o}" in str(caught.value)
    assert f"chmod o= {file}" in str(caught.value)
    assert "abc" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty. Write the secret into it"),
        (b"\n", "the file is empty"),
        (b"a\nb\n", "holds a line break"),
        (b"abc\n\n", "holds a line break"),
        (b"a\0b", "a control character"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"x" * 20000, "larger than 16 KiB"),
    ],
)
def test_what_is_no_secret_is_refused(file: Path, content: bytes, words: str) -> None:
    """A secret is one line of text; the message names the file and not what is in it."""
    with pytest.raises(ConfigError) as caught:
        secret(write(file, content))
    assert str(caught.value).startswith(f"{file}: ")
    assert words in str(caught.value)


def test_a_secret_that_is_not_there_is_named(file: Path) -> None:
    """A wrong path is a problem of the configuration."""
    with pytest.raises(ConfigError, match="there is no such file") as caught:
        secret(file)
    assert caught.value.problems[0].source == str(file)


def test_a_folder_is_no_secret(tmp_path: Path) -> None:
    """What the system refuses is said in its words."""
    with pytest.raises(ConfigError, match="Is a directory"):
        secret(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_secret_that_may_not_be_read_names_the_user(file: Path) -> None:
    """The remedy lets the daemon's user read it."""
    with pytest.raises(ConfigError, match=f"user id {os.geteuid()} may not read"):
        secret(write(file, b"abc", 0))
