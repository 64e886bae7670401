"""The guard against rejecting everything."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from forwarder.delivery.guard import LIMIT, Guard, Verdict


def deliver_all(events: list[bool]) -> tuple[list[int], int, int]:
    """Deliver single events, `True` for good ones, as a delivery does; return the buried, the holds, what is left.

    It gives up where a hold has brought nothing to light, although all events were in reach.
    """
    guard, buried, holds, start = Guard(), list[int](), 0, 0
    while start < len(events):
        suspects: list[int] = []
        at, is_held = start, False
        while at < len(events) and not is_held:
            if events[at]:
                guard.delivered()
                buried += suspects
                suspects, start = [], at + 1
            else:
                match guard.rejected():
                    case Verdict.BURY:
                        buried.append(at)
                        start = at + 1
                    case Verdict.SUSPECT:
                        suspects.append(at)
                    case Verdict.HOLD:
                        is_held = True
            at += 1
        if suspects or is_held:
            guard.held()
            holds += 1
            if at == len(events) and not any(events[start:]):
                return buried, holds, len(events) - start
    return buried, holds, 0


def test_a_few_are_believed() -> None:
    """As many single rejections in a row as the limit are believed; the next one is a reason to hold."""
    guard = Guard()
    assert [guard.rejected() for _ in range(LIMIT + 1)] == [Verdict.BURY] * LIMIT + [Verdict.HOLD]


def test_a_delivery_clears_the_destination() -> None:
    """After something was delivered, rejections are believed again."""
    guard = Guard(limit=2)
    for _ in range(100):
        assert [guard.rejected(), guard.rejected()] == [Verdict.BURY, Verdict.BURY]
        guard.delivered()


def test_the_budget_grows() -> None:
    """After each wait twice as many suspects may be tried, and none of them is buried."""
    guard = Guard(limit=3)
    tried = []
    for _ in range(6):
        verdicts: list[Verdict] = []
        while not verdicts or verdicts[-1] is not Verdict.HOLD:
            verdicts.append(guard.rejected())
        guard.held()
        tried.append(verdicts.count(Verdict.SUSPECT))
    assert tried == [0, 3, 6, 12, 24, 48]


def test_the_budget_is_bounded() -> None:
    """A destination that was held for years does not make the budget grow without end."""
    guard = Guard()
    for _ in range(10_000):
        guard.held()
    assert guard.budget == 1 << 20


def test_everything_rejected_buries_a_few() -> None:
    """Where nothing is ever delivered, no more than the limit is buried, however often it is tried."""
    guard = Guard()
    verdicts: list[Verdict] = []
    for _ in range(12):
        while (verdict := guard.rejected()) is not Verdict.HOLD:
            verdicts.append(verdict)
        guard.held()
    assert verdicts.count(Verdict.BURY) == LIMIT


@given(st.lists(st.sampled_from(["rejected", "held", "delivered"]), max_size=300), st.integers(1, 12))
def test_never_more_in_a_row_than_the_limit(steps: list[str], limit: int) -> None:
    """Whatever happens, no more than the limit is buried between two deliveries."""
    guard, in_a_row = Guard(limit), 0
    for step in steps:
        if step == "delivered":
            guard.delivered()
            in_a_row = 0
        elif step == "held":
            guard.held()
        else:
            in_a_row += guard.rejected() is Verdict.BURY
        assert in_a_row <= limit


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 200)), max_size=8))
def test_runs_of_bad_events_are_passed(runs: list[tuple[bool, int]]) -> None:
    """Bad events with good ones behind them are buried, all and only they, after few waits for each run."""
    events = [good for good, count in [*runs, (True, 1)] for _ in range(count)]
    buried, holds, left = deliver_all(events)
    assert buried == [at for at, good in enumerate(events) if not good]
    assert left == 0
    # 10, 20, 40, 80, 160: what a run of 1,600 at most takes to be within the budget.
    assert holds <= 8 * len(runs) + 1


@given(st.integers(0, 30), st.integers(LIMIT + 1, 400))
def test_bad_events_at_the_end_stay(good: int, bad: int) -> None:
    """A run of bad events with nothing good behind it is left as it is, but for the first few."""
    buried, holds, left = deliver_all([True] * good + [False] * bad)
    assert len(buried) == LIMIT
    assert left == bad - LIMIT
    assert holds >= 1
