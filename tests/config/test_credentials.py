"""Tokens and passphrases from files."""

from __future__ import annotations

from pathlib import Path

import pytest

from forwarder.config import secret, token
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
        (b" a b \n\n", "a b"),
        (b"\t\nabc \n", "abc"),
        ("schlüssel".encode(), "schlüssel"),
    ],
)
def test_white_space_at_the_ends_is_no_part_of_a_secret(file: Path, content: bytes, text: str) -> None:
    """Editors end a file with a newline, and no HTTP header carries a blank at its end."""
    assert secret(write(file, content)) == text


@pytest.mark.parametrize("mode", [0o644, 0o620, 0o660])
def test_a_secret_is_kept_as_a_key_is(file: Path, mode: int) -> None:
    """A mode that is refused for a key is refused for a token, with the command that mends it."""
    with pytest.raises(ConfigError) as caught:
        secret(write(file, b"abc", mode))
    assert f"its mode is {mode:04o}" in str(caught.value)
    assert f"chmod 600 {file}" in str(caught.value)
    assert "abc" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty. Write the secret into it"),
        (b" \n", "is empty"),
        (b"a\nb\n", "holds a line break"),
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


@pytest.mark.parametrize("content", ["schlüssel", "a b"])
def test_a_token_is_what_http_carries(file: Path, content: str) -> None:
    """A token that every client would have to encode in its own way is refused, before one of them fails on it."""
    with pytest.raises(ConfigError, match="no HTTP header carries unchanged"):
        token(write(file, content.encode()))
    assert token(write(file, b" 0aF-._~+/= \n")) == "0aF-._~+/="


def test_a_secret_that_is_not_there_is_named(file: Path) -> None:
    """A wrong path is a problem of the configuration."""
    with pytest.raises(ConfigError, match="there is no such file") as caught:
        secret(file)
    assert caught.value.problems[0].source == str(file)
