"""The addresses of a host, found in a place of its own."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable

import pytest

from forwarder.destination.http_put import resolver
from forwarder.destination.http_put.resolver import Address, Resolver, look_up
from tests.delivery.conftest import PATIENCE

ONE = [Address(socket.AF_INET, ("192.0.2.1", 1))]
TWO = [Address(socket.AF_INET, ("192.0.2.2", 1))]
AWAY = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
UNKNOWN = socket.gaierror(socket.EAI_NONAME, "Name or service not known")


class Names:
    """A name server that answers by a script; what it says last it goes on saying."""

    def __init__(self, *answers: list[Address] | Exception) -> None:
        self._answers = list(answers)
        self.asked = 0

    def __call__(self, host: str, port: int) -> list[Address]:
        self.asked += 1
        answer = self._answers[0] if len(self._answers) == 1 else self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Silent:
    """A name server that answers once it is let to."""

    def __init__(self, then: Callable[[str, int], list[Address]]) -> None:
        self.may_answer = threading.Event()
        self.asked = 0
        self._then = then

    def __call__(self, host: str, port: int) -> list[Address]:
        self.asked += 1
        assert self.may_answer.wait(PATIENCE)
        return self._then(host, port)


async def test_an_answer_is_used_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that are made together ask once; a later one goes to the address that the name has then."""
    names = Names(ONE, TWO)
    found = Resolver("api.example", 1, names)
    assert await found.addresses() == ONE
    assert await found.addresses() == ONE
    assert names.asked == 1
    monkeypatch.setattr(resolver, "_FRESH_SECONDS", 0.0)
    assert await found.addresses() == TWO


async def test_what_is_forgotten_is_asked_anew() -> None:
    """After `forget` the name is resolved again."""
    found = Resolver("api.example", 1, Names(ONE, TWO))
    assert await found.addresses() == ONE
    found.forget()
    assert await found.addresses() == TWO


async def test_many_wait_for_one_answer() -> None:
    """However many want to know, one thread asks; whoever stops waiting takes nothing from the others."""
    names = Silent(Names(ONE))
    found = Resolver("api.example", 1, names)
    waiting = [asyncio.create_task(found.addresses()) for _ in range(50)]
    await asyncio.sleep(0.01)
    waiting[0].cancel()
    names.may_answer.set()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert answers[1:] == [ONE] * 49
    assert names.asked == 1


async def test_a_silent_name_server_holds_up_nobody_else() -> None:
    """While twenty names are being waited for, another is resolved at once, and so is one by the event loop."""
    names = Silent(Names(ONE))
    waiting = [asyncio.create_task(Resolver(f"{number}.example", 1, names).addresses()) for number in range(20)]
    await asyncio.sleep(0.01)
    async with asyncio.timeout(PATIENCE / 2):
        assert await Resolver("api.example", 1, Names(TWO)).addresses() == TWO
        assert await asyncio.get_running_loop().getaddrinfo("localhost", 1)
    assert not any(task.done() for task in waiting)
    names.may_answer.set()
    assert await asyncio.gather(*waiting) == [ONE] * 20


async def test_without_a_name_server_the_last_addresses_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that is away, or silent, does not cost a destination that was known."""
    monkeypatch.setattr(resolver, "_PATIENCE", 0.01)
    silent = Silent(Names(TWO))

    def look(host: str, port: int, answers: Names = Names(ONE, AWAY, AWAY, [])) -> list[Address]:  # noqa: B008
        return answers(host, port) or silent(host, port)

    found = Resolver("api.example", 1, look)
    for _ in range(4):
        assert await found.addresses() == ONE
        found.forget()
    silent.may_answer.set()
    monkeypatch.setattr(resolver, "_PATIENCE", PATIENCE)
    assert await found.addresses() == TWO


async def test_a_name_that_is_gone_is_gone() -> None:
    """What the name server says of the name counts: an address that was known is not used against its word."""
    found = Resolver("api.example", 1, Names(ONE, UNKNOWN))
    assert await found.addresses() == ONE
    found.forget()
    with pytest.raises(socket.gaierror, match="not known"):
        await found.addresses()


async def test_a_name_that_was_never_known() -> None:
    """Without an address that was known the failure is told, and asked again the next time."""
    found = Resolver("api.example", 1, Names(AWAY, ONE))
    with pytest.raises(socket.gaierror, match="Temporary"):
        await found.addresses()
    assert await found.addresses() == ONE


def test_it_keeps_nobody_from_ending() -> None:
    """A process ends while a name server is silent; what it says later reaches a closed loop, and is no error."""
    names = Silent(Names(ONE))

    async def ask() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await Resolver("silent.example", 1, names).addresses()

    asyncio.run(ask())
    [thread] = [thread for thread in threading.enumerate() if thread.name == "resolve-silent.example"]
    assert thread.daemon
    names.may_answer.set()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_the_system_is_asked() -> None:
    """Names of this machine are found, for streams only."""
    assert Address(socket.AF_INET, ("127.0.0.1", 7)) in look_up("localhost", 7)
    assert look_up("::1", 7) == [Address(socket.AF_INET6, ("::1", 7, 0, 0))]
