"""The command line: what may be asked for together, and that a run of it works."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.benchmarks import record
from tests.benchmarks.__main__ import Run, main, parser, wanted
from tests.benchmarks.bench import Bench
from tests.benchmarks.shapes import OWN, SPACES


def kinds(*words: str) -> list[str]:
    return wanted(parser().parse_args(words))


def test_peers_have_only_some_kinds() -> None:
    """All is what peers can be compared in; another kind is refused."""
    assert kinds("--peers") == ["stream", "arrays"]
    assert kinds("--peers", "--only", "arrays") == ["arrays"]
    with pytest.raises(ValueError, match="--peers compares stream and arrays only"):
        kinds("--peers", "--only", "depth")


def test_what_would_be_ignored_is_refused() -> None:
    """A Fluent Bit without --peers would not be run, nor has every benchmark a use for a shape."""
    with pytest.raises(ValueError, match="--fluent-bit belongs to --peers"):
        kinds("--fluent-bit", "/usr/bin/fluent-bit")
    with pytest.raises(ValueError, match="--shape changes nothing in depth"):
        kinds("--only", "depth", "--shape", "text")
    assert "depth" in kinds("--shape", "text")


def test_an_event_of_several_lines_is_not_streamed() -> None:
    """HTTP takes an indented event, and the stream, where a line is an event, does not."""
    assert kinds("--only", "arrays", "--shape", "indented") == ["arrays"]
    with pytest.raises(ValueError, match="the stream takes one line an event"):
        kinds("--shape", "indented")


def test_a_fluent_bit_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A path where nothing is ends the run before it begins."""
    with pytest.raises(SystemExit):
        main(["--peers", "--fluent-bit", str(tmp_path / "missing")])
    assert "missing" in capsys.readouterr().err


def test_what_is_compared_is_written_as_it_is_sent(tmp_path: Path) -> None:
    """Lines are compact and arrays have spaces, unless a shape is asked for."""
    bench = Bench(tmp_path)
    assert [work.shape for work in Run(bench, tmp_path, []).works(["stream", "arrays"])] == [OWN, SPACES, SPACES]
    asked = Run(bench, tmp_path, ["large"]).works(["stream", "arrays"])
    assert {work.shape for work in asked} == {"large"}
    # Arrays of a thousand would be refused: a request may have 16 MiB.
    assert [work.how["size"] for work in asked if work.how] == [400, 100]


@pytest.mark.slow
@pytest.mark.parametrize("only", ["stream", "single"])
def test_a_run_works(tmp_path: Path, capsys: pytest.CaptureFixture[str], only: str) -> None:
    """A very short run measures over unix sockets and TCP, and says of what, where and when."""
    main(["--only", only, "--shape", "text", "--scale", "0.002", "--folder", str(tmp_path), "--json"])
    found = json.loads(capsys.readouterr().out)
    rows = {row["name"]: row for row in found["rows"] if "floor: " not in row["name"]}
    assert {name.rpartition(" over ")[2] for name in rows} == {"unix: text", "TCP: text"}
    assert all(row["figure"] > 0 and row["ratio"] > 0 and row["cpu"] > 0 and row["memory"] > 0 for row in rows.values())
    assert (found["rounds"], found["scale"]) == (1, 0.002)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_run_is_kept_and_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run adds its line to the record, and says what has changed against the line before."""
    file = tmp_path / "record.ndjson"
    asked = ["--only", "shapes", "--shape", "own", "--scale", "0.002", "--folder", str(tmp_path)]
    main([*asked, "--record", str(file)])
    assert "changed:" not in capsys.readouterr().out
    [first] = record.read(file)
    # A record in which everything was a hundred times as fast, at a hundredth of the CPU.
    fast = {
        name: replace(measure, ratio=(measure.ratio or 0) * 100, cpu=(measure.cpu or 0) / 100)
        for name, measure in first.measures.items()
    }
    file.write_text(replace(first, measures=fast).line() + "\n", encoding="utf-8")
    main([*asked, "--record", str(file)])
    said = capsys.readouterr().out
    assert "changed: HTTP arrays of 100 over unix: own: speed -9" in said
    assert "changed: HTTP arrays of 100 over unix: own: CPU an event +" in said
    assert len(record.read(file)) == 2
