"""`forwarder keys`: make a signing key, and print its public half."""

from __future__ import annotations

import contextlib
import os
import shlex
from pathlib import Path

import click

from forwarder import keys
from forwarder.cli.options import config_option
from forwarder.cli.whereabouts import CREDENTIALS
from forwarder.config import SigningConfig, load, secret
from forwarder.errors import InputOutputError
from forwarder.signing import Format, PublicKey, Signer, generate_key, holds_private_key

_DEFAULT_FILE = Path("key.pem")


@click.group("keys")
def keys_group() -> None:
    """Make a signing key, or show its public half."""


@keys_group.command("generate")
@click.argument("file", type=click.Path(path_type=Path), default=_DEFAULT_FILE)
@click.option("--bits", type=click.Choice(["2048", "3072", "4096"]), default="2048", show_default=True)
@click.option("--force", is_flag=True, help="Replace FILE if it exists. The key in it is lost.")
def generate_command(file: Path, bits: str, force: bool) -> None:
    """Write a new RSA key to FILE, readable by you only.  [default: key.pem]

    The length determines the algorithm: 2048 bits RS256, 3072 RS384, 4096 RS512.
    """
    try:
        _write(file, int(bits), force=force)
    except FileExistsError:
        raise InputOutputError(
            f"{file} exists", hint="choose another FILE; --force replaces it, and the key in it is lost"
        ) from None
    except FileNotFoundError:
        folder = shlex.quote(str(file.parent))
        raise InputOutputError(f"the folder of {file} does not exist", hint=f"mkdir -p {folder}") from None
    except OSError as error:
        raise InputOutputError(f"{file} cannot be written: {error.strerror}", hint="choose another FILE") from None
    signer = Signer.load(file)
    click.echo(
        f"Wrote {file}: RSA, {signer.bits} bits, signs with {signer.alg}, mode 0600.\n"
        "Next, give its public half to 10Duke's integration support:\n"
        f"  forwarder keys show {shlex.quote(str(file))}"
    )


@keys_group.command("show")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@config_option
@click.option("--destination", metavar="NAME", help="Show the key that the configuration names for this destination.")
@click.option("--format", type=click.Choice(["pem", "jwk", "jwks"]), default="pem", show_default=True)
@click.option("--passphrase-file", type=click.Path(path_type=Path), help="The passphrase of an encrypted key.")
def show_command(
    file: Path | None,
    config_path: Path | None,
    destination: str | None,
    format: Format,  # noqa: A002 - the name of the option
    passphrase_file: Path | None,
) -> None:
    """Print the public half of the key in FILE, or of the one that the configuration names.

    The private half is never printed.
    """
    if file is None:
        click.echo(_configured(config_path, destination, passphrase_file).public(format), nl=False)
        return
    if config_path is not None or destination is not None:
        raise click.UsageError("give either FILE or the configuration (--config, --destination), not both")
    click.echo(_public(file, passphrase_file, format), nl=False)


def _public(file: Path, passphrase_file: Path | None, format: Format) -> str:  # noqa: A002 - as above
    """Return the public half of a key file, private or public."""
    data = keys.read(file, secret=False)
    if not holds_private_key(data):
        return PublicKey.parse(data, str(file))[0].export(format)
    return Signer.load(file, passphrase=secret(passphrase_file) if passphrase_file else None).public(format)


def _configured(config_path: Path | None, destination: str | None, passphrase_file: Path | None) -> Signer:
    signing = _signing(config_path, destination)
    passphrase = passphrase_file or signing.passphrase_file
    return Signer.load(
        signing.key_file,
        passphrase=secret(passphrase) if passphrase else None,
        alg=signing.alg,
        kid=signing.kid,
    )


def _signing(config_path: Path | None, destination: str | None) -> SigningConfig:
    destinations = load(config_path, {**CREDENTIALS, **os.environ}).destinations
    names = ", ".join(destinations)
    if destination is not None and destination not in destinations:
        raise click.UsageError(f"there is no destination {destination!r}, only: {names}")
    if destination is None and len(destinations) > 1:
        raise click.UsageError(f"there are several destinations: say which with --destination ({names})")
    return destinations[destination or next(iter(destinations))].signing


def _write(file: Path, bits: int, *, force: bool) -> None:
    """Write a new key, with mode 0600 from the very beginning. Raises OSError.

    An existing file is replaced only when the new one is complete, so that it never holds half a key.
    """
    if force and file.is_dir():
        raise InputOutputError(f"{file} is a folder", hint=f"name a file in it: {shlex.quote(str(file / 'key.pem'))}")
    target = file.with_name(f".{file.name}.{os.getpid()}") if force else file
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as stream:  # noqa: PTH123 - a descriptor, not a path
            stream.write(generate_key(bits))
            stream.flush()
            os.fsync(descriptor)
        if force:
            target.replace(file)
    except BaseException:
        with contextlib.suppress(OSError):
            target.unlink()
        raise
