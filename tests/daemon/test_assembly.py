"""What a configuration names is read as a whole: every problem is told at once, and a changed file is noticed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from forwarder.config import (
    AdminConfig,
    Config,
    DestinationConfig,
    IngestConfig,
    QueueConfig,
    ShareConfig,
    SigningConfig,
    SqliteConfig,
)
from forwarder.daemon.assembly import Assembly, look_at, shares_of
from forwarder.errors import ConfigError
from forwarder.model import INVALID
from forwarder.signing import generate_key


def secret(file: Path, content: bytes, mode: int = 0o600) -> Path:
    file.touch(mode=mode)
    file.write_bytes(content)
    file.chmod(mode)
    return file


def destination(key: Path, **settings: object) -> DestinationConfig:
    signing = SigningConfig(key_file=key)
    return DestinationConfig(url="http://127.0.0.1:1/put", signing=signing, **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def key() -> bytes:
    return generate_key(2048)


@pytest.fixture
def config(tmp_path: Path, key: bytes) -> Config:
    """A configuration with a key and both tokens, all of them in order."""
    return Config(
        destinations={"main": destination(secret(tmp_path / "key.pem", key))},
        ingest=IngestConfig(token_file=secret(tmp_path / "ingest", b"in\n")),
        admin=AdminConfig(token_file=secret(tmp_path / "admin", b"out\n")),
    )


def test_what_is_named_is_read(config: Config, tmp_path: Path) -> None:
    """Keys and tokens are read, and every file that was read is known as it was then."""
    assembly = Assembly.build(config)
    assert assembly.tokens == {"ingest": "in", "admin": "out", "viewer": None}
    assert list(assembly.destinations) == ["main"]
    assert assembly.socket_gids == {"ingest": None, "admin": None, "viewer": None}
    assert {path.name for path, _ in assembly.files} == {"key.pem", "ingest", "admin"}
    assert assembly.files_now() == assembly.files


def test_viewers_have_a_token_of_their_own(config: Config, tmp_path: Path) -> None:
    """The viewers' token is read like the others, and must not be the operator's."""
    viewers = replace(config.admin, viewer_token_file=secret(tmp_path / "viewer", b"look\n"))
    assert Assembly.build(replace(config, admin=viewers)).tokens["viewer"] == "look"
    same = replace(config.admin, viewer_token_file=secret(tmp_path / "same", b"out"))
    with pytest.raises(ConfigError, match=r"admin.viewer_token_file: holds the same token as admin.token_file"):
        Assembly.build(replace(config, admin=same))


def test_all_problems_are_told_at_once(config: Config, tmp_path: Path) -> None:
    """Whatever is wrong with a key, a token or a group, the others are looked at all the same."""
    (tmp_path / "admin").chmod(0o644)
    (tmp_path / "ingest").unlink()
    main = config.destinations["main"]
    broken = replace(
        config,
        destinations={"main": main, "other": destination(tmp_path / "nowhere.pem")},
        ingest=replace(config.ingest, socket_group="nobodys-group"),
    )
    with pytest.raises(ConfigError) as found:
        Assembly.build(broken)
    told = [str(problem) for problem in found.value.problems]
    beginnings = (
        "destinations.other.signing: ",
        f"{tmp_path}/ingest: ",
        f"{tmp_path}/admin: ",
        "ingest.socket_group: there is no group",
    )
    assert len(told) == len(beginnings)
    for problem, beginning in zip(told, beginnings, strict=True):
        assert problem.startswith(beginning)


@pytest.mark.parametrize("name", ["key.pem", "ingest", "admin"])
def test_a_replaced_file_is_noticed(config: Config, tmp_path: Path, key: bytes, name: str) -> None:
    """A file that another was moved over, even one with the same content, is not the one that was read."""
    assembly = Assembly.build(config)
    secret(tmp_path / "fresh", (tmp_path / name).read_bytes()).replace(tmp_path / name)
    assert assembly.files_now() != assembly.files
    assert [path for path, _ in assembly.files_now()] == [path for path, _ in assembly.files]


def test_a_destination_is_the_same_until_its_settings_or_files_change(config: Config, tmp_path: Path) -> None:
    """What concerns other destinations, or nothing, leaves a destination the same; its key and settings do not."""
    before = Assembly.build(config).destinations["main"]
    assert Assembly.build(config).destinations["main"].is_same(before)
    slower = replace(config, destinations={"main": replace(config.destinations["main"], timeout=99.0)})
    assert not Assembly.build(slower).destinations["main"].is_same(before)
    (tmp_path / "key.pem").chmod(0o400)
    assert not Assembly.build(config).destinations["main"].is_same(before)


def test_a_file_that_is_not_there_has_no_version(tmp_path: Path) -> None:
    """A missing file is listed without a version, and no file is left out."""
    assert look_at([None, tmp_path / "nowhere"]) == ((tmp_path / "nowhere", None),)


def test_shares(tmp_path: Path) -> None:
    """A destination's own policy goes before that of the queue, and what is invalid has a share of its own."""
    key = tmp_path / "key.pem"
    queue: QueueConfig = SqliteConfig(when_full="drop_oldest")
    config = Config(
        queue=queue,
        destinations={
            "follows": destination(key),
            "differs": destination(key, queue=ShareConfig(max_bytes=1000, when_full="reject")),
        },
        ingest=IngestConfig(invalid_max_bytes=77),
    )
    shares = shares_of(config)
    assert (shares["follows"].max_bytes, shares["follows"].drop_oldest) == (None, True)
    assert (shares["differs"].max_bytes, shares["differs"].drop_oldest) == (1000, False)
    assert (shares[INVALID].max_bytes, shares[INVALID].setting) == (77, "ingest.invalid_max_bytes")
