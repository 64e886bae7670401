"""Inside the machine: start the forwarder, say what its queue holds, send events, report each accept at once.

The orders come as a line over the serial port, the reports leave there as lines of JSON:

    {"began": true}                      the daemon is being started
    {"status": {…}}                      the answer of GET /v1/status: after the start, and once a second
    {"queued": [RUN, …], "altered": N}   what the queue holds after the start, then the same for the dead letters
    {"dead": [RUN, …], "altered": N}
    {"sending": true}                    the producers begin; with "drain", the queue is empty, and was looked into
    {"accepted": RUN}                    an accept was read
    {"trouble": "…"}                     the daemon logged something about its storage
    {"failed": "…"}                      something that must not happen

Plain threads and blocking sockets: an accept that was read is on the port before the next one is read.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tests.campaigns.power.events import Run, event, runs

PORT = Path("/dev/vport0p1")
# More lines than this are not sent ahead of their acks, so that neither side ever waits for the other.
_WINDOW = 200
_CHUNK = 500
# Producers are now busy, now idle, so that commits are of all sizes.
_PAUSES = (0, 0, 0.01, 0.05, 0.2)


class Port:
    """The line to the host."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR)
        self._lock = threading.Lock()

    def orders(self) -> dict[str, Any]:
        """Return what the host wants done."""
        line = b""
        while not line.endswith(b"\n"):
            line += os.read(self._descriptor, 65536)
            if not line:
                # The host has not opened its side yet.
                time.sleep(0.01)
        found: dict[str, Any] = json.loads(line)
        return found

    def say(self, **report: Any) -> None:
        line = json.dumps(report).encode() + b"\n"
        with self._lock:
            while line:
                line = line[os.write(self._descriptor, line) :]


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


class Guest:
    """One boot: the daemon and those who use it."""

    def __init__(self, port: Port, folder: Path) -> None:
        self._port = port
        self._folder = folder
        self._orders = port.orders()

    def run(self) -> None:
        """Do what the orders say; returns when the daemon has ended, which it must not."""
        self._write("key.pem", self._orders["key"])
        self._write("forwarder.yaml", json.dumps(self._orders["config"]))
        self._port.say(began=True)
        words = [sys.executable, "-m", *self._orders["module"], "run", "-c", str(self._folder / "forwarder.yaml")]
        daemon = subprocess.Popen(words, stderr=subprocess.PIPE)
        self._thread(lambda: self._listen(daemon))
        self._await_daemon()
        self._look()
        if self._orders["drain"]:
            self._await_empty()
            self._look()
        self._port.say(sending=True)
        for kind, name, burst in self._orders["producers"]:
            self._thread(partial(self._stream if kind == "stream" else self._post, name, burst))
        while daemon.poll() is None:
            self._port.say(status=self._ask("/v1/status"))
            time.sleep(1)
        self._port.say(failed=f"the daemon ended with {daemon.returncode}")

    def _write(self, name: str, text: str) -> None:
        path = self._folder / name
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")

    def _thread(self, work: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                work()
            except Exception as error:
                self._port.say(failed=f"{threading.current_thread().name}: {error!r}")
                raise

        threading.Thread(target=guarded, daemon=True).start()

    # --- looking on ----------------------------------------------------------------------------

    def _listen(self, daemon: subprocess.Popen[bytes]) -> None:
        """Pass on what the daemon logs about its queue, and what is no log line, as a traceback."""
        assert daemon.stderr is not None
        for line in daemon.stderr:
            if b'"queue.' in line or not line.startswith(b"{"):
                self._port.say(trouble=line.decode(errors="replace").strip())
                sys.stderr.write(line.decode(errors="replace"))

    def _await_daemon(self) -> None:
        while True:
            try:
                self._port.say(status=self._ask("/v1/status"))
            except OSError:
                time.sleep(0.1)
            else:
                return

    def _await_empty(self) -> None:
        while True:
            status = self._ask("/v1/status")
            self._port.say(status=status)
            if status["destinations"]["main"]["queued"] == 0:
                return
            time.sleep(0.2)

    def _look(self) -> None:
        """Report what waits and what is dead, in this order: an event may become dead in between."""
        queued, altered = runs(self._lines("/v1/destinations/main/queue"))
        self._report("queued", queued, altered)
        dead, altered = runs(_event_of(line) for line in self._lines("/v1/dead"))
        self._report("dead", dead, altered)

    def _report(self, name: str, found: list[Run], altered: int) -> None:
        for first in range(0, len(found), _CHUNK):
            self._port.say(**{name: found[first : first + _CHUNK]}, altered=0)
        self._port.say(**{name: []}, altered=altered)

    def _ask(self, path: str) -> Any:
        return json.loads(b"".join(self._lines(path)))

    def _lines(self, path: str) -> Iterator[bytes]:
        connection = UnixConnection(self._folder / "admin.sock")
        try:
            connection.request("GET", path)
            for line in connection.getresponse():
                yield line.rstrip(b"\n")
        finally:
            connection.close()

    # --- sending -------------------------------------------------------------------------------

    def _stream(self, name: str, burst: int) -> None:
        """Send events over the stream, up to `burst` lines at once, for as long as there is power."""
        chance = random.Random(name)
        sent = acked = 0
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(str(self._folder / "stream.sock"))
            answers = peer.makefile("rb")
            while True:
                ahead = chance.randint(1, _WINDOW)
                while sent - acked < ahead:
                    count = chance.randint(1, burst)
                    peer.sendall(b"".join(event(name, number) + b"\n" for number in range(sent, sent + count)))
                    sent += count
                answer = json.loads(answers.readline())
                if "refused" in answer:
                    raise ValueError(answer)
                self._port.say(accepted=(name, acked, answer["ack"] - acked))
                acked = answer["ack"]
                time.sleep(chance.choice(_PAUSES))

    def _post(self, name: str, size: int) -> None:
        """Post arrays of `size` events, one after the other; one that is not taken is sent again."""
        chance = random.Random(name)
        connection = UnixConnection(self._folder / "http.sock")
        first = 0
        while True:
            body = b"[" + b",".join(event(name, number) for number in range(first, first + size)) + b"]"
            connection.request("POST", "/v1/events", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status == 202:
                self._port.say(accepted=(name, first, size))
                first += size
                time.sleep(chance.choice(_PAUSES))
            elif answer.status == 503:
                # The queue is full; the daemon says when to come again, a tenth of that will do.
                time.sleep(float(answer.headers["Retry-After"]) / 10)
            else:
                raise ValueError(f"{answer.status}: {text!r}")


def _event_of(line: bytes) -> bytes:
    """Return the event of a dead letter as it is written there: nothing else in the line has its member's name."""
    return line[line.index(b'"event":') + len(b'"event":') : -1]


if __name__ == "__main__":
    Guest(Port(PORT), Path("/tmp")).run()
