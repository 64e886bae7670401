"""Other forwarders, for comparison in the same run: the same events, the same sink, each where it is found.

Neither syncs before it accepts, nor signs; the forwarder does both.

syslog-ng takes lines and posts them as JSON arrays of 1,000. Its reliable disk buffer keeps what a crash of the
process would lose; it has no acknowledgement on its socket. Fluent Bit takes lines or HTTP, keeps what waits in
files, and posts JSON arrays, a chunk each.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from forwarder.model import Address
from tests.benchmarks import load

STREAM, HTTP = "stream", "http"

_SYSLOG_NG = """\
@version: {version}
options {{ stats-freq(0); log-msg-size(65536); }};
source s {{
  network(
    ip("127.0.0.1") port({port}) transport("tcp")
    flags(no-parse) max-connections(10) log-iw-size(10000) log-fetch-limit(1000)
  );
}};
destination d {{
  http(
    url("http://127.0.0.1:{sink}/put") method("POST") headers("Content-Type: application/json")
    batch-lines(1000) batch-timeout(1000) body-prefix("[") delimiter(",") body-suffix("]") body("$MSG")
    disk-buffer(reliable(yes) disk-buf-size(1073741824) mem-buf-size(16777216) dir("{folder}"))
  );
}};
log {{ source(s); destination(d); flags(flow-control); }};
"""

_FLUENT_BIT = """\
[SERVICE]
    flush 0.2
    log_level error
    storage.path {folder}/storage
    storage.sync full
    storage.checksum off
    storage.max_chunks_up 128
[INPUT]
{input}
    listen 127.0.0.1
    port {port}
    storage.type filesystem
[OUTPUT]
    name http
    match *
    host 127.0.0.1
    port {sink}
    uri /put
    format json
    retry_limit no_limits
"""
# Sizes are in KiB for lines, as Fluent Bit has it.
_INPUTS = {
    STREAM: "    name tcp\n    format json\n    chunk_size 1024\n    buffer_size 4096",
    HTTP: "    name http\n    buffer_max_size 16M",
}


@dataclass(frozen=True)
class Peer(ABC):
    """A program to compare with, and its version."""

    program: str
    version: str

    name: ClassVar[str]
    ways: ClassVar[tuple[str, ...]]
    """The ways in that it has."""

    @property
    def title(self) -> str:
        return f"{self.name} {self.version}"

    @abstractmethod
    def configuration(self, folder: Path, way: str, port: int, sink: int) -> str:
        """Return a configuration: one way in at a port, one destination at another, files in a folder."""

    def words(self, folder: Path, file: Path) -> list[str]:
        """Return the command that runs it in the foreground."""
        return [self.program, "-c", str(file)]

    @contextlib.contextmanager
    def running(self, folder: Path, way: str, sink: int) -> Iterator[tuple[int, Address]]:
        """Run it in a folder of its own; yields its process id and where it takes events."""
        where = Address(host="127.0.0.1", port=load.free_port())
        file, log = folder / "peer.conf", folder / "log"
        file.write_text(self.configuration(folder, way, where.port or 0, sink), encoding="utf-8")
        with log.open("wb") as out, subprocess.Popen(self.words(folder, file), stdout=out, stderr=out) as process:
            try:
                load.wait_until_open(where, process)
                yield process.pid, where
            except load.EndedError as error:
                said = log.read_text(encoding="utf-8", errors="replace")[-2000:]
                raise RuntimeError(f"{self.title} ended with {process.returncode}: {said}") from error
            finally:
                process.terminate()


@dataclass(frozen=True)
class SyslogNg(Peer):
    """syslog-ng, and the version of the configuration that it wants to be named."""

    syntax: str

    name, ways = "syslog-ng", (STREAM,)

    def configuration(self, folder: Path, way: str, port: int, sink: int) -> str:
        return _SYSLOG_NG.format(version=self.syntax, folder=folder, port=port, sink=sink)

    def words(self, folder: Path, file: Path) -> list[str]:
        files = ["-R", str(folder / "persist"), "-p", str(folder / "pid"), "-c", str(folder / "control")]
        return [self.program, "-F", "-f", str(file), *files]


class FluentBit(Peer):
    name, ways = "Fluent Bit", (STREAM, HTTP)

    def configuration(self, folder: Path, way: str, port: int, sink: int) -> str:
        return _FLUENT_BIT.format(folder=folder, input=_INPUTS[way], port=port, sink=sink)


def found(fluent_bit: Path | None) -> list[Peer]:
    """Return the peers of this machine; Fluent Bit is the one that is given, or the one in PATH."""
    peers: list[Peer] = []
    if (program := shutil.which("syslog-ng")) and (versions := syslog_ng_versions(_said(program, "-V"))):
        peers.append(SyslogNg(program, *versions))
    if program := str(fluent_bit) if fluent_bit else shutil.which("fluent-bit"):
        peers.append(FluentBit(program, fluent_bit_version(_said(program, "--version"))))
    return peers


def able(peers: Iterable[Peer], ways: Collection[str]) -> list[Peer]:
    """Return those that have one of the ways in."""
    return [peer for peer in peers if set(peer.ways) & set(ways)]


def syslog_ng_versions(said: str) -> tuple[str, str] | None:
    """Return its version and that of its configuration; None where it has no HTTP destination."""
    fields = dict(line.split(": ", 1) for line in said.splitlines() if ": " in line)
    if "http" not in fields.get("Available-Modules", "").split(","):
        return None
    return fields["Installer-Version"], fields["Config version"]


def fluent_bit_version(said: str) -> str:
    """Return the version that it names; the table says which one was measured."""
    version = re.match(r"Fluent Bit v(\S+)", said)
    if version is None:
        raise ValueError(f"this is no Fluent Bit: {said[:200]!r}")
    return version[1]


def _said(program: str, option: str) -> str:
    """Return what a program says of itself; where it cannot even start, that is what it says."""
    found = subprocess.run([program, option], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return found.stdout
