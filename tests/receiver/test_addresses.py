"""Addresses of the receiver: which can be had, and what is said about the others."""

from __future__ import annotations

import socket
from pathlib import Path

import aiohttp
import pytest

from forwarder.errors import ListenError
from forwarder.model import Address
from forwarder.receiver import Receiver


def receiver_at(address: Address) -> Receiver:
    return Receiver(address, public_keys=[])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_port_0_is_any_free_port(host: str) -> None:
    """The address and the URL name the port that was taken."""
    async with receiver_at(Address(host=host, port=0)) as receiver:
        assert receiver.address.port
        assert receiver.url == f"http://{host}:{receiver.address.port}/put"
        async with aiohttp.ClientSession() as client, client.get(f"{receiver.base_url}/healthz") as response:
            assert response.status == 200


async def test_a_port_in_use_is_refused_with_the_command_that_finds_its_user() -> None:
    """The hint can be pasted."""
    async with receiver_at(Address(host="127.0.0.1", port=0)) as first:
        second = receiver_at(first.address)
        with pytest.raises(ListenError, match=f"{first.address}: another process listens there") as caught:
            await second.start()
        assert f"ss -ltnp 'sport = :{first.address.port}'" in caught.value.hint
        assert caught.value.exit_code == 69


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        (Address(host="192.0.2.1", port=0), "Cannot assign requested address"),
        (Address(host="name.invalid", port=0), "tcp:name.invalid:0: "),
        (Address(path="/nonexistent/receiver.sock"), "No such file or directory"),
    ],
)
async def test_an_address_that_cannot_be_had_is_told_with_the_reason(address: Address, problem: str) -> None:
    """No error of the system gets through as a traceback."""
    with pytest.raises(ListenError, match=problem):
        await receiver_at(address).start()


async def test_a_unix_socket_is_served_and_removed(tmp_path: Path) -> None:
    """After the end nothing is left; a socket that a killed process left is replaced."""
    path = tmp_path / "receiver.sock"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    async with receiver_at(Address(path=str(path))) as receiver:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as client,
            client.get(receiver.url.replace("/put", "/healthz")) as response,
        ):
            assert response.status == 200
        with pytest.raises(ListenError, match="another process listens there") as caught:
            await receiver_at(receiver.address).start()
        assert f"ss -lxnp src {path}" in caught.value.hint
    assert not path.exists()


async def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    """A mistaken path must not cost a file."""
    path = tmp_path / "precious"
    path.write_text("kept")
    with pytest.raises(ListenError, match="there is a file of that name"):
        await receiver_at(Address(path=str(path))).start()
    assert path.read_text() == "kept"
