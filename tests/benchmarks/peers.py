"""Other forwarders, for comparison in the same run, where they are installed.

syslog-ng takes lines on a Unix stream socket and posts them as JSON arrays of 1,000. Its reliable
disk buffer keeps what a crash of the process would lose; it does not sync, has no acknowledgement
on its socket, and does not sign.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks import sink

_SYSLOG_NG = """\
@version: {version}
options {{ stats-freq(0); log-msg-size(65536); }};
source s {{
  unix-stream(
    "{folder}/in.sock" flags(no-parse) max-connections(1) log-iw-size(10000) log-fetch-limit(1000)
  );
}};
destination d {{
  http(
    url("{url}") method("POST") headers("Content-Type: application/json")
    batch-lines(1000) batch-timeout(1000) body-prefix("[") delimiter(",") body-suffix("]") body("$MSG")
    disk-buffer(reliable(yes) disk-buf-size(1073741824) mem-buf-size(16777216) dir("{folder}"))
  );
}};
log {{ source(s); destination(d); flags(flow-control); }};
"""


def has_syslog_ng() -> bool:
    """Say whether syslog-ng is installed, with its HTTP destination (Debian: syslog-ng-core, syslog-ng-mod-http)."""
    return shutil.which("syslog-ng") is not None and "http" in _about().partition("Available-Modules:")[2]


@contextlib.contextmanager
def syslog_ng(folder: Path) -> Iterator[tuple[int, Path]]:
    """Run syslog-ng in a folder of its own; yields its process id and the socket that takes lines."""
    config = folder / "syslog-ng.conf"
    version = _about().partition("Config version: ")[2].split()[0]
    config.write_text(_SYSLOG_NG.format(version=version, folder=folder, url=sink.URL), encoding="utf-8")
    files = ["-R", str(folder / "persist"), "-p", str(folder / "pid"), "-c", str(folder / "control")]
    with subprocess.Popen(["syslog-ng", "-F", "-f", str(config), *files]) as process:
        try:
            while not (folder / "in.sock").exists():
                if process.poll() is not None:
                    raise RuntimeError(f"syslog-ng ended with {process.returncode}")
                time.sleep(0.05)
            yield process.pid, folder / "in.sock"
        finally:
            process.terminate()


def _about() -> str:
    return subprocess.run(["syslog-ng", "-V"], capture_output=True, text=True, check=True).stdout
