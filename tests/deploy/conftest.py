"""What is made once for all tests of the deployment: the image, the packages, a machine with the service.

What takes longest, and needs nothing of the project, is begun when the tests begin, beside those that come first.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest

from forwarder import __version__
from tests.deploy.engine import IMAGE, PROJECT, Engine, base_archive, why_not
from tests.deploy.machine import bootstrap, machine_archive, missing
from tests.deploy.site import Site, install, prepare

_beside = ThreadPoolExecutor(1, thread_name_prefix="archives")


@cache
def _begun(archive: Callable[[], Path]) -> Future[Path]:
    """Begin to make an archive, if that was not done before."""
    return _beside.submit(archive)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin with the archives that tests will want."""
    wanted = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    if "engine" in wanted and not why_not():
        _begun(base_archive)
    if "site" in wanted and missing() is None:
        _begun(machine_archive)


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """A store that holds the image."""
    _begun(base_archive).result()
    with Engine() as engine:
        engine.make_base()
        engine.build(PROJECT, IMAGE, f"--build-arg=VERSION={__version__}", "--build-arg=REVISION=0123abc")
        yield engine


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the source distribution, and the wheel from what is in it; return the folder with both, and `source`."""
    folder = tmp_path_factory.mktemp("built")
    # Without what was left behind by earlier builds and runs: it would find its way in.
    leftovers = shutil.ignore_patterns(".git", ".venv", "*cache*", ".coverage*", ".hypothesis", "*.egg-info", "build")
    shutil.copytree(PROJECT, folder / "source", ignore=leftovers)
    done = subprocess.run(
        [sys.executable, "-m", "build", "--outdir", folder, folder / "source"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="session")
def wheel(built: Path) -> Path:
    return built / f"event_forwarder-{__version__}-py3-none-any.whl"


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Iterator[Site]:
    """Return a running machine on which the commands of systemd/README.md were followed."""
    if reason := missing():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("machine")
    root = folder / "root"
    _begun(machine_archive).result()
    bootstrap(root)
    try:
        prepare(root, wheel)
        with Site(root) as machine:
            install(machine)
            yield machine
    finally:
        shutil.rmtree(root)
