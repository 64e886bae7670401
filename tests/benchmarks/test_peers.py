"""What is told of peers by what they say of themselves, and how they are set up."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks import peers
from tests.benchmarks.peers import HTTP, STREAM, FluentBit, SyslogNg

SYSLOG_NG = """\
syslog-ng 3 (3.38.1)
Config version: 3.35
Installer-Version: 3.38.1
Module-Path: /usr/lib/syslog-ng/3.38
Available-Modules: linux-kmsg-format,afsocket,{http}affile
Enable-Debug: off
"""


def program(folder: Path, says: str) -> Path:
    """Return a program that says something and ends."""
    file = folder / "program"
    file.write_text(f"#!/bin/sh\nprintf '%s\\n' '{says}'\nexit 7\n", encoding="utf-8")
    file.chmod(0o755)
    return file


def test_syslog_ng_needs_its_http_destination() -> None:
    """Without the module, which Debian has in a package of its own, there is nothing to compare with."""
    assert peers.syslog_ng_versions(SYSLOG_NG.format(http="http,")) == ("3.38.1", "3.35")
    assert peers.syslog_ng_versions(SYSLOG_NG.format(http="")) is None


def test_fluent_bit_says_which_one_it_is() -> None:
    """The version is in its first line; another program is not taken for it."""
    assert peers.fluent_bit_version("Fluent Bit v5.1.1\nGit commit: d55459d\n") == "5.1.1"
    with pytest.raises(ValueError, match="this is no Fluent Bit"):
        peers.fluent_bit_version("GNU bash, version 5.2\n")


def test_a_fluent_bit_that_cannot_start_says_why(tmp_path: Path) -> None:
    """A library that it misses, say, is in the message."""
    with pytest.raises(ValueError, match="this is no Fluent Bit: 'no such library"):
        peers.found(program(tmp_path, "no such library"))


def test_a_peer_is_asked_for_what_it_can_do() -> None:
    """syslog-ng takes lines only; Fluent Bit takes HTTP as well."""
    syslog_ng, fluent_bit = SyslogNg("syslog-ng", "3.38.1", "3.35"), FluentBit("fluent-bit", "5.1.1")
    both = [syslog_ng, fluent_bit]
    assert peers.able(both, [STREAM]) == peers.able(both, [STREAM, HTTP]) == both
    assert peers.able(both, [HTTP]) == [fluent_bit]
    assert peers.able([syslog_ng], [HTTP]) == []


def test_a_configuration_names_both_ends(tmp_path: Path) -> None:
    """Each peer listens at the port that it is given, delivers to the sink, and keeps its files in its folder."""
    syslog_ng, fluent_bit = SyslogNg("syslog-ng", "3.38.1", "3.35"), FluentBit("fluent-bit", "5.1.1")
    lines = syslog_ng.configuration(tmp_path, STREAM, 4001, 4002)
    assert lines.startswith("@version: 3.35\n")
    for part in ("port(4001)", 'url("http://127.0.0.1:4002/put")', f'dir("{tmp_path}")'):
        assert part in lines
    for way, kind in ((STREAM, "name tcp"), (HTTP, "name http\n    buffer_max_size 16M\n    listen 127.0.0.1")):
        text = fluent_bit.configuration(tmp_path, way, 4001, 4002)
        for part in (kind, "port 4001", "port 4002", f"storage.path {tmp_path}/storage"):
            assert part in text


def test_a_peer_that_does_not_start_says_why(tmp_path: Path) -> None:
    """What it wrote is in the error, with its exit code."""
    broken = FluentBit(str(program(tmp_path, "no such input")), "5.1.1")
    with (
        pytest.raises(RuntimeError, match=r"Fluent Bit 5\.1\.1 ended with 7: no such input"),
        broken.running(tmp_path, STREAM, 4002),
    ):
        pass
