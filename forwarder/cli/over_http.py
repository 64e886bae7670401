"""Send events over the HTTP intake, so that bad events do not hold back the good ones around them.

A request is accepted or refused as a whole. If the refusal names events, these are left out and the rest
is sent again; if it names none, the request is halved until the bad event is alone. Nothing of a refused
request was stored, so sending the rest again makes no duplicates.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

from forwarder.cli.client import Problem, read_problem
from forwarder.cli.connection import HttpConnection, request_headers, unreachable
from forwarder.cli.reader import Reader
from forwarder.cli.report import Report
from forwarder.cli.splitter import Chunk, Splitter
from forwarder.cli.text import printable
from forwarder.errors import ForwarderError, NegativeAnswerError
from forwarder.model import Address, whole_lines

_MAX_EVENTS = 1000
_MAX_BYTES = 4 * 1024 * 1024
# Seconds to wait for an answer, which comes after a write to the disk and may be slow on a machine under load.
_PATIENCE = 60.0
# Seconds after which an idle connection is replaced by a new one, before the server closes it.
_MAX_IDLE = 5.0
# The longest wait, in seconds, that is accepted from a Retry-After header, which may say anything.
_MAX_RETRY_AFTER = 60.0


class Line(NamedTuple):
    """An event: its number in the input, and its text with the newline."""

    number: int
    text: bytes


Lot: TypeAlias = list[Line]
"""The events of one request, in order."""


class HttpSender:
    """One connection to an HTTP intake."""

    def __init__(self, address: Address, token: str | None, splitter: Splitter, report: Report) -> None:
        self._address = address
        self._splitter = splitter
        self._report = report
        self._connection = HttpConnection(address, timeout=_PATIENCE)
        self._used = time.monotonic()
        self._headers = {**request_headers(token), "Content-Type": "application/x-ndjson"}

    def send(self, chunks: Reader) -> None:
        """Send all of the input; return when every event is stored or refused.

        Raises NotReachableError or NegativeAnswerError.
        """
        try:
            while (chunk := chunks.next_chunk()) is not None:
                for lot in lots(chunk):
                    self._settle(lot)
                self._splitter.forget(chunk.first + chunk.events)
        finally:
            self._connection.close()

    def _settle(self, lot: Lot) -> None:
        """Send a lot until each of its events is stored or refused."""
        last = lot[-1].number
        left = [lot]
        while left:
            lot = left.pop()
            self._report.settle(lot[0].number - 1)
            left.extend(filter(None, self._try(lot)))
        self._report.settle(last)

    def _try(self, lot: Lot) -> list[Lot]:
        """Send a lot; return the parts of it that have to be sent again, the later part first."""
        status, problem = self._post(lot)
        if status == 202:
            self._report.store(len(lot))
            return []
        if status not in {400, 413, 422}:
            raise NegativeAnswerError(
                f"{self._address} answered {status}: {printable(problem.detail) or 'without a word'}",
                status=status,
                hint="give the token: --token-file FILE" if status == 401 else printable(problem.hint),
            )
        named = {error.index: error for error in problem.errors if 0 <= error.index < len(lot)}
        if named:
            for index, error in sorted(named.items()):
                words = f"{error.field}: {error.message}" if error.field else error.message
                self._report.refuse(self._splitter.place(lot[index].number), status, words)
            return [[line for index, line in enumerate(lot) if index not in named]]
        if len(lot) == 1:
            self._report.refuse(self._splitter.place(lot[0].number), status, problem.detail)
            return []
        middle = len(lot) // 2
        return [lot[middle:], lot[:middle]]

    def _post(self, lot: Lot) -> tuple[int, Problem]:
        """Send one request, repeating it while the daemon asks us to wait; return the status and the problem."""
        body = b"".join(line.text for line in lot)
        while True:
            status, retry_after, answer = self._request(body)
            problem = read_problem(answer)
            if status not in {429, 503}:
                self._report.wait("")
                return status, problem
            self._report.wait(f"{problem.detail or status}; trying again every {retry_after:g}s")
            time.sleep(retry_after)

    def _request(self, body: bytes) -> tuple[int, float, bytes]:
        if time.monotonic() - self._used > _MAX_IDLE:
            self._connection.close()
        try:
            self._connection.request("POST", "/v1/events", body, self._headers)
            answer = self._connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._broken(error) from None
        self._used = time.monotonic()
        return answer.status, seconds_of(answer.getheader("Retry-After")), content

    def _broken(self, error: OSError | http.client.HTTPException) -> ForwarderError:
        """Return an error that says that nothing answers or, if events were already stored, where it broke off."""
        if self._report.settled == 0:
            return unreachable(self._address, error)
        return self._report.lost(self._address, self._splitter.place)


def lots(chunk: Chunk) -> Iterator[Lot]:
    """Yield the events of a chunk in lots that fit into a request; an event over the limit is a lot of its own."""
    lot: Lot = []
    held = 0
    for number, text in enumerate(whole_lines(chunk.data), chunk.first):
        if lot and (len(lot) == _MAX_EVENTS or held + len(text) > _MAX_BYTES):
            yield lot
            lot, held = [], 0
        lot.append(Line(number, text))
        held += len(text)
    yield lot


def seconds_of(retry_after: str | None) -> float:
    """Return the seconds of a Retry-After (RFC 9110 §10.2.3), or one second if there are none."""
    if retry_after is None or not retry_after.isascii() or not retry_after.isdigit():
        return 1.0
    return min(max(1.0, float(retry_after[:9])), _MAX_RETRY_AFTER)
