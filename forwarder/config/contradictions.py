"""What is wrong between settings that are each right by themselves.

Pure: each rule looks at a whole configuration and yields what it finds. A finding is reported at its first path, and
not at all if one of its settings was refused already.
"""

from __future__ import annotations

import ipaddress
import os.path
from collections.abc import Iterator
from dataclasses import dataclass

from forwarder.config.schema import Config, DestinationConfig
from forwarder.config.units import format_duration, format_size
from forwarder.model import Address


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Settings, by their paths, that cannot all hold."""

    paths: tuple[str, ...]
    problem: str
    remedy: str


def contradictions(config: Config) -> Iterator[Contradiction]:
    """Yield everything that contradicts itself."""
    yield from _listeners(config)
    yield from _files(config)
    yield from _sizes(config)
    for name, destination in config.destinations.items():
        yield from _destination(f"destinations.{name}", destination, config.queue.max_bytes)


def _listeners(config: Config) -> Iterator[Contradiction]:
    ingest = config.ingest
    if not ingest.http.listen and not ingest.stream.listen:
        yield Contradiction(
            ("ingest.http.listen", "ingest.stream.listen"),
            "there is no address at all at which events could come in",
            "Give ingest.http.listen or ingest.stream.listen an address, such as unix:/run/forwarder/http.sock.",
        )
    taken: list[tuple[str, Address]] = []
    for path, address in _addresses(config):
        token_path = _token_of(path)
        if _is_of_the_network(address) and config.token_files[token_path] is None:
            yield Contradiction(
                (path, token_path),
                f"{address} can be reached from other machines, and no token is required",
                f"Set {token_path}, or listen at tcp:127.0.0.1:{address.port}.",
            )
        for other_path, other in taken:
            if _collide(address, other):
                problem = f"{address} is taken by {other_path} ({other})"
                yield Contradiction((path, other_path), problem, "Give each its own address.")
        taken.append((path, address))
        if address.path is not None and _file(address.path) in _queue_files(config):
            yield Contradiction(
                (path, "queue.path"), f"{address.path} belongs to the queue", "Give the socket another path."
            )


def _addresses(config: Config) -> Iterator[tuple[str, Address]]:
    listeners = {
        "ingest.http.listen": config.ingest.http.listen,
        "ingest.stream.listen": config.ingest.stream.listen,
        "admin.listen": config.admin.listen,
        "admin.viewer_listen": config.admin.viewer_listen,
    }
    for path, addresses in listeners.items():
        for index, address in enumerate(addresses):
            yield f"{path}[{index}]", address


def _token_of(path: str) -> str:
    """Return the setting with the token that clients of an address need, by the path of the address."""
    return "admin.viewer_token_file" if "viewer" in path else f"{path.partition('.')[0]}.token_file"


def _is_of_the_network(address: Address) -> bool:
    """Whether other machines reach an address; a name is looked up when it is bound, and then checked (`web.reach`)."""
    try:
        ipaddress.ip_address(address.host or "")
    except ValueError:
        return False
    return not address.is_loopback


def _collide(one: Address, other: Address) -> bool:
    """Whether two listeners cannot both have their address; port 0 stands for a free port each time."""
    if one.path is not None and other.path is not None:
        return _file(one.path) == _file(other.path)
    if one.port != other.port or not one.port:
        return False
    hosts = {one.host, other.host}
    return len(hosts) == 1 or ("0.0.0.0" in hosts and not any(":" in (host or "") for host in hosts))  # noqa: S104


def _file(path: str) -> str:
    return os.path.normpath(path)


def _queue_files(config: Config) -> set[str]:
    return set(map(_file, config.queue.files))


def _files(config: Config) -> Iterator[Contradiction]:
    """A key or a token in the place of the queue would be taken for a damaged queue."""
    given = {**config.token_files}
    for name, destination in config.destinations.items():
        path, signing, tls = f"destinations.{name}", destination.signing, destination.tls
        given |= {
            f"{path}.signing.key_file": signing.key_file,
            f"{path}.signing.passphrase_file": signing.passphrase_file,
            f"{path}.tls.ca_file": tls.ca_file,
            f"{path}.tls.cert_file": tls.cert_file,
            f"{path}.tls.key_file": tls.key_file,
        }
    for path, file in given.items():
        if file is not None and _file(str(file)) in _queue_files(config):
            yield Contradiction(
                ("queue.path", path),
                f"{file} is the file of {path}, too",
                "Give the queue a file of its own, such as /var/lib/forwarder/queue.db.",
            )


def _sizes(config: Config) -> Iterator[Contradiction]:
    event = config.ingest.max_event_bytes
    for path, limit, place in (
        ("ingest.max_request_bytes", config.ingest.max_request_bytes, "a request"),
        ("queue.max_bytes", config.queue.max_bytes, "the queue"),
    ):
        if event > limit:
            yield Contradiction(
                ("ingest.max_event_bytes", path),
                f"{format_size(event)} is more than {path} ({format_size(limit)})",
                f"An event must fit into {place}: lower the one or raise the other.",
            )


def _destination(path: str, destination: DestinationConfig, queue_bytes: int) -> Iterator[Contradiction]:
    retry, tls, share = destination.retry, destination.tls, destination.queue.max_bytes
    if retry.initial > retry.max:
        yield Contradiction(
            (f"{path}.retry.initial", f"{path}.retry.max"),
            f"{format_duration(retry.initial)} is more than retry.max ({format_duration(retry.max)})",
            "The first wait cannot be longer than the longest: lower the one or raise the other.",
        )
    for given, missing in (("cert_file", "key_file"), ("key_file", "cert_file")):
        if getattr(tls, given) is not None and getattr(tls, missing) is None:
            yield Contradiction(
                (f"{path}.tls.{given}", f"{path}.tls.{missing}"),
                f"is set, and tls.{missing} is not",
                f"Set tls.{missing}, too: a client certificate needs both.",
            )
    if share is not None and share > queue_bytes:
        yield Contradiction(
            (f"{path}.queue.max_bytes", "queue.max_bytes"),
            f"{format_size(share)} is more than queue.max_bytes ({format_size(queue_bytes)})",
            "A share must fit into the queue: lower the one or raise the other.",
        )
