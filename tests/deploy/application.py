"""What an application does in tests: it hands in numbered events, and a last one when it is told to stop.

Run as a program inside a container that has Python and nothing else.
"""

from __future__ import annotations

import json
import signal
import socket
import sys
import threading


def main(path: str = "/run/forwarder/stream.sock") -> None:
    """Send ten events, print the last answer, wait for SIGTERM, send a last event."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    send(path, range(10))
    stopping.wait()
    send(path, range(10, 11))


def send(path: str, numbers: range) -> None:
    """Send events over the stream socket, and wait for their acks."""
    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(60)
        stream.connect(path)
        for number in numbers:
            event = {"eventSourceId": "app", "eventType": "login", "data": {"n": number}}
            stream.sendall(json.dumps(event).encode() + b"\n")
        stream.shutdown(socket.SHUT_WR)
        sys.stdout.write(stream.makefile().read())
        sys.stdout.flush()


if __name__ == "__main__":
    main()
