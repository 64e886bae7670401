"""The verdict: good evidence passes, and each kind of wrong is told by the name of its promise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256

import pytest

from tests.campaigns.killing.events import HTTP_ARRAY, ROUTES, STREAM_UNIX, Events, Key
from tests.campaigns.killing.journal import Claims
from tests.campaigns.killing.receiver import Request
from tests.campaigns.killing.verdict import Evidence, check_account, judge, tallies

EVENTS = Events("verdict")
# Numbers of events that are valid and that nobody rejects.
GOOD = [
    number
    for number in range(20, 400)
    if all(
        EVENTS.is_valid(source, number) and not any(EVENTS.is_poison(source, number, route.name) for route in ROUTES)
        for source in (STREAM_UNIX, HTTP_ARRAY)
    )
][:40]


class Draft:
    """Evidence before it is complete: a stream's events, accepted in life 1, delivered in batches of five."""

    def __init__(self) -> None:
        self.claims = Claims(
            dict.fromkeys(GOOD, 1), dict.fromkeys(GOOD, 1), {}, [(1, number, number) for number in GOOD]
        )
        self.source = STREAM_UNIX
        self.requests = [request for route in ROUTES for request in self.batches(route.name)]
        self.dead: dict[str, list[Key]] = {route.name: [] for route in ROUTES}
        self.killed = {1}
        self.timeouts: dict[tuple[str, int], int] = {}
        self.max_events = 5
        self.miscounted = 0

    def batches(self, route: str) -> list[Request]:
        keys = [(self.source, number) for number in GOOD if route in EVENTS.routes(self.source, number)]
        return [request_of(route, tuple(keys[first : first + 5])) for first in range(0, len(keys), 5)]

    def on(self, route: str) -> list[Request]:
        """Return the requests of a destination, in order."""
        return [request for request in self.requests if request.route == route]

    def complete(self) -> Evidence:
        evidence = Evidence(
            EVENTS,
            {self.source: self.claims},
            self.requests,
            self.dead,
            self.killed,
            self.timeouts,
            {},
            self.max_events,
        )
        accounts = {}
        for route in ROUTES:
            delivered, dead = len(evidence.stored[route.name]), len(self.dead[route.name])
            accounts[route.name] = {
                "accepted": delivered + dead,
                "queued": 0,
                "delivered": delivered - self.miscounted,
                "dead": dead,
                "dropped": 0,
            }
        evidence.accounts = accounts
        return evidence


def request_of(route: str, keys: tuple[Key, ...]) -> Request:
    return Request(route, 1, keys, sha256(repr(keys).encode()).digest(), 200, is_stored=True, is_lost=False)


def test_good_evidence_passes() -> None:
    """Where everything agrees, no promise is broken, and every accepted event is counted as delivered."""
    evidence = Draft().complete()
    assert judge(evidence) == []
    tally = tallies(evidence)[1]
    assert tally.accepted == tally.delivered == sum(len(evidence.stored[route.name]) for route in ROUTES)


def lose(draft: Draft) -> None:
    draft.requests.remove(draft.on("all")[3])


def make_up(draft: Draft) -> None:
    draft.requests.append(request_of("all", ((STREAM_UNIX, 100_000),)))


def store_refused(draft: Draft) -> None:
    del draft.claims.accepted[GOOD[0]]
    draft.claims.refused[GOOD[0]] = 503


def misroute(draft: Draft) -> None:
    number = next(number for number in GOOD if EVENTS.routes(STREAM_UNIX, number) == ("all", "streams"))
    draft.requests.append(request_of("logins", ((STREAM_UNIX, number),)))


def swap(draft: Draft) -> None:
    first, second = draft.on("logins")[:2]
    at, behind = draft.requests.index(first), draft.requests.index(second)
    draft.requests[at], draft.requests[behind] = second, first


def turn(draft: Draft) -> None:
    old = draft.on("streams")[0]
    draft.requests[draft.requests.index(old)] = replace(old, events=old.events[::-1])


def repeat(draft: Draft) -> None:
    draft.requests.append(draft.on("all")[-1])


def repeat_many(draft: Draft) -> None:
    draft.requests += [replace(request, life=2) for request in draft.on("streams")[-5:]]


def repeat_early(draft: Draft) -> None:
    draft.requests.append(replace(draft.on("all")[0], life=2))


def repeat_after_stop(draft: Draft) -> None:
    draft.killed.clear()
    draft.requests.append(replace(draft.on("all")[-1], life=2))


def bury(draft: Draft) -> None:
    lost = draft.on("all")[0]
    draft.requests.remove(lost)
    draft.dead["all"] += lost.events


def bury_delivered(draft: Draft) -> None:
    draft.dead["all"].append((STREAM_UNIX, GOOD[0]))


def rebatch(draft: Draft) -> None:
    first, second = draft.on("all")[:2]
    failed = request_of("all", first.events[:2] + second.events[:1])
    draft.requests.insert(0, replace(failed, status=503, is_stored=False))


def leave_a_gap(draft: Draft) -> None:
    for number in GOOD:
        del draft.claims.accepted[number]
    for route in ROUTES:
        draft.requests.remove(draft.on(route.name)[0])


def tear(draft: Draft) -> None:
    draft.source = HTTP_ARRAY
    draft.requests = [request for route in ROUTES for request in draft.batches(route.name)]
    del draft.requests[0]
    draft.claims.accepted.clear()
    draft.claims.writes = [(1, GOOD[0], GOOD[-1])]
    draft.claims.sent = dict.fromkeys(range(GOOD[0], GOOD[-1] + 1), 1)


def refuse_good(draft: Draft) -> None:
    del draft.claims.accepted[GOOD[0]]
    draft.claims.refused[GOOD[0]] = 422


def overfill(draft: Draft) -> None:
    draft.max_events = 4


def miscount(draft: Draft) -> None:
    draft.miscounted = 1


@pytest.mark.parametrize(
    ("tamper", "promise"),
    [
        (lose, "accepted is durable"),
        (make_up, "nothing is made up"),
        (store_refused, "refused is not stored"),
        (misroute, "events go where they match"),
        (swap, "order"),
        (turn, "order"),
        (repeat, "no repeats without a reason"),
        (repeat_many, "repeats are bounded"),
        (repeat_early, "repeats are bounded"),
        (repeat_after_stop, "no repeats without a reason"),
        (bury, "no neighbour is harmed"),
        (bury_delivered, "an event ends in one place"),
        (rebatch, "a retry repeats itself"),
        (leave_a_gap, "a stream has no gaps"),
        (tear, "a request is taken as a whole"),
        (refuse_good, "answers are right"),
        (overfill, "batches keep to the limit"),
        (miscount, "accounts add up"),
    ],
)
def test_a_broken_promise_is_told(tamper: Callable[[Draft], None], promise: str) -> None:
    """Evidence in which one thing is wrong breaks the promise that is about it."""
    draft = Draft()
    tamper(draft)
    assert promise in {found for found, _ in judge(draft.complete())}


def test_what_was_unsettled_at_a_kill_may_come_again() -> None:
    """Of the last batches before a kill, one more than were in flight may come again; so may any with a lost answer."""
    draft = Draft()
    draft.requests += [replace(request, life=2) for request in draft.on("all")[-2:]]
    draft.requests += [replace(request, life=2) for request in draft.on("streams")[-4:]]
    lost = draft.on("logins")[0]
    draft.requests.insert(draft.requests.index(lost), replace(lost, status=None, is_lost=True))
    evidence = draft.complete()
    assert judge(evidence) == []
    assert tallies(evidence)[1].again_lost_answer == len(lost.events)


def test_what_was_set_aside_before_a_kill_comes_in_a_batch() -> None:
    """It failed alone in one life and was overtaken; in the next it is the oldest that waits. Nothing else may be."""
    draft = Draft()
    first, second, third = draft.on("logins")[:3]
    late, rest = first.events[:1], first.events[1:]
    failed = replace(request_of("logins", late), status=503, is_stored=False)
    again = replace(request_of("logins", late + third.events), life=2)
    draft.max_events = 6
    moved = [request_of("logins", rest), second, again]
    draft.requests = [request for request in draft.requests if request.route != "logins"]
    others = [replace(request, life=2) for request in Draft().on("logins")[3:]]
    draft.requests += [failed, *moved, *others]
    assert "order" not in {promise for promise, _ in judge(draft.complete())}
    draft.requests.remove(failed)
    assert "order" in {promise for promise, _ in judge(draft.complete())}


def test_a_batch_that_fails_three_times_may_be_cut() -> None:
    """With several in flight, others may be taken between its failures; it is tried in parts all the same."""
    draft = Draft()
    first, second = draft.on("streams")[:2]
    failed = replace(request_of("streams", first.events + second.events[:1]), status=503, is_stored=False)
    draft.max_events = 6
    at = draft.requests.index(first)
    draft.requests[at:at] = [failed, replace(failed, status=None)]
    assert {promise for promise, _ in judge(draft.complete())} == {"a retry repeats itself"}
    third = draft.on("streams")[4]
    draft.requests.remove(third)
    draft.requests[at + 1 : at + 1] = [third, failed]
    assert judge(draft.complete()) == []


def test_an_answer_that_the_forwarder_did_not_wait_for_is_lost() -> None:
    """A batch may come again as often as the forwarder says that it had no answer in time, and no more often."""
    draft = Draft()
    draft.timeouts["all", 1] = 1
    draft.requests.append(replace(draft.on("all")[-1]))
    assert judge(draft.complete()) == []
    draft.requests.append(replace(draft.on("all")[3]))
    assert {promise for promise, _ in judge(draft.complete())} == {"no repeats without a reason"}


def test_what_was_given_up_before_it_was_read_is_no_repeat() -> None:
    """A request that the forwarder had given up, and that is read behind a later one, breaks no promise."""
    draft = Draft()
    first, second = draft.on("streams")[:2]
    both = request_of("streams", first.events[-1:] + second.events[:-1])
    draft.requests.append(replace(both, is_lost=True, is_stale=True))
    assert judge(draft.complete()) == []


def test_an_account_must_cover_what_was_accepted() -> None:
    """An account with less than was accepted, or more than was sent, or that does not add up, is told."""
    account = {"accepted": 10, "queued": 4, "delivered": 5, "dead": 1, "dropped": 0}
    assert list(check_account("all", account, acked=10, sent=10)) == []
    assert [promise for promise, _ in check_account("all", account, acked=11, sent=12)] == ["accepted is durable"]
    assert [promise for promise, _ in check_account("all", account, acked=8, sent=9)] == ["nothing is made up"]
    wrong = account | {"dropped": 1}
    assert len(list(check_account("all", wrong, acked=10, sent=10))) == 2
