"""What must hold of a chain of lives, judged from the outside: journals, requests, accounts.

Pure. Each check is a generator of problems, by the name of the promise that is broken. They need a
queue that was drained in the end: only then is an event that is nowhere lost.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.campaigns.killing.events import HTTP_ARRAY, HTTP_SINGLE, ROUTES, Events, Key
from tests.campaigns.killing.journal import Claims
from tests.campaigns.killing.receiver import Request

Problem = tuple[str, str]
"""The promise that is broken, and the details."""


# Failures in a row of the same batch, until it is tried in parts.
_FAILURES = 3


@dataclass(slots=True)
class Tally:
    """What became of the events of one life; an event counts once for each destination."""

    accepted: int = 0
    delivered: int = 0
    dead: int = 0
    lost: int = 0
    unknown: int = 0
    """Delivered or dead, although their producer was never told that they are accepted."""
    again: int = 0
    """Delivered again, because the forwarder was killed before it had settled them."""
    again_lost_answer: int = 0
    """Delivered again, because the answer was lost."""

    def __iadd__(self, other: Tally) -> Tally:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self


@dataclass(slots=True)
class Evidence:
    """Everything that is known of a chain. Lives are numbered from 1 on."""

    events: Events
    claims: Mapping[str, Claims]
    requests: list[Request]
    dead: Mapping[str, list[Key]]
    killed: set[int]
    """The lives that ended by a kill."""
    timeouts: Mapping[tuple[str, int], int]
    """How many answers a destination was too late with in a life, as the forwarder says."""
    accounts: Mapping[str, Mapping[str, Any]]
    """Each destination's account in the end."""
    max_events: int
    stored: dict[str, dict[Key, Request]] = field(init=False)
    """For each destination, each event that has arrived, with the request that brought it first."""
    buried: dict[str, set[Key]] = field(init=False)

    def __post_init__(self) -> None:
        self.stored = {route.name: {} for route in ROUTES}
        self.buried = {name: set(keys) for name, keys in self.dead.items()}
        for request in self.requests:
            if request.is_stored:
                for key in request.events:
                    self.stored[request.route].setdefault(key, request)

    def has(self, key: Key, route: str) -> bool:
        """Whether an event is delivered, or dead, at a destination."""
        return key in self.stored[route] or key in self.buried[route]

    def on_route(self, route: str) -> list[Request]:
        return [request for request in self.requests if request.route == route]


def judge(evidence: Evidence) -> list[Problem]:
    """Return every problem of a chain."""
    checks = (_lost, _made_up, _dead, _answers, _whole, _order, _same_bytes, _repeats, _accounts)
    return [problem for check in checks for problem in check(evidence)]


def check_account(name: str, account: Mapping[str, Any], acked: int, sent: int) -> Iterator[Problem]:
    """Yield what is wrong with an account while the forwarder runs; `acked` and `sent` events are known to go there."""
    parts = account["queued"] + account["delivered"] + account["dead"] + account["dropped"]
    if account["accepted"] != parts:
        yield "accounts add up", f"{name}: {dict(account)}"
    if account["accepted"] < acked:
        yield "accepted is durable", f"{name}: {acked} were accepted, and the account has {account['accepted']}"
    if account["accepted"] > sent:
        yield "nothing is made up", f"{name}: {sent} were sent, and the account has {account['accepted']}"
    if account["dropped"]:
        yield "nothing is dropped", f"{name}: {account['dropped']} events"


def tallies(evidence: Evidence) -> dict[int, Tally]:
    """Return for each life what became of the events that were sent in it."""
    found: defaultdict[int, Tally] = defaultdict(Tally)
    for source, claims in evidence.claims.items():
        for number, life in claims.sent.items():
            for route in evidence.events.routes(source, number):
                _count(found[life], evidence, (source, number), route, is_accepted=number in claims.accepted)
    for repeat in _repeated(evidence):
        tally = found[repeat.old.life]
        if repeat.old.is_lost or repeat.old.life == repeat.life:
            tally.again_lost_answer += len(repeat.events)
        else:
            tally.again += len(repeat.events)
    return found


def _count(tally: Tally, evidence: Evidence, key: Key, route: str, *, is_accepted: bool) -> None:
    is_delivered, is_dead = key in evidence.stored[route], key in evidence.buried[route]
    if not is_accepted:
        tally.unknown += is_delivered or is_dead
        return
    tally.accepted += 1
    tally.delivered += is_delivered
    tally.dead += is_dead
    tally.lost += not is_delivered and not is_dead


# --- events ------------------------------------------------------------------------------------


def _lost(evidence: Evidence) -> Iterator[Problem]:
    """Every event that was accepted is delivered or dead, at each destination that it goes to."""
    for source, claims in evidence.claims.items():
        for number, life in claims.accepted.items():
            for route in evidence.events.routes(source, number):
                if evidence.events.is_valid(source, number) and not evidence.has((source, number), route):
                    yield "accepted is durable", f"{route}: {source} {number}, accepted in life {life}, is lost"


def _made_up(evidence: Evidence) -> Iterator[Problem]:
    """What arrived was sent, was not refused, belongs there, and is no poison."""
    for route, stored in evidence.stored.items():
        for key in [*stored, *evidence.buried[route]]:
            source, number = key
            claims = evidence.claims.get(source, Claims())
            if number not in claims.sent:
                yield "nothing is made up", f"{route}: {source} {number} was never sent"
            elif number in claims.refused:
                yield "refused is not stored", f"{route}: {source} {number}, refused with {claims.refused[number]}"
            elif route not in evidence.events.routes(source, number):
                yield "events go where they match", f"{route}: {source} {number}"


def _dead(evidence: Evidence) -> Iterator[Problem]:
    """What is dead is what the destination rejects, once; what it rejects is not delivered."""
    for route, keys in evidence.dead.items():
        for key, count in Counter(keys).items():
            if not evidence.events.is_poison(*key, route):
                yield "no neighbour is harmed", f"{route}: {key} is dead, and there is nothing wrong with it"
            if count > 1:
                yield "an event ends in one place", f"{route}: {key} is dead {count} times"
            if key in evidence.stored[route]:
                yield "an event ends in one place", f"{route}: {key} is dead, and delivered as well"


def _answers(evidence: Evidence) -> Iterator[Problem]:
    """Good events are accepted, or refused for a while (503); bad ones are refused with 422."""
    for source, claims in evidence.claims.items():
        if source in {HTTP_SINGLE, HTTP_ARRAY}:
            units = [range(first, last + 1) for _, first, last in claims.writes]
        else:
            units = [range(number, number + 1) for number in claims.sent]
        for unit in units:
            is_good = all(evidence.events.is_valid(source, number) for number in unit)
            status = claims.refused.get(unit[0], 503)
            if status != 503 and (status != 422 or is_good):
                yield "answers are right", f"{source} {unit[0]} to {unit[-1]}: refused with {status}"
            if unit[0] in claims.accepted and not is_good:
                yield "answers are right", f"{source} {unit[0]} to {unit[-1]}: accepted though not valid"


def _whole(evidence: Evidence) -> Iterator[Problem]:
    """What was not answered is there as a whole or not at all (HTTP), or from the start on (stream)."""
    for source, claims in evidence.claims.items():
        runs: defaultdict[int, list[int]] = defaultdict(list)
        for index, (life, first, last) in enumerate(claims.writes):
            unknown = [n for n in range(first, last + 1) if n not in claims.accepted and n not in claims.refused]
            runs[index if source in {HTTP_SINGLE, HTTP_ARRAY} else -life] += unknown
        for name, numbers in runs.items():
            found = [
                evidence.has((source, n), route)
                for n in numbers
                if evidence.events.is_valid(source, n)
                for route in evidence.events.routes(source, n)
            ]
            if name < 0 and found != sorted(found, reverse=True):
                yield "a stream has no gaps", f"{source} {numbers[0]} to {numbers[-1]}"
            if name >= 0 and len(set(found)) > 1 and all(evidence.events.is_valid(source, n) for n in numbers):
                yield "a request is taken as a whole", f"{source} {numbers[0]} to {numbers[-1]}"


# --- batches -----------------------------------------------------------------------------------


def _order(evidence: Evidence) -> Iterator[Problem]:
    """A source's events are in order within a batch and, with one batch in flight, over all of them.

    Only an event that was refused or failed alone, or was tried ahead of its turn, loses its place: each of these
    comes alone. A kill forgets that one was set aside: in a later life it comes in a batch, with the oldest that wait.
    """
    for route in ROUTES:
        arrived: dict[str, int] = {}
        alone: dict[Key, int] = {}
        for request in evidence.on_route(route.name):
            if len(request.events) > evidence.max_events:
                yield "batches keep to the limit", f"{route.name}: {len(request.events)} events"
            within: dict[str, int] = {}
            if len(request.events) == 1 and not request.is_stored:
                alone.setdefault(request.events[0], request.life)
            for source, number in request.events:
                if number <= within.get(source, 0):
                    yield "order", f"{route.name}: {source} {number} after {within[source]} in one batch"
                within[source] = number
                if not request.is_stored or evidence.stored[route.name][source, number] is not request:
                    continue
                if len(request.events) == 1 or alone.get((source, number), request.life) < request.life:
                    continue
                if route.in_flight == 1 and number < arrived.get(source, 0):
                    yield "order", f"{route.name}: {source} {number} after {arrived[source]}, life {request.life}"
                arrived[source] = number


def _same_bytes(evidence: Evidence) -> Iterator[Problem]:
    """Within a life, what was neither taken nor refused is repeated as the same bytes, until it is tried in parts."""
    for route in ROUTES:
        before: dict[tuple[int, Key], Request] = {}
        failures: Counter[int | tuple[int, bytes]] = Counter()
        in_parts: set[int] = set()
        for request in (found for found in evidence.on_route(route.name) if not found.is_stale):
            # What is refused, or fails three times in a row, is tried in parts, with what comes behind it. With several
            # in flight, others may be taken between the failures of one.
            failures[request.life] = 0 if request.is_stored else failures[request.life] + 1
            batch = request.life, request.digest
            failures[batch] += request.is_lost or not request.is_stored
            if request.status in {400, 413} or max(failures[request.life], failures[batch]) >= _FAILURES:
                in_parts.add(request.life)
            if request.life in in_parts:
                continue
            changed = {
                old.digest: old
                for key in request.events
                if (old := before.get((request.life, key))) is not None
                and old.digest != request.digest
                and (old.is_lost or old.status is None or old.status == 429 or old.status >= 500)
            }
            for old in changed.values():
                was = f"{len(old.events)} events from {old.events[0]} on, answered {old.status}"
                now = f"{len(request.events)} from {request.events[0]} on"
                yield "a retry repeats itself", f"{route.name}, life {request.life}: {was}; then {now}"
            before.update(dict.fromkeys(((request.life, key) for key in request.events), request))


def _repeats(evidence: Evidence) -> Iterator[Problem]:
    """Only what was not settled at a kill, or whose answer was lost, comes again.

    The forwarder is believed when it says that an answer came too late, but not more often than it
    says so: a machine may stand still between what was answered in time and the one who waits for it.
    """
    unsettled: defaultdict[tuple[str, int], set[int]] = defaultdict(set)
    early: defaultdict[tuple[str, int], set[int]] = defaultdict(set)
    for repeat in _repeated(evidence):
        old, events = repeat.old, repeat.events
        if old.is_lost:
            continue
        where = f"{old.route}, life {old.life}"
        if old.life == repeat.life:
            early[old.route, old.life].add(repeat.index)
            if len(early[old.route, old.life]) > evidence.timeouts.get((old.route, old.life), 0):
                yield "no repeats without a reason", f"{where}: {len(events)} events from {events[0]} on"
        elif old.life in evidence.killed:
            unsettled[old.route, old.life].add(repeat.index)
        else:
            yield "no repeats without a reason", f"{where}, which was stopped: {len(events)} from {events[0]} on"
    in_flight = {route.name: route.in_flight for route in ROUTES}
    for (route, life), found in unsettled.items():
        if len(found) > in_flight[route] + 1:
            yield "repeats are bounded", f"{route}, life {life}: {len(found)} batches came again"
        stored = [
            index
            for index, old in enumerate(evidence.requests)
            if old.route == route and old.life == life and old.is_stored and not old.is_stale
        ]
        if in_flight[route] == 1 and not found <= set(stored[-2:]):
            yield "repeats are bounded", f"{route}, life {life}: others than the last two batches came again"


@dataclass(frozen=True, slots=True)
class _Repeat:
    """Events of a request that came again in another one."""

    old: Request
    index: int
    """Which of all requests the old one was."""
    events: list[Key]
    life: int
    """The life in which they came again."""


def _repeated(evidence: Evidence) -> Iterator[_Repeat]:
    """Yield what came again, each time with the request before."""
    last: dict[tuple[str, Key], int] = {}
    for index, request in enumerate(evidence.requests):
        if not request.is_stored:
            continue
        if request.is_stale:
            # It came before what it seems to repeat; the forwarder has sent it again because it had no answer.
            for key in request.events:
                last.setdefault((request.route, key), index)
            continue
        again: defaultdict[int, list[Key]] = defaultdict(list)
        for key in request.events:
            if (before := last.get((request.route, key))) is not None:
                again[before].append(key)
            last[request.route, key] = index
        for before, keys in again.items():
            yield _Repeat(evidence.requests[before], before, keys, request.life)


def _accounts(evidence: Evidence) -> Iterator[Problem]:
    """Each account says in the end what the destination and the dead letters say."""
    for route, account in evidence.accounts.items():
        delivered, dead = len(evidence.stored[route]), len(evidence.dead[route])
        right = {"queued": 0, "dropped": 0, "delivered": delivered, "dead": dead, "accepted": delivered + dead}
        wrong = {name: account[name] for name, value in right.items() if account[name] != value}
        if wrong:
            yield "accounts add up", f"{route}: {wrong}, and it should be {right}"
