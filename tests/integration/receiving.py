"""A forwarder as a process of its own, and the receiver that trusts its key."""

from __future__ import annotations

from pathlib import Path

from forwarder.model import Address
from forwarder.receiver import Receiver
from tests.integration.process import Forwarder

LOCAL = Address(host="127.0.0.1", port=0)


def receiver_for(folder: Path, **more: object) -> tuple[Forwarder, Receiver]:
    """Return a forwarder and the receiver that trusts its key; the URL is set once it listens."""
    forwarder = Forwarder(folder, "http://127.0.0.1:1/put")
    return forwarder, Receiver(LOCAL, public_keys=[forwarder.signer.public("pem")], **more)  # type: ignore[arg-type]


def point(forwarder: Forwarder, receiver: Receiver) -> Forwarder:
    forwarder.config["destinations"]["main"]["url"] = receiver.url
    return forwarder
