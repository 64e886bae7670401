"""`forwarder dead`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.admin.serving import Served, served_in_thread
from tests.cli.console import Ended, run, run_on_terminal
from tests.queue.watched import NOW


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with served_in_thread(tmp_path, "main", "audit") as served:
        served.queue.bury(event=b'{"n":1.0}', detail="not \x1b[1mgood" + "!" * 100)
        served.queue.bury(event=b'{"n":2}', reason="expired", status=None, destination="audit", died_at=NOW - 10)
        yield served


def dead(served: Served, *args: str) -> Ended:
    return run("dead", *args, "--admin", str(served.address))


def test_list(served: Served) -> None:
    """Each dead letter is a line of columns, without anything that steers a terminal."""
    ended = dead(served, "list")
    head, first, second = ended.out.splitlines()
    assert head.split() == ["ID", "DIED", "DESTINATION", "REASON", "STATUS", "EVENT", "ID", "DETAIL"]
    assert first.split()[:5] == ["1", "2023-11-14T21:13:20Z", "main", "rejected", "400"]
    assert "not \\u001b[1mgood!" in first
    assert first.endswith("…")
    assert second.split()[:5] == ["2", "2023-11-14T22:13:10Z", "audit", "expired", "-"]
    assert head.index("REASON") == first.index("rejected") == second.index("expired")


def test_list_as_json(served: Served) -> None:
    """With --json each line is the daemon's own, the event embedded as it was written."""
    ended = dead(served, "list", "--json")
    assert [json.loads(line)["id"] for line in ended.out.splitlines()] == [1, 2]
    assert '"event":{"n":1.0}' in ended.out


@pytest.mark.parametrize("json_flag", [[], ["--json"]])
def test_list_says_when_there_is_more(served: Served, json_flag: list[str]) -> None:
    """A limit never cuts off silently."""
    ended = dead(served, "list", "--limit", "1", *json_flag)
    assert (ended.code, ended.err) == (0, "there are more than these 1\n")
    assert ended.out.count("00000000-0000-4000") == 1
    assert dead(served, "list", "--limit", "2", *json_flag).err == ""


def test_list_on_a_terminal(served: Served) -> None:
    """On a terminal the list is a table of at most a hundred."""
    for _ in range(100):
        served.queue.bury(detail="[b]x")
    ended = run_on_terminal("dead", "list", "--admin", str(served.address))
    assert ended.code == 0
    assert ended.out.count("[b]x") == 98
    assert "there are more than these 100" in ended.out


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        (["--destination", "audit"], [2]),
        (["--id", "1"], [1]),
        (["--id", "1", "--id", "00000000-0000-4000-8000-000000000002"], [1, 2]),
        (["--reason", "rejected"], [1]),
        (["--older-than", "30min"], [1]),
        (["--older-than", "5"], [1, 2]),
        (["--older-than", "2d"], []),
    ],
)
def test_filters(served: Served, filters: list[str], found: list[int]) -> None:
    """Each filter chooses what it says, in every command."""
    listed = dead(served, "list", "--json", *filters)
    assert listed.code == 0
    assert [json.loads(line)["id"] for line in listed.out.splitlines()] == found
    assert dead(served, "export", *filters).out.count("\n") == len(found)
    ended = dead(served, "purge", "--yes", *filters)
    assert ended.code == 0
    assert len(served.queue.dead) == 2 - len(found)


def test_nothing_matched(served: Served) -> None:
    """Where nothing matches that is said, with what was looked for."""
    assert dead(served, "list", "--id", "9") == Ended(0, "", "nothing matched the dead letters with id 9\n")
    for command in (["replay"], ["purge", "--yes"]):
        ended = dead(served, *command, "--reason", "damaged", "--destination", "main", "--older-than", "1h")
        words = "nothing matched the dead letters of main with reason damaged older than 3600s\n"
        assert ended == Ended(0, words, "")
    served.queue.accounts.clear()
    assert dead(served, "list").err == "there are no dead letters\n"
    assert dead(served, "export").err == "there are no dead letters\n"


def test_a_reason_that_is_none(served: Served) -> None:
    """A mistyped reason is not taken for one that nothing has."""
    ended = dead(served, "purge", "--yes", "--reason", "reject")
    assert ended.code == 2
    assert "'rejected', 'too_large', 'failing', 'expired', 'damaged'" in ended.err


def test_bad_duration(served: Served) -> None:
    """A duration that is none is a usage error with the right form."""
    ended = dead(served, "list", "--older-than", "soon")
    assert ended.code == 2
    assert "such as 30s" in ended.err


def test_unknown_destination(served: Served) -> None:
    """A destination that does not exist is a usage error that names those that do."""
    ended = dead(served, "replay", "--destination", "nope")
    assert ended.code == 2
    assert "the destinations are audit, main" in ended.err


def test_show(served: Served) -> None:
    """Everything about a dead letter is shown, its event over several lines, and nothing of it is obeyed."""
    served.queue.bury(event='{"n":1.0,"s":"\x9b"}'.encode())
    ended = dead(served, "show", "--id", "1", "--id", "3")
    assert ended.code == 0
    first, second = ended.out.split("\n\n")
    assert "detail:      not \\u001b[1mgood!!!" in first
    assert "accepted:    2023-11-14T20:13:20Z\ndied:        2023-11-14T21:13:20Z\n" in first
    assert first.endswith('event:\n{\n  "n": 1.0\n}')
    assert second.endswith('event:\n{\n  "n": 1.0,\n  "s": "\\u009b"\n}\n')


def test_show_nothing(served: Served) -> None:
    """A dead letter that does not exist is a negative answer."""
    assert dead(served, "show", "--id", "9") == Ended(1, "", "nothing matched the dead letters with id 9\n")
    assert dead(served, "show", "9").err == "nothing matched the dead letters with id 9\n"
    assert dead(served, "show", "1", "3") == dead(served, "show", "--id", "1", "--id", "3")
    assert dead(served, "show").code == 2


def test_damaged_event(served: Served, tmp_path: Path) -> None:
    """What is no JSON any more is shown as base64, left out of an export of events, and counted."""
    served.queue.bury(event=b"\xff\xfe")
    assert "damaged, here as base64\n//4=\n" in dead(served, "show", "--id", "3").out
    ended = dead(served, "export")
    assert ended.out == '{"n":1.0}\n{"n":2}\n'
    assert ended.err.startswith("2 events exported\n1 event left out")
    assert dead(served, "export", "--full").out.count("\n") == 3
    words = "nothing was put back: what matches is damaged, or still invalid; see forwarder dead export --full\n"
    assert dead(served, "replay", "--id", "3") == Ended(0, words, "")


def test_export(served: Served, tmp_path: Path) -> None:
    """An export holds the events alone, byte for byte; with --full each with its reason."""
    file = tmp_path / "dead.ndjson"
    assert dead(served, "export", "-o", str(file)) == Ended(0, "", "2 events exported\n")
    assert file.read_bytes() == b'{"n":1.0}\n{"n":2}\n'
    full = [json.loads(line) for line in dead(served, "export", "--full", "-o", "-").out.splitlines()]
    assert [letter["reason"] for letter in full] == ["rejected", "expired"]


def test_replay(served: Served) -> None:
    """A replay puts back what the filters name, or everything with --all."""
    assert dead(served, "replay", "--id", "2") == Ended(0, "1 dead letter put back into the queue\n", "")
    assert dead(served, "replay", "--all") == Ended(0, "1 dead letter put back into the queue\n", "")
    assert served.queue.queued("main") == [b'{"n":1.0}']


@pytest.mark.parametrize("command", [["replay"], ["purge"], ["purge", "--yes"]])
def test_all_must_be_said(served: Served, command: list[str]) -> None:
    """Without a filter, replay and purge want --all."""
    ended = dead(served, *command)
    assert ended.code == 2
    assert "--all for every dead letter" in ended.err
    assert len(served.queue.dead) == 2


def test_all_within_a_filter(served: Served) -> None:
    """--all beside a filter does not reach beyond the filter."""
    assert dead(served, "purge", "--yes", "--all", "--destination", "audit").out == "1 dead letter dropped\n"
    assert [letter.destination for letter in served.queue.dead] == ["main"]


def test_purge_without_terminal(served: Served) -> None:
    """Without --yes and without a terminal nothing is dropped."""
    ended = dead(served, "purge", "--all")
    assert (ended.code, "give --yes" in ended.err) == (2, True)
    assert len(served.queue.dead) == 2


@pytest.mark.parametrize(("typed", "code", "left"), [(b"y\n", 0, 1), (b"n\n", 1, 2)])
def test_purge_asks(served: Served, typed: bytes, code: int, left: int) -> None:
    """On a terminal the question says what would go; only a yes drops it."""
    ended = run_on_terminal("dead", "purge", "--reason", "expired", "--admin", str(served.address), typed=typed)
    assert "Drop the dead letters with reason expired, for good? [y/N]" in ended.out
    assert ended.code == code
    assert len(served.queue.dead) == left
