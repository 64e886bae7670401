"""What is allowed and yet probably not meant: addresses that let everybody in, plain http. One sentence each."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from forwarder.config.schema import AdminConfig, Config, DestinationConfig, IngestConfig, TlsConfig
from forwarder.model import Address

_WHO = "every user of this machine, and every container that shares its network,"


def warnings(config: Config) -> list[str]:
    """Return what the operator should look at again."""
    ingest = {"ingest.http": config.ingest.http.listen, "ingest.stream": config.ingest.stream.listen}
    return [
        *_open_doors("ingest", config.ingest, ingest),
        *_open_doors("admin", config.admin, {"admin": config.admin.listen}),
        *(words for name, destination in config.destinations.items() for words in _plain_http(name, destination)),
    ]


def open_to_all(section: str, place: str) -> str:
    """Return a warning for a place of `section` (ingest or admin) that everybody reaches without a token."""
    if section == "admin":
        return (
            f"{place}: {_WHO} may look at the status here; to act, and to see events, takes a token: "
            "set admin.token_file, or listen at a unix socket alone"
        )
    return (
        f"{place}: {_WHO} may send events here, whatever socket_mode, socket_group and allow_uids say; "
        "set ingest.token_file, or listen at unix sockets alone"
    )


def _open_doors(
    section: str, rules: IngestConfig | AdminConfig, listen: Mapping[str, tuple[Address, ...]]
) -> Iterator[str]:
    """Yield a warning for every place where a section lets anybody in; `listen` has its addresses by their groups."""
    if rules.token_file is not None:
        return
    for path, addresses in listen.items():
        for index, address in enumerate(addresses):
            if not address.is_unix:
                yield open_to_all(section, f"{path}.listen[{index}], {address}")
    has_files = any(address.is_unix for addresses in listen.values() for address in addresses)
    if has_files and rules.socket_mode & stat.S_IWOTH and not rules.allow_uids:
        yield (
            f"{section}.socket_mode: every user who can enter the folder of the socket may "
            f"{'send events' if section == 'ingest' else 'purge the queue'}; "
            f'write "0660" and set {section}.socket_group, or list user ids in {section}.allow_uids'
        )


def _plain_http(name: str, destination: DestinationConfig) -> Iterator[str]:
    url = urlsplit(destination.url)
    if url.scheme != "http":
        return
    if not Address(host=url.hostname).is_loopback:
        yield (
            f"destinations.{name}.url: events travel to {url.hostname} unencrypted, over plain http; "
            "use https unless the network between is yours"
        )
    if destination.tls != TlsConfig():
        yield f"destinations.{name}.tls has no effect: the url is plain http"
