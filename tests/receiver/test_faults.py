"""Scripts of faults: what they mean, and what is no script."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.errors import FaultScriptError
from forwarder.receiver.faults import GRAMMAR, OK, Action, Fault, Faults


def steps(script: str, count: int) -> list[str]:
    faults = Faults.parse(script)
    return [str(faults.next()) for _ in range(count)]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("", ["ok", "ok"]),
        ("503", ["503", "ok", "ok"]),
        ("503*3, timeout ,ok,", ["503", "503", "503", "timeout", "ok", "ok"]),
        ("ok*2,cut", ["ok", "ok", "cut", "ok"]),
        ("503*2,ok,loop", ["503", "503", "ok", "503", "503", "ok", "503"]),
        ("loop,cut", ["cut", "cut", "cut"]),
        ("timeout:5,slow:0.5,429:2*2", ["timeout:5", "slow:0.5", "429:2", "429:2", "ok"]),
        ("503 * 2", ["503", "503", "ok"]),
        ("cut-after-store,garbage,redirect,204", ["cut-after-store", "garbage", "redirect", "204", "ok"]),
    ],
)
def test_steps_are_used_up_one_a_request(script: str, expected: list[str]) -> None:
    """A script is a sequence; behind its end every request is served, unless it loops."""
    assert steps(script, len(expected)) == expected


def test_a_step_carries_its_numbers() -> None:
    """Status and seconds are values, not text."""
    faults = Faults.parse("429:31536000,slow:0.25,timeout")
    assert faults.next() == Fault(Action.STATUS, 429, 31536000)
    assert faults.next() == Fault(Action.SLOW, seconds=0.25)
    assert faults.next() == Fault(Action.TIMEOUT)


def test_many_repetitions_cost_no_memory() -> None:
    """A count is kept as a count."""
    assert steps("503*999999999", 3) == ["503"] * 3


@pytest.mark.parametrize(
    ("step", "stores"),
    [
        ("ok", True),
        ("slow:1", True),
        ("cut-after-store", True),
        ("202", True),
        ("cut", False),
        ("timeout", False),
        ("garbage", False),
        ("redirect", False),
        ("302", False),
        ("503", False),
    ],
)
def test_a_step_stores_or_does_not(step: str, stores: bool) -> None:
    """Success stores, also where the answer is late or lost; a refusal never does."""
    assert Faults.parse(step).next().stores is stores


def test_rules_stand_beside_the_steps() -> None:
    """Rules use up no request and may be given anywhere."""
    faults = Faults.parse("max-events:100,503,reject:a,reject:b:c")
    assert (faults.max_events, faults.rejects) == (100, ["a", "b:c"])
    assert [str(faults.next()) for _ in range(2)] == ["503", "ok"]


def test_chance_is_repeatable() -> None:
    """The same seed gives the same faults, at about the wanted rate, of all kinds."""
    first = steps("random:0.5:42", 1000)
    assert first == steps("random:0.5:42", 1000)
    assert first != steps("random:0.5:43", 1000)
    assert set(first) == {"ok", "500", "503", "429:1", "cut", "cut-after-store", "slow:0.2"}
    assert 400 < first.count("ok") < 600


def test_chance_comes_after_the_steps() -> None:
    """A script can begin with what is certain."""
    assert steps("ok*50,random:1:1", 50) == ["ok"] * 50
    assert "ok" not in steps("cut,random:1:1", 50)


@pytest.mark.parametrize(
    "script",
    [
        "foo",
        "503x",
        "503*0",
        "503*-1",
        "503*",
        "*3",
        "99",
        "199",
        "600",
        "-503",
        "429:",
        "429:x",
        "429:1.5",
        "slow",
        "slow:",
        "slow:-1",
        "slow:nan",
        "slow:inf",
        "timeout:",
        "timeout:100000",
        "ok:1",
        "cut:2",
        "max-events",
        "max-events:0",
        "max-events:x",
        "reject",
        "reject:",
        "random",
        "random:0.1",
        "random:0:1",
        "random:2:1",
        "random:x:1",
        "random:0.1:x",
        "random:nan:1",
        "loop",
        "max-events:3,loop",
        "503,loop,random:0.1:1",
        "503;cut",
    ],
)
def test_what_is_no_script_is_refused_with_what_is(script: str) -> None:
    """The error quotes the entry, the hint is the whole grammar."""
    with pytest.raises(FaultScriptError) as caught:
        Faults.parse(script)
    assert caught.value.hint == GRAMMAR
    assert script.split(",")[0] in caught.value.message
    assert caught.value.exit_code == 2


@given(script=st.text(max_size=30) | st.text("0123456789*:,.-okcutslwretimdjapx", max_size=30))
def test_no_text_fails_in_another_way(script: str) -> None:
    """Any text is a script or raises FaultScriptError; what parses can be used."""
    try:
        faults = Faults.parse(script)
    except FaultScriptError:
        return
    assert isinstance(faults.next(), Fault)


def test_nothing_means_ok() -> None:
    """The empty script serves every request."""
    assert Faults.parse("").next() is OK
