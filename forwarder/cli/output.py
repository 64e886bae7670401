"""Open the output of an export: a file that appears only when it is complete, or standard output."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from forwarder.errors import InputOutputError


@contextlib.contextmanager
def open_output(path: Path | None) -> Iterator[BinaryIO]:
    """Yield a stream to write to; None and `-` stand for standard output.

    A file is written under another name and renamed at the end, so that half an export cannot be taken for a
    whole one. Raises InputOutputError.
    """
    if path is None or path == Path("-"):
        if sys.stdout is None:
            raise InputOutputError("standard output is closed", hint="name a file: -o FILE")
        standard = sys.stdout.buffer
        yield standard
        standard.flush()
        return
    try:
        with _writing(path) as output:
            yield output
    except OSError as error:
        raise InputOutputError(f"{path} cannot be written: {error.strerror or error}") from None


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[BinaryIO]:
    if path.exists() and not path.is_file():
        # A pipe or a device has to be written to; renaming a file over it would replace it.
        with path.open("wb") as output:
            yield output
        return
    # Replace the file that a symbolic link points to, not the link.
    path = path.resolve()
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as output:
            yield output
            output.flush()
            os.fsync(handle)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
