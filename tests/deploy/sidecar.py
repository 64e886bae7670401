"""The forwarder of config/sidecar.yaml in a container, its volumes and its key on this machine."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

from forwarder.model import Address
from forwarder.receiver.server import Receiver
from forwarder.signing import Signer, generate_key
from tests.deploy.engine import PROJECT, UID, Container, Engine
from tests.integration.process import PATIENCE

LOCAL = Address(host="127.0.0.1", port=0)


class Sidecar:
    """What outlives a container: the configuration, the key, the volumes of the queue and of the sockets."""

    def __init__(self, engine: Engine, folder: Path, **environ: str) -> None:
        self.engine = engine
        self.etc = folder / "etc"
        self.secrets = folder / "secrets"
        self.etc.mkdir()
        self.secrets.mkdir()
        self.config_file = self.etc / "forwarder.yaml"
        shutil.copy(PROJECT / "config/sidecar.yaml", self.config_file)
        self.key_file = self.secrets / "forwarder-key.pem"
        self.signer = write_key(self.key_file)
        self.environ = {
            "FORWARDER_DESTINATIONS__MAIN__RETRY__INITIAL": "20ms",
            **environ,
        }
        name = f"{folder.name[-30:]}-{os.urandom(3).hex()}"
        self.queue, self.sockets, self.admin = f"{name}-queue", f"{name}-sockets", f"{name}-admin"

    def receiver(self, *more: Signer) -> Receiver:
        """Return a receiver that knows the key, and more keys."""
        return Receiver(LOCAL, public_keys=[signer.public("pem") for signer in (self.signer, *more)])

    def container(self, receiver: Receiver, **environ: str) -> Container:
        """Return a container with these volumes that delivers to the receiver."""
        found = {"FORWARDER_DESTINATIONS__MAIN__URL": receiver.url, **self.environ, **environ}
        return Container(
            self.engine,
            *(f"--env={name}={value}" for name, value in found.items()),
            f"--volume={self.queue}:/var/lib/forwarder",
            f"--volume={self.sockets}:/run/forwarder",
            f"--volume={self.admin}:/run/forwarder-admin",
            f"--volume={self.etc}:/etc/forwarder:ro",
            f"--volume={self.secrets}:/run/secrets:ro",
        )

    @property
    def socket_folder(self) -> Path:
        """Where the application's side of the sockets is on this machine."""
        return self.engine.volume(self.sockets)

    @property
    def admin_folder(self) -> Path:
        """Where the socket is at which the forwarder is told what to do."""
        return self.engine.volume(self.admin)


def write_key(file: Path) -> Signer:
    """Write a new key that the forwarder's user alone may read; return what signs with it."""
    file.touch(mode=0o400)
    file.write_bytes(generate_key(2048))
    os.chown(file, UID, UID)
    return Signer.load(file)


def feed(sock: Path, lines: bytes) -> list[bytes]:
    """Send lines over a stream socket; return the answers."""
    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(PATIENCE)
        stream.connect(str(sock))
        stream.sendall(lines)
        stream.shutdown(socket.SHUT_WR)
        return stream.makefile("rb").read().splitlines()
