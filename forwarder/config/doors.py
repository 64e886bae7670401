"""Whom an address lets in past what the unix sockets ask for, in words for the operator."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from forwarder.model import Address

_WHO = "every user of this machine, and every container that shares its network,"


class Rules(Protocol):
    """What a section says about who may come in."""

    @property
    def socket_mode(self) -> int: ...
    @property
    def allow_uids(self) -> tuple[int, ...]: ...
    @property
    def token_file(self) -> Path | None: ...


def open_doors(section: str, rules: Rules, listen: Mapping[str, tuple[Address, ...]]) -> Iterator[str]:
    """Yield a warning for everything at which `section` (ingest or admin) lets in whoever is there.

    `listen` has the addresses by the groups of the configuration in which they stand.
    """
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


def open_to_all(section: str, place: str) -> str:
    """Return who may do what at a place that everybody on the machine can reach, and that asks for no token."""
    if section == "admin":
        return (
            f"{place}: {_WHO} may look at the status here; to act, and to see events, takes a token: "
            "set admin.token_file, or listen at a unix socket alone"
        )
    return (
        f"{place}: {_WHO} may send events here, whatever socket_mode, socket_group and allow_uids say; "
        "set ingest.token_file, or listen at unix sockets alone"
    )
