"""Listeners over a reload: opened before anything else changes, kept where they stay, closed where they go."""

from __future__ import annotations

import socket
import stat
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from forwarder.config import AdminConfig, Config, IngestConfig
from forwarder.config.schema import HttpConfig, StreamConfig
from forwarder.daemon.assembly import Assembly
from forwarder.daemon.listeners import Listeners
from forwarder.errors import ExposedError, ListenError
from forwarder.ingest.intake import Intake
from forwarder.model import Address
from forwarder.observe.facts import Notice
from tests.admin.serving import api_of
from tests.observe.recording import Recording
from tests.queue.watched import WatchedQueue

Make = Callable[..., Listeners]


@pytest.fixture
def assembly(tmp_path: Path) -> Assembly:
    """A configuration that listens at one unix socket of each kind."""
    http, stream, admin = (Address(path=str(tmp_path / f"{kind}.sock")) for kind in ("http", "stream", "admin"))
    ingest = IngestConfig(http=HttpConfig(listen=(http,)), stream=StreamConfig(listen=(stream,)))
    return Assembly.build(Config(destinations={}, ingest=ingest, admin=AdminConfig(listen=(admin,))))


@pytest.fixture
def observer() -> Recording:
    return Recording()


@pytest.fixture
async def make(assembly: Assembly, observer: Recording) -> AsyncIterator[Make]:
    """Make the listeners of a daemon, with sockets from the service manager; they are closed at the end."""
    made: list[Listeners] = []

    def make(*passed: tuple[str, socket.socket]) -> Listeners:
        queue = WatchedQueue()
        api = api_of(queue)
        intake = Intake(queue, assembly.envelope, observer)
        made.append(Listeners(assembly, intake, api, list(passed)))
        return made[-1]

    yield make
    for listeners in made:
        await listeners.close_intake(1.0)
        await listeners.close("admin", "viewer")


def notices(observer: Recording, key: str) -> list[str]:
    """Return the kinds of the listeners of which such a notice tells, in order."""
    return [fact.details["kind"] for fact in observer.facts if isinstance(fact, Notice) and fact.key == key]


def with_http(assembly: Assembly, *addresses: Address, mode: int | None = None) -> Assembly:
    """Return the same configuration with other addresses for HTTP, and another mode for the intake's sockets."""
    ingest = replace(assembly.config.ingest, http=HttpConfig(listen=addresses))
    if mode is not None:
        ingest = replace(ingest, socket_mode=mode)
    return replace(assembly, config=replace(assembly.config, ingest=ingest))


async def test_addresses_that_stay_are_kept(
    make: Make, assembly: Assembly, observer: Recording, tmp_path: Path
) -> None:
    """A reload opens what is new and closes what is gone; a socket that stays is the same file as before."""
    listeners = make()
    await listeners.apply(assembly)
    before = (tmp_path / "stream.sock").stat().st_ino
    await listeners.apply(with_http(assembly, Address(host="127.0.0.1", port=0)))
    assert (tmp_path / "stream.sock").stat().st_ino == before
    assert not (tmp_path / "http.sock").exists()
    [http] = listeners.addresses("http")
    assert http.host == "127.0.0.1"
    assert http.port != 0
    assert notices(observer, "listener.opened") == ["http", "stream", "admin", "http"]
    assert notices(observer, "listener.closed") == ["http"]


async def test_an_address_that_cannot_be_opened_changes_nothing(
    make: Make, assembly: Assembly, observer: Recording, tmp_path: Path
) -> None:
    """Where one address fails, those opened before it are closed again, and everything old goes on."""
    listeners = make()
    await listeners.apply(assembly)
    fresh, bad = Address(path=str(tmp_path / "fresh.sock")), Address(path=str(tmp_path / "nowhere" / "s"))
    with pytest.raises(ListenError):
        await listeners.apply(with_http(assembly, fresh, bad, mode=0o600))
    assert not (tmp_path / "fresh.sock").exists()
    assert listeners.addresses("http") == [Address(path=str(tmp_path / "http.sock"))]
    assert stat.S_IMODE((tmp_path / "stream.sock").stat().st_mode) == assembly.config.ingest.socket_mode
    assert notices(observer, "listener.closed") == []


async def test_the_mode_of_an_open_socket_follows_the_configuration(
    make: Make, assembly: Assembly, tmp_path: Path
) -> None:
    """Another mode holds for the files of sockets that stay."""
    listeners = make()
    await listeners.apply(assembly)
    await listeners.apply(with_http(assembly, *assembly.config.ingest.http.listen, mode=0o600))
    assert stat.S_IMODE((tmp_path / "http.sock").stat().st_mode) == 0o600


async def test_a_passed_socket_of_the_network_is_not_served_without_a_token(make: Make, assembly: Assembly) -> None:
    """A socket from the service manager that other machines reach needs a token, and with one it is served."""
    passed = socket.create_server(("0.0.0.0", 0))
    port = passed.getsockname()[1]
    listeners = make(("http", passed))
    with pytest.raises(ExposedError):
        await listeners.apply(assembly)
    assert listeners.addresses("http") == []
    await listeners.apply(replace(assembly, tokens={**assembly.tokens, "ingest": "s3cret"}))
    assert port in [address.port for address in listeners.addresses("http")]


async def test_viewers_have_sockets_of_their_own(make: Make, assembly: Assembly, tmp_path: Path) -> None:
    """Who may look and who may act is told apart by the sockets, each with a mode of its own, also after a reload."""
    place = Address(path=str(tmp_path / "viewer.sock"))
    admin = replace(assembly.config.admin, viewer_listen=(place,), viewer_socket_mode=0o666)
    assembly = replace(assembly, config=replace(assembly.config, admin=admin))
    listeners = make()
    await listeners.apply(assembly)
    assert stat.S_IMODE((tmp_path / "viewer.sock").stat().st_mode) == 0o666
    assert stat.S_IMODE((tmp_path / "admin.sock").stat().st_mode) == 0o600
    for socket_name, role in (("viewer", "viewer"), ("admin", "operator")):
        connector = aiohttp.UnixConnector(str(tmp_path / f"{socket_name}.sock"))
        async with (
            aiohttp.ClientSession("http://localhost", connector=connector) as session,
            session.get("/v1/session") as response,
        ):
            assert (await response.json())["role"] == role
    read_only = replace(admin, read_only=True, viewer_listen=())
    await listeners.apply(replace(assembly, config=replace(assembly.config, admin=read_only)))
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(tmp_path / "admin.sock"))) as session,
        session.get("http://localhost/v1/session") as response,
    ):
        assert (await response.json())["why_not"] == "nobody may act: admin.read_only is set"
    assert listeners.addresses("viewer") == []


async def test_a_passed_socket_needs_a_name_that_is_known(make: Make) -> None:
    """A socket with another name is refused: the hint tells which names there are."""
    with socket.create_server(("127.0.0.1", 0)) as passed, pytest.raises(ListenError, match="'web'") as found:
        make(("web", passed))
    assert "http, stream, admin" in found.value.hint
