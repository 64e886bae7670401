"""The campaign of damaged files, short: each kind of damage is survived, and a queue that keeps silent is found."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from tests.campaigns import damage
from tests.campaigns.command import campaign


def test_nothing_is_missing_without_a_word(tmp_path: Path) -> None:
    """Whatever is damaged, what is whole is delivered, and the rest is counted."""
    code, report = campaign("damage", tmp_path, "--rounds", "3", "--seed", "1")
    assert (code, report["problems"]) == (0, [])
    assert [row["kind"] for row in report["rows"]] == list(damage.KINDS)
    for row in report["rows"]:
        assert row["rounds"] == 3
        assert row["delivered"] + row["missing"] == row["waiting"]
    assert list(tmp_path.iterdir()) == []


def test_silence_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Events that are missing, and nobody tells of it, are a broken promise; the round can be repeated."""
    monkeypatch.setattr("forwarder.queue.sqlite.lock.InstanceLock.noted", lambda _lock: 0)
    parser = argparse.ArgumentParser()
    damage.add_arguments(parser)
    words = ["--kind", "log-removed", "--rounds", "1", "--seed", "1", "--folder", str(tmp_path)]
    assert damage.run(parser.parse_args(words)) == 1
    assert "--seed 1 --kind log-removed --first 1 --rounds 1" in capsys.readouterr().out
