"""A destination that costs next to nothing, in a thread: it looks into what it gets, and counts."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Destination(ThreadingHTTPServer):
    """Takes arrays of events at /put, and rejects everything elsewhere."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.taken = 0
        """How many events were taken; written by one thread at a time, as the daemon has one batch in flight."""

    @property
    def url(self) -> str:
        """Its URL, without a path."""
        return f"http://127.0.0.1:{self.server_port}"

    def take(self, body: bytes) -> int:
        """Take a JWS whose payload is an array of events; return the status to answer with."""
        payload = body.split(b".")[1]
        # Python refuses to make a number of very many digits, which JSON may have.
        events = json.loads(base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)), parse_int=str)
        assert all(isinstance(event, dict) and event["eventId"] for event in events)
        self.taken += len(events)
        return 200


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Destination

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            status = self.server.take(body) if self.path == "/put" else 400
        except (AssertionError, LookupError, ValueError):
            # Told by the dead letter that comes of it.
            status = 422
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def destination() -> Iterator[Destination]:
    """Serve a destination."""
    with Destination() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
