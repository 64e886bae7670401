"""The write-ahead log, which SQLite reads up to the first damaged frame, and forgets from there on without a word.

Each frame is a page, with a checksum over itself and all frames before it. So one flipped bit hides every later commit,
though nothing is wrong with those, and their events were acknowledged. Such a log is written anew with checksums that
fit. The page with the flipped bit is in it as it is: that damage is found where the page is read, as in the file. The
log as it was is kept beside it.

Not everything that SQLite cannot see was acknowledged, though. A log that ends in the middle of one commit is what a
power cut leaves, and a commit that failed leaves its end behind the commit that overwrote its beginning. Neither may be
brought back. What tells them apart is how many commits end in what is hidden: behind a power cut or a failure at most
one, while two or more can only have been hidden by damage.

The format is described at https://sqlite.org/fileformat2.html#walformat.
"""

from __future__ import annotations

import os
import struct
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from forwarder.observe.base import Observer
from forwarder.observe.facts import Notice
from forwarder.queue.sqlite.files import QueueFile, damaged_name
from forwarder.queue.sqlite.folder import put_file
from forwarder.queue.sqlite.sizes import PAGE_BYTES

_HEADER = struct.Struct(">8I")
_FRAME = struct.Struct(">6I")
_FRAME_BYTES = _FRAME.size + PAGE_BYTES
# The lowest bit tells the order of bytes in which words are summed up: that of the machine.
_MAGIC = 0x377F0682 | (sys.byteorder == "big")
_VERSION = 3007000
_WORD = 0xFFFFFFFF
# Stands for the number of a page where it is damaged to 0. No file has so many pages, so no real page is overwritten.
_NOWHERE = 0x7FFFFFFF

Sums = tuple[int, int]


@dataclass(slots=True)
class _Frame:
    """One frame: its page's number, the size of the file after it where it ends a commit, and what stands behind."""

    page: int
    commit: int
    salts: Sums
    sums: Sums
    start: int
    data: memoryview

    @property
    def head(self) -> bytes:
        return struct.pack(">2I", self.page, self.commit)


def mend_log(database: Path, observer: Observer) -> Path | None:
    """Make what was committed behind a damaged frame readable; return where the damaged log was kept, or None.

    Raises OSError. To be called before SQLite opens the file.
    """
    path = QueueFile.LOG.beside(database)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    frames = list(_frames(data))
    if not frames:
        return None
    salts, is_header_sound = _salts(data, frames)
    frames = _generation(frames, salts)
    hidden, is_cut = _hidden_commits(data, frames, salts, is_header_sound)
    if is_cut:
        observer.saw(Notice("queue.log_cut", {}))
    if not hidden:
        return None
    aside = damaged_name(path)
    put_file(aside, data)
    put_file(path, _rewritten(frames, salts))
    observer.saw(Notice("queue.log_mended", {"commits": hidden, "file": str(aside)}))
    return aside


def newest_first_page(database: Path) -> bytes | None:
    """Return the first page of a database as the last commit in its log has left it, None where none has it.

    Only the heads of frames are read, and none of the checksums, so that a long log costs little. Raises OSError.
    """
    try:
        file = QueueFile.LOG.beside(database).open("rb")
    except FileNotFoundError:
        return None
    with file:
        header = file.read(_HEADER.size)
        if len(header) < _HEADER.size:
            return None
        at, pending, found = _HEADER.size, 0, 0
        while len(head := os.pread(file.fileno(), _FRAME.size, at)) == _FRAME.size:
            page, commit, *salts = _FRAME.unpack(head)
            if tuple(salts[:2]) != _HEADER.unpack(header)[4:6]:
                break
            pending = at if page == 1 else pending
            found = pending if commit else found
            at += _FRAME_BYTES
        return os.pread(file.fileno(), PAGE_BYTES, found + _FRAME.size) if found else None


def _frames(data: bytes) -> Iterator[_Frame]:
    view = memoryview(data)
    for start in range(_HEADER.size, len(data) - _FRAME_BYTES + 1, _FRAME_BYTES):
        page, commit, *rest = _FRAME.unpack_from(data, start)
        body = view[start + _FRAME.size : start + _FRAME_BYTES]
        yield _Frame(page, commit, (rest[0], rest[1]), (rest[2], rest[3]), start, body)


def _salts(data: bytes, frames: list[_Frame]) -> tuple[Sums, bool]:
    """Return what marks the frames of this log, and whether its header can be read."""
    magic, version, page_bytes, _, *salts, first, second = _HEADER.unpack_from(data)
    if (magic, version, page_bytes) == (_MAGIC, _VERSION, PAGE_BYTES) and _sum(data[:24], (0, 0)) == (first, second):
        return (salts[0], salts[1]), True
    # SQLite overwrites a log from its beginning, so the first frames are of this log, and older ones stand behind.
    return Counter(frame.salts for frame in frames[:3]).most_common(1)[0][0], False


def _generation(frames: list[_Frame], salts: Sums) -> list[_Frame]:
    """Return the frames up to the last one that is of this log, and not of an earlier one."""
    last = max((index for index, frame in enumerate(frames) if frame.salts == salts), default=-1)
    return frames[: last + 1]


def _hidden_commits(data: bytes, frames: list[_Frame], salts: Sums, is_header_sound: bool) -> tuple[int, bool]:
    """Return how many commits SQLite does not see, and whether there is one more, of which nobody knows."""
    sums: Sums = _HEADER.unpack_from(data)[6:]
    # How many commits end in each run of frames whose checksums follow from each other. SQLite sees the first run.
    runs, fitting = [0], 0
    for index, frame in enumerate(frames):
        if _sum(frame.data, _sum(frame.head, sums)) == frame.sums and frame.salts == salts:
            fitting += index > 0
        else:
            runs.append(0)
        runs[-1] += frame.commit > 0
        sums = frame.sums
    if not is_header_sound:
        # With the header gone SQLite sees nothing. Where no two frames follow from each other it is no log at all.
        return sum(runs) if fitting else 0, False
    unseen = runs[1:]
    if any(commits > 1 for commits in unseen):
        return sum(unseen), False
    return 0, any(unseen)


def _rewritten(frames: list[_Frame], salts: Sums) -> bytes:
    head = struct.pack(">6I", _MAGIC, _VERSION, PAGE_BYTES, 0, *salts)
    sums = _sum(head, (0, 0))
    pieces: list[bytes | memoryview] = [head, struct.pack(">2I", *sums)]
    for frame in frames:
        frame.page = frame.page or _NOWHERE
        sums = _sum(frame.data, _sum(frame.head, sums))
        pieces += [frame.head, struct.pack(">4I", *salts, *sums), frame.data]
    return b"".join(pieces)


def _sum(data: bytes | memoryview, sums: Sums) -> Sums:
    first, second = sums
    for one, two in struct.iter_unpack("=2I", data):
        first = (first + one + second) & _WORD
        second = (second + two + first) & _WORD
    return first, second
