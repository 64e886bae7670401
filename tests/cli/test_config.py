"""`forwarder config`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from forwarder.cli.config import config_group
from forwarder.config import load, starter
from forwarder.errors import ConfigError, InputOutputError

MINIMAL = "destinations: {main: {url: http://example.com/put, signing: {key_file: /k}, headers: {X-Key: hunter2}}}\n"


def run(*args: str | Path, **environ: str) -> Result:
    result = CliRunner().invoke(config_group, list(map(str, args)), env=environ)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_show_prints_the_effective_configuration(tmp_path: Path) -> None:
    """Defaults and the environment are in it, secrets are masked, and it loads again; warnings go to stderr."""
    file = tmp_path / "forwarder.yaml"
    file.write_text(MINIMAL)
    result = run("show", "-c", file, FORWARDER_QUEUE__MAX_BYTES="8GiB")
    assert result.exit_code == 0
    assert "max_bytes: 8GiB" in result.stdout
    assert "hunter2" not in result.output
    assert result.stderr.startswith("warning: destinations.main.url: events travel to example.com unencrypted")
    file.write_text(result.stdout)
    assert load(file, {}).queue.max_bytes == 8 * 1024**3


def test_show_knows_where_the_service_has_its_credentials(tmp_path: Path) -> None:
    """By hand, ${CREDENTIALS_DIRECTORY} is that of forwarder.service, as it is for `check`."""
    file = tmp_path / "forwarder.yaml"
    file.write_text(MINIMAL.replace("/k}", "'${CREDENTIALS_DIRECTORY}/k'}"))
    assert "key_file: /run/credentials/forwarder.service/k\n" in run("show", "-c", file).stdout


def test_show_takes_the_file_from_the_environment(tmp_path: Path) -> None:
    """Without -c it is $FORWARDER_CONFIG."""
    file = tmp_path / "other.yaml"
    file.write_text(MINIMAL)
    assert "http://example.com/put" in run("show", FORWARDER_CONFIG=str(file)).stdout


def test_show_of_a_wrong_configuration_ends_with_its_problems(tmp_path: Path) -> None:
    """Mistakes are the answer, and the exit code is that of the configuration."""
    file = tmp_path / "forwarder.yaml"
    file.write_text("queue: {max_byte: 1}\n" + MINIMAL)
    with pytest.raises(ConfigError, match="Did you mean `max_bytes`"):
        run("show", "--config", file)


def test_schema_prints_json_schema() -> None:
    """The schema is JSON that an editor takes."""
    schema = json.loads(run("schema").stdout)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert "destinations" in schema["properties"]


def test_init_writes_the_starter_into_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a FILE it is forwarder.yaml here, readable for the daemon's user; the next step is printed."""
    monkeypatch.chdir(tmp_path)
    result = run("init")
    file = tmp_path / "forwarder.yaml"
    assert file.read_text() == starter()
    assert file.stat().st_mode & 0o777 == 0o644
    assert "forwarder check -c forwarder.yaml" in result.stdout


def test_init_replaces_a_file_only_when_told_to(tmp_path: Path) -> None:
    """What stands in a file is not lost by mistake."""
    file = tmp_path / "mine.yaml"
    file.write_text("mine")
    with pytest.raises(InputOutputError, match="exists") as caught:
        run("init", file)
    assert (caught.value.exit_code, "--force" in caught.value.hint) == (74, True)
    assert file.read_text() == "mine"
    run("init", file, "--force")
    assert file.read_text() == starter()


def test_init_into_a_folder_that_is_not_there_names_it(tmp_path: Path) -> None:
    """The hint is the command that makes the folder."""
    with pytest.raises(InputOutputError) as caught:
        run("init", tmp_path / "no" / "forwarder.yaml")
    assert caught.value.hint == f"mkdir -p {tmp_path / 'no'}"


def test_init_over_a_folder_is_an_error_of_the_system(tmp_path: Path) -> None:
    """What cannot be written is said in the system's words."""
    with pytest.raises(InputOutputError, match="Is a directory"):
        run("init", tmp_path, "--force")


def test_init_writes_to_a_device_without_changing_its_mode() -> None:
    """`config init --force /dev/null` leaves the device as it is."""
    before = Path("/dev/null").stat().st_mode
    run("init", "/dev/null", "--force")
    assert Path("/dev/null").stat().st_mode == before
