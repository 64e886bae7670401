"""`forwarder reload`."""

from __future__ import annotations

from pathlib import Path

from forwarder.admin.steering import Refusal
from tests.admin.serving import served_in_thread
from tests.cli.console import run


def test_a_reload_that_is_good(tmp_path: Path) -> None:
    """The daemon is asked once, and its word printed."""
    with served_in_thread(tmp_path, "main") as served:
        ended = run("reload", "--admin", str(served.address))
        assert (ended.code, ended.out, ended.err) == (0, "reloaded\n", "")
        assert served.reloads.asked == 1


def test_a_reload_that_is_refused(tmp_path: Path) -> None:
    """Each mistake is a line, the exit code is 1, and it is said what happens now."""
    with served_in_thread(tmp_path, "main") as served:
        served.reloads.refused = Refusal(0, ("one is wrong", "two is, too"))
        ended = run("reload", "--admin", str(served.address))
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == "forwarder: one is wrong\ntwo is, too\nhint: the old configuration goes on\n"
