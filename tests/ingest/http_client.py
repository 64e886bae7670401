"""Requests that tests write by hand, and the answers to them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.ingest.serving import Serving, connect, event

Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def body(number: int) -> bytes:
    return json.dumps(event(number), separators=(",", ":")).encode()


async def answer(client: Client) -> tuple[int, dict[str, str], Any]:
    """Read one answer: status, headers, and content."""
    lines = (await client[0].readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (found.partition(": ") for found in lines[1:-2])}
    return int(lines[0].split()[1]), headers, json.loads(await client[0].readexactly(int(headers["content-length"])))


async def ask(client: Client, request: bytes) -> tuple[int, dict[str, str], Any]:
    client[1].write(request)
    return await answer(client)


PATH = "/v1/events"


def raw(body: bytes, *headers: str, path: str = PATH, kind: str = "application/json") -> bytes:
    """Write a request by hand."""
    head = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Type: {kind}", *headers]
    if not any(header.startswith(("Content-Length", "Transfer-Encoding")) for header in headers):
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*head, "", ""]).encode() + body


def statuses(answer: bytes) -> list[int]:
    """Return the statuses of the answers on one connection."""
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]


@asynccontextmanager
async def clients(server: Serving, count: int) -> AsyncIterator[list[Client]]:
    """Connect so many times, and hang up."""
    found = [await connect(server.address["http"]) for _ in range(count)]
    yield found
    for _reader, writer in found:
        writer.close()
