"""What is built and installed: the wheel and the source distribution have what they need, and no more."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from forwarder import __version__

PROJECT = Path(__file__).parents[2]


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    """Every module, the SQL, the descriptions, the page, the marker for type checkers; no tests, no configuration."""
    kinds = ("*.py", "*.sql", "*.json", "py.typed")
    package = {str(file.relative_to(PROJECT)) for kind in kinds for file in (PROJECT / "forwarder").rglob(kind)}
    page = {str(file.relative_to(PROJECT)) for file in (PROJECT / "forwarder/admin/page").iterdir()}
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        (entry_points,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        assert "forwarder = forwarder.__main__:main" in archive.read(entry_points).decode()
    assert names == package | page
    assert "forwarder/admin/page/index.html" in names
    assert {"forwarder/py.typed", "forwarder/queue/sqlite/schema.sql", "forwarder/admin/openapi.json"} <= names


def test_the_source_distribution_holds_all_that_is_needed(built: Path) -> None:
    """To build, to read, to test, to run as a service or a container: whatever is in the project but what CI runs."""
    source, root = built / "source", f"event_forwarder-{__version__}"
    wanted = {str(file.relative_to(source)) for file in source.rglob("*") if file.is_file()}
    with tarfile.open(built / f"{root}.tar.gz") as archive:
        names = {name.removeprefix(f"{root}/") for name in archive.getnames()}
    built_on_the_way = {name for name in wanted if name.startswith("event_forwarder.egg-info/")}
    assert wanted - names - built_on_the_way == {".ci/run", ".gitignore"}
    assert not [name for name in names if "__pycache__" in name]


@pytest.mark.parametrize("installer", ["pip", pytest.param("pipx", marks=pytest.mark.system)])
def test_the_wheel_is_installed_and_used(tmp_path: Path, wheel: Path, installer: str) -> None:
    """Installed by itself, it writes a starter file that `check` takes once the key and the folders are named."""
    program = install(installer, wheel, tmp_path)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        # Elsewhere than in the project, whose modules would be found first.
        done = subprocess.run([program, *words], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    assert run("version").stdout.split()[-1] == __version__
    run("keys", "generate", "key.pem")
    run("config", "init", "forwarder.yaml")
    file = tmp_path / "forwarder.yaml"
    text = file.read_text(encoding="utf-8")
    for folder in ("/etc/forwarder", "/var/lib/forwarder", "/run/forwarder"):
        assert folder in text
        text = text.replace(folder, str(tmp_path))
    file.write_text(text, encoding="utf-8")
    assert "FAIL" not in run("check", "-c", "forwarder.yaml").stdout


def install(installer: str, wheel: Path, folder: Path) -> Path:
    """Install the wheel with `pip` into a fresh environment, or with `pipx`; return the program."""
    environment = dict(os.environ)
    words: list[list[str | Path]]
    if installer == "pip":
        words = [[sys.executable, "-m", "venv", folder / "venv"], [folder / "venv/bin/pip", "install", wheel]]
        program = folder / "venv/bin/forwarder"
    else:
        if shutil.which("pipx") is None:
            pytest.skip("needs pipx (package pipx)")
        environment |= {"PIPX_HOME": str(folder / "pipx"), "PIPX_BIN_DIR": str(folder / "bin")}
        words = [["pipx", "install", wheel]]
        program = folder / "bin/forwarder"
    for command in words:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=300, cwd=folder
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return program
