"""Small files that are read without ever waiting."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from forwarder.errors import FileError
from forwarder.files import barrier, how_to_let_in, read

LIMIT = 1000


def write(file: Path, content: bytes = b"x", mode: int = 0o600) -> Path:
    file.write_bytes(content)
    file.chmod(mode)
    return file


@contextmanager
def somebody() -> Iterator[int]:
    """Act as a user who is not root; yield the number."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield os.geteuid()
    finally:
        os.seteuid(before)


@contextmanager
def refused(problem: str, hint: str = "") -> Iterator[None]:
    with pytest.raises(FileError) as caught:
        yield
    assert problem in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o600, 0o640])
def test_owner_and_group_may_read_a_secret(tmp_path: Path, mode: int) -> None:
    """Reading by the group is fine, as systemd and Kubernetes mount secrets so."""
    assert read(write(tmp_path / "f", mode=mode), LIMIT, secret=True) == b"x"


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o601, 0o644, 0o620, 0o660, 0o610, 0o777])
def test_a_secret_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    """Any bit for others, and writing by the group, makes a secret unusable until its mode is mended."""
    file = write(tmp_path / "f", mode=mode)
    with refused(f"{file}: its mode is {mode:04o}", f"chmod 600 {file}"):
        read(file, LIMIT, secret=True)
    assert read(file, LIMIT, secret=False) == b"x"


def test_nothing_is_waited_for(tmp_path: Path) -> None:
    """A named pipe, a device and a folder are refused by what they are, at once."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    for secret in (True, False):
        with refused("pipe: is not a regular file", "name the file itself"):
            read(tmp_path / "pipe", LIMIT, secret=secret)
        with refused("/dev/zero: is not a regular file"):
            read(Path("/dev/zero"), LIMIT, secret=secret)
        with refused("is a folder", f"ls -l {tmp_path}"):
            read(tmp_path, LIMIT, secret=secret)


def test_a_pipe_is_read_where_one_may_stand() -> None:
    """A configuration may come through a pipe, slowly; one into which nobody writes is given up."""
    reader, writer = os.pipe()
    pipe = Path(f"/dev/fd/{reader}")
    content = b"y" * 900

    def put() -> None:
        with os.fdopen(writer, "wb", buffering=0) as file:
            file.write(content[:100])
            time.sleep(0.05)
            file.write(content[100:])

    writing = threading.Thread(target=put)
    writing.start()
    assert read(pipe, LIMIT, secret=False, pipe_seconds=5.0) == content
    writing.join()
    os.close(reader)
    reader, writer = os.pipe()
    with refused("a pipe into which nobody writes"):
        read(Path(f"/dev/fd/{reader}"), LIMIT, secret=False, pipe_seconds=0.05)
    os.close(reader)
    os.close(writer)


def test_a_large_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    """What is larger than what is meant is something else."""
    with refused("is larger than 0 KiB", "head -c"):
        read(write(tmp_path / "f", b"x" * (LIMIT + 1)), LIMIT, secret=True)


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "a\ud800b"])
def test_a_name_that_the_system_refuses(tmp_path: Path, name: str) -> None:
    """Whatever the name is, the answer is an error with the system's words."""
    with refused("cannot be read: ", "ls -l"):
        read(tmp_path / name, LIMIT, secret=True)


def test_whose_a_file_is_never_changes_by_a_hint() -> None:
    """A user who may not read gets a command that lets this user in and changes nothing for others."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        file = write(Path(folder, "f"), mode=0o000)
        with somebody() as user, refused(f"user {user} may not read it", f"setfacl -m u:{user}:r {file}"):
            read(file, LIMIT, secret=True)


def test_a_folder_that_bars_the_way_is_named(tmp_path: Path) -> None:
    """Where a folder on the way is the reason, it is named, and the hint is about it."""
    tmp_path.chmod(0o700)
    file = write(tmp_path / "f", mode=0o644)
    with somebody() as user:
        barred = barrier(file)
        if barred == file:
            pytest.skip("the folder of the tests belongs to this user")
        with refused(f"user {user} may not read it, and not enter {barred}", f"let it into {barred}"):
            read(file, LIMIT, secret=True)


def test_a_credential_is_left_to_systemd(tmp_path: Path) -> None:
    """What systemd hands to a service is not to be opened for anybody else."""
    file = Path("/run/credentials/forwarder.service/key.pem")
    assert "sudo" in how_to_let_in(file, {})
    assert "sudo" in how_to_let_in(tmp_path / "key.pem", {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    # The user of a service may be another number at its next start.
    hint = how_to_let_in(Path("/etc/forwarder/key.pem"), {"INVOCATION_ID": "1"})
    assert hint.startswith("hand it in: LoadCredential=key.pem:/etc/forwarder/key.pem")
    assert "setfacl" not in hint
