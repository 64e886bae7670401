"""Feeds: which events a page holds, and where it says the others are."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.receiver.feeds import Feeds, Window
from forwarder.receiver.payload import read, split

from .conftest import event, payload


def filled(*batches: list[dict[str, Any]]) -> Feeds:
    feeds = Feeds()
    for batch in batches:
        text = payload(*batch)
        feeds.add(read(text), split(text))
    return feeds


def numbered(count: int) -> Feeds:
    return filled(*([event(n=number)] for number in range(count)))


def page(feeds: Feeds, *feed: str, **window: Any) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(feeds.page(feed or ("app",), Window(**window)))
    assert len(document["objects"]) == document["count"] + 2
    return document


def numbers(document: dict[str, Any]) -> list[int]:
    return [item["n"] for item in document["objects"][1:-1]]


def follow(feeds: Feeds, instruction: dict[str, Any], limit: int) -> dict[str, Any]:
    """Read the page that an instruction names, as a reader would."""
    name, _, query = instruction["url"].partition("?")
    fields = dict(re.findall(r"(\w+)=(\w+)", query))
    window = {key: int(fields[key]) for key in ("after", "before") if key in fields}
    return page(feeds, name, limit=limit, newest=fields.get("newest") == "true", **window)


def test_a_page_has_the_documented_shape() -> None:
    """Events stand between the two instructions; URLs are relative; a count of -1 means at least one."""
    feeds = numbered(5)
    document = page(feeds, after=json.loads(feeds.page(("app",), Window()))["objects"][1]["eventReceived"], limit=2)
    older, first, last, newer = document["objects"]
    assert numbers(document) == [1, 2]
    assert document["uri"] == "app"
    assert document["updateUrl"] == newer["url"] == f"app?after={last['eventReceived']}"
    assert older == {
        "eventType": "EventFeedInstruction",
        "url": f"app?before={first['eventReceived']}&newest=true",
        "instruction": "older",
        "count": -1,
    }
    assert newer["instruction"] == "newer"
    assert newer["count"] == -1


def test_an_empty_feed_has_the_two_instructions() -> None:
    """A reader can begin before the first event is there."""
    document = page(Feeds())
    assert document["count"] == 0
    assert [item["count"] for item in document["objects"]] == [0, 0]
    assert document["objects"][1]["url"] == "app?after=0"


def test_receipt_is_strictly_increasing() -> None:
    """Within an array, and from one to the next, however fast they come."""
    feeds = filled(*([event(n=1), event(n=2)] for _ in range(500)))
    received = [item["eventReceived"] for item in page(feeds)["objects"][1:-1]]
    assert len(received) == 1000
    assert received == sorted(set(received))
    assert received[0] > 10**18, "nanoseconds since the epoch"


def test_events_are_found_by_source_and_by_object() -> None:
    """An event with an object is in two feeds; the feed of a source is not that of an object of the same name."""
    feeds = filled(
        [event(n=1, eventObjectType="user", eventObjectId="7")],
        [event(n=2)],
        [event(n=3, eventSourceId="other", eventObjectType="user", eventObjectId="7")],
        [event(n=4, eventSourceId="user/7")],
    )
    assert numbers(page(feeds, "app")) == [1, 2]
    assert numbers(page(feeds, "user", "7")) == [1, 3]
    assert numbers(page(feeds, "user/7")) == [4]
    assert page(feeds, "user", "7")["uri"] == "user/7"
    assert numbers(page(feeds, "7")) == []


def test_names_are_escaped_in_urls() -> None:
    """A feed may have any name."""
    feeds = filled([event(eventSourceId="a b?ü")])
    assert page(feeds, "a b?ü")["updateUrl"].startswith("a%20b%3F%C3%BC?after=")


def test_both_ends_are_exclusive() -> None:
    """`after` and `before` name events that are not part of the page."""
    feeds = numbered(5)
    received = [item["eventReceived"] for item in page(feeds)["objects"][1:-1]]
    assert numbers(page(feeds, after=received[1], before=received[3])) == [2]
    assert numbers(page(feeds, after=received[1], before=received[2])) == []
    assert numbers(page(feeds, after=received[3], before=received[1])) == []
    assert numbers(page(feeds, before=received[3], limit=2)) == [0, 1]
    assert numbers(page(feeds, before=received[3], limit=2, newest=True)) == [1, 2]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
@given(count=st.integers(0, 12))
def test_following_newer_reads_everything_once(limit: int, count: int) -> None:
    """A reader that starts at the beginning gets every event in order, and ends at an empty page."""
    feeds = numbered(count)
    document = page(feeds, limit=limit)
    seen = numbers(document)
    while document["count"]:
        assert document["objects"][-1]["count"] == (-1 if len(seen) < count else 0)
        document = follow(feeds, document["objects"][-1], limit)
        seen += numbers(document)
    assert seen == list(range(count))
    feeds.add(read(payload(event(n=99))), [payload(event(n=99))[1:-1]])
    assert numbers(follow(feeds, document["objects"][-1], limit)) == [99], "and goes on from there"


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
@given(count=st.integers(0, 12))
def test_following_older_reads_everything_backwards(limit: int, count: int) -> None:
    """A reader that starts at the end gets every event, page by page, each page from old to new."""
    feeds = numbered(count)
    document = page(feeds, limit=limit, newest=True)
    seen = numbers(document)
    while document["count"]:
        document = follow(feeds, document["objects"][0], limit)
        seen = numbers(document) + seen
    assert seen == list(range(count))


def test_an_empty_page_leads_back() -> None:
    """Whatever bounds an empty page, its instructions point to what lies around it."""
    feeds = numbered(2)
    first, last = (item["eventReceived"] for item in page(feeds)["objects"][1:-1])
    behind = page(feeds, after=last)
    assert numbers(follow(feeds, behind["objects"][0], 9)) == [0, 1]
    ahead = page(feeds, before=first)
    assert numbers(follow(feeds, ahead["objects"][1], 9)) == [0, 1]


def test_a_null_time_of_receipt_is_replaced() -> None:
    """An event that was sent with `eventReceived: null` comes back with one value, the server's."""
    feeds = filled([event(n=1), event(n=2, eventReceived=None)])
    text = feeds.page(("app",), Window())
    assert text.count(b'"eventReceived"') == 2
    assert b"null" not in text
