"""The account: what was stored, and what was stored before."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from forwarder.receiver.account import Account
from forwarder.receiver.payload import Envelope


def envelopes(ids: list[str | None]) -> list[Envelope]:
    return [Envelope("app", "Tested", eventId=event_id) for event_id in ids]


@given(batches=st.lists(st.lists(st.none() | st.sampled_from("abcde"), max_size=6), max_size=6))
def test_duplicates_are_events_whose_id_is_known(batches: list[list[str | None]]) -> None:
    """Inside a batch as well as across batches; events without an id are neither distinct nor duplicates."""
    account = Account("ids")
    seen: list[str] = []
    for batch in batches:
        expected = 0
        for event_id in filter(None, batch):
            expected += event_id in seen
            seen.append(event_id)
        assert account.add(envelopes(batch)) == expected
    assert account.ids == set(seen)
    assert account.stats.stored == sum(map(len, batches))
    assert account.stats.distinct == len(set(seen))
    assert account.stats.duplicates == len(seen) - len(set(seen))


def test_counting_alone_keeps_no_ids() -> None:
    """Memory stays flat, and what is not known is not claimed to be zero."""
    account = Account("counts")
    assert account.add(envelopes(["a", "a"])) is None
    assert account.ids == set()
    assert account.stats.stored == 2
    assert (account.stats.distinct, account.stats.duplicates) == (None, None)
