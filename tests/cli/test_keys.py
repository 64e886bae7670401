"""`forwarder keys`: a new key on disk, and the public half of one that is there."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from joserfc.jwk import RSAKey

from forwarder.cli.root import cli
from forwarder.signing import Signer, generate_key

CONFIG = """
queue: {{path: {folder}/queue.db}}
destinations:
  main:
    url: https://example.com/put
    signing: {{key_file: {folder}/key.pem, alg: RS512, kid: mine}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["keys", *map(str, arguments)])


def mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def test_a_new_key_is_for_its_owner_only(folder: Path) -> None:
    """The file says nothing to others, and the output what to do next."""
    result = run("generate")
    assert result.exit_code == 0
    assert mode(folder / "key.pem") == 0o600
    assert Signer.load(folder / "key.pem").bits == 2048
    assert "Wrote key.pem: RSA, 2048 bits, signs with RS256" in result.stdout
    assert result.stdout.endswith("integration support:\n  forwarder keys show key.pem\n")


@pytest.mark.parametrize(("bits", "alg"), [("3072", "RS384"), pytest.param("4096", "RS512", marks=pytest.mark.slow)])
def test_the_length_can_be_chosen(folder: Path, bits: str, alg: str) -> None:
    """The output names the algorithm that follows from it; a path with a space is quoted for the shell."""
    result = run("generate", "my key.pem", "--bits", bits)
    assert Signer.load(folder / "my key.pem").alg == alg
    assert f"{bits} bits, signs with {alg}" in result.stdout
    assert "forwarder keys show 'my key.pem'" in result.stdout


def test_another_length_is_a_usage_error(folder: Path) -> None:
    """The three that are right are listed."""
    result = run("generate", "--bits", "1024")
    assert result.exit_code == 2
    assert "'2048', '3072', '4096'" in result.stderr
    assert not list(folder.iterdir())


def test_the_mode_holds_from_the_first_instant(folder: Path) -> None:
    """A lax umask does not open the file."""
    before = os.umask(0)
    try:
        run("generate")
        run("generate", "--force")
    finally:
        os.umask(before)
    assert mode(folder / "key.pem") == 0o600


def test_a_key_is_not_overwritten_by_mistake(folder: Path) -> None:
    """Exit code 74, and the old key is untouched; --force replaces it, also where its mode was lax."""
    file = folder / "key.pem"
    file.write_text("old")
    file.chmod(0o644)
    result = run("generate")
    assert result.exit_code == 74
    assert "key.pem exists" in result.stderr
    assert "--force" in result.stderr
    assert file.read_text() == "old"
    assert run("generate", "--force").exit_code == 0
    assert mode(file) == 0o600
    assert Signer.load(file).bits == 2048
    assert list(folder.iterdir()) == [file]


@pytest.mark.parametrize(
    ("arguments", "problem", "hint"),
    [
        (["new/key.pem"], "the folder of new/key.pem does not exist", "mkdir -p new"),
        (["."], ". exists", "another FILE"),
        ([".", "--force"], ". is a folder", "key.pem"),
        (["/dev/null/key.pem"], "Not a directory", "another FILE"),
    ],
)
def test_a_place_that_cannot_be_written_is_told(folder: Path, arguments: list[str], problem: str, hint: str) -> None:
    """Exit code 74, the reason and the way out; nothing is left behind."""
    result = run("generate", *arguments)
    assert result.exit_code == 74
    assert problem in result.stderr
    assert hint in result.stderr
    assert list(folder.iterdir()) == []


def test_a_failure_leaves_no_half_key(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interruption while the key is made removes the file that was opened for it."""

    def interrupted(_bits: int) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr("forwarder.cli.keys.generate_key", interrupted)
    assert run("generate").exit_code == 130
    assert run("generate", "--force").exit_code == 130
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("form", ["pem", "jwk", "jwks"])
def test_the_public_half_is_shown(folder: Path, form: Any) -> None:
    """In each form, and nothing private with it."""
    run("generate")
    result = run("show", "key.pem", "--format", form)
    assert result.exit_code == 0
    assert result.stdout == Signer.load(folder / "key.pem").public(form)
    assert "PRIVATE" not in result.stdout
    assert '"d"' not in result.stdout


def test_a_public_key_can_be_rewritten_in_another_form(folder: Path) -> None:
    """A file that holds the public half alone is taken as well."""
    run("generate")
    (folder / "public.pem").write_text(run("show", "key.pem").stdout)
    assert run("show", "public.pem", "--format", "jwk").stdout == run("show", "key.pem", "--format", "jwk").stdout
    (folder / "public.jwk").write_text(run("show", "key.pem", "--format", "jwk").stdout)
    assert run("show", "public.jwk").stdout == run("show", "key.pem").stdout


def test_an_encrypted_key_needs_its_passphrase_file(folder: Path) -> None:
    """The error names the option."""
    file, passphrase = folder / "key.pem", folder / "passphrase"
    file.write_bytes(RSAKey.import_key(generate_key(2048)).as_pem(private=True, password="correct horse"))
    passphrase.write_text("correct horse\n")
    file.chmod(0o600)
    passphrase.chmod(0o600)
    assert "BEGIN PUBLIC KEY" in run("show", file, "--passphrase-file", passphrase).stdout
    result = run("show", file)
    assert result.exit_code == 78
    assert "--passphrase-file" in result.stderr


def test_a_key_that_cannot_be_used_is_not_shown(folder: Path) -> None:
    """The rules are those of the daemon: what cannot sign is not handed out."""
    run("generate")
    (folder / "key.pem").chmod(0o644)
    result = run("show", "key.pem")
    assert (result.exit_code, result.stdout) == (78, "")
    assert "chmod 600 key.pem" in result.stderr


def test_the_key_of_the_configuration_is_shown(folder: Path) -> None:
    """With the kid and the algorithm that the configuration gives it."""
    run("generate")
    config = folder / "forwarder.yaml"
    config.write_text(CONFIG.format(folder=folder))
    result = run("show", "-c", config, "--format", "jwk")
    assert result.exit_code == 0, result.stderr
    jwk = json.loads(result.stdout)
    assert (jwk["kid"], jwk["alg"]) == ("mine", "RS512")
    assert run("show", "-c", config, "--destination", "main", "--format", "jwk").stdout == result.stdout


def test_the_key_in_a_credential_is_shown(folder: Path) -> None:
    """By hand, ${CREDENTIALS_DIRECTORY} is that of forwarder.service, as it is for `check`."""
    config = folder / "forwarder.yaml"
    key_file = "${{CREDENTIALS_DIRECTORY}}/no-such-key.pem"
    config.write_text(CONFIG.replace("{folder}/key.pem", f"'{key_file}'").format(folder=folder))
    result = run("show", "-c", config)
    assert result.exit_code == 78
    assert "/run/credentials/forwarder.service/no-such-key.pem: there is no such file" in result.stderr


def test_one_of_several_destinations_must_be_named(folder: Path) -> None:
    """The error lists them, and so does the one for a name that is none of them."""
    run("generate")
    config = folder / "forwarder.yaml"
    other = CONFIG.partition("  main:")[2].replace("mine", "other")
    config.write_text((CONFIG + "  other:" + other).format(folder=folder))
    for arguments in ([], ["--destination", "mian"]):
        result = run("show", "-c", config, *arguments)
        assert result.exit_code == 2
        assert "main, other" in result.stderr
    result = run("show", "-c", config, "--destination", "other", "--format", "jwk")
    assert json.loads(result.stdout)["kid"] == "other"


def test_a_file_and_a_configuration_exclude_each_other(folder: Path) -> None:
    """It would not be clear whose key is meant."""
    for arguments in (["-c", "forwarder.yaml"], ["--destination", "main"]):
        result = run("show", "key.pem", *arguments)
        assert result.exit_code == 2
        assert "not both" in result.stderr
