"""The token line, in whatever pieces it comes."""

from __future__ import annotations

import pytest

from forwarder.errors import UnauthorizedError
from forwarder.ingest.greeting import MAX_BYTES, Greeting
from forwarder.model import Address
from forwarder.web.access import Access
from forwarder.web.reach import Reach

LINE = b' \r\n\n {"token": "s3cret"}\r\n'


def greeting() -> Greeting:
    return Greeting(Access(Address(host="127.0.0.1", port=1), Reach.MACHINE, token="s3cret", allow_uids=frozenset()))


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_pieces(size: int) -> None:
    """A token is found in any pieces, blank lines in front do not count, and what is behind it is given back."""
    found, data = greeting(), LINE + b"{}\n{"
    for at in range(0, len(data), size):
        found.feed(data[at : at + size])
    assert found.is_full
    assert found.rest() == b"{}\n{"


def test_nothing_yet() -> None:
    """Without a whole line there is nothing to say, nor to keep of blank lines."""
    found = greeting()
    found.feed(b"\n " * 100_000)
    found.feed(b'{"token": "s3cret"}')
    assert (found.is_full, found.rest()) == (False, None)
    found.finish()
    assert found.rest() == b""


def test_an_end_without_a_line() -> None:
    """A client that ends its side without a word has said nothing wrong."""
    found = greeting()
    found.finish()
    assert found.rest() is None


@pytest.mark.parametrize("line", [b'{"token":"s3cre"}\n', b"{}\n", b"x" * (MAX_BYTES + 1), b"x" * MAX_BYTES + b"x\n"])
def test_refused(line: bytes) -> None:
    """A wrong token, another line, and one that is too long, ended or not, are refused."""
    found = greeting()
    found.feed(line)
    assert found.is_full
    with pytest.raises(UnauthorizedError):
        found.rest()


def test_the_longest_line() -> None:
    """A line of exactly the limit passes."""
    found = greeting()
    found.feed(LINE.strip().replace(b" ", b" " * (MAX_BYTES - len(LINE.strip()) + 1)) + b"\n")
    assert found.rest() == b""
