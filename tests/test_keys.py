"""Key files: which are read, and what is said about the others."""

from __future__ import annotations

import contextlib
import os
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from forwarder import keys
from forwarder.errors import SigningKeyError

FORMATS = {"PKCS #8": PrivateFormat.PKCS8, "PKCS #1": PrivateFormat.TraditionalOpenSSL}
FILE = Path("/etc/forwarder/key.pem")


# One key of each length for the whole run.
generated = cache(rsa.generate_private_key)


def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return generated(65537, bits)


Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | dsa.DSAPrivateKey


def pem(key: Private, form: PrivateFormat = PrivateFormat.PKCS8, passphrase: str | None = None) -> bytes:
    encryption: serialization.KeySerializationEncryption = NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase.encode())
    return key.private_bytes(Encoding.PEM, form, encryption)


@cache
def certificate(key: rsa.RSAPrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "signing")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + timedelta(days=1))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def write(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    file = folder / "key.pem"
    file.write_bytes(content)
    file.chmod(mode)
    return file


@contextlib.contextmanager
def refused(problem: str, command: str) -> Iterator[None]:
    """Expect an error that says `problem` and whose hint holds `command`."""
    with pytest.raises(SigningKeyError, match=problem) as caught:
        yield
    assert command in caught.value.hint
    assert caught.value.exit_code == 78


# --- files -------------------------------------------------------------------------------------


def test_a_key_that_others_can_reach_is_refused(tmp_path: Path) -> None:
    """A key is read as every secret is: the mode decides, and the hint mends it."""
    assert keys.read(write(tmp_path, b"x", 0o440), secret=True) == b"x"
    file = write(tmp_path, b"x", 0o604)
    with refused(f"{file}: its mode is 0604", f"chmod 600 {file}"):
        keys.read(file, secret=True)


def test_a_public_key_may_be_read_by_everybody(tmp_path: Path) -> None:
    """The mode of a public key is of no interest."""
    assert keys.read(write(tmp_path, b"x", 0o644), secret=False) == b"x"


def test_a_missing_key_is_answered_with_the_command_that_makes_one(tmp_path: Path) -> None:
    """The hint can be pasted, also where the path needs quoting."""
    file = tmp_path / "my key.pem"
    with refused("there is no such file", f"forwarder keys generate '{file}'"):
        keys.read(file, secret=True)
    with refused("there is no such file", f"ls -l {tmp_path}"):
        keys.read(file, secret=False)


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_an_empty_file_is_refused(tmp_path: Path, content: bytes) -> None:
    """White space alone counts as nothing."""
    with refused("is empty", f"forwarder keys generate {tmp_path}/rsa-key.pem"):
        keys.read(write(tmp_path, content), secret=True)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    """A mounted secret is a folder with a file in it; naming the folder is an easy mistake."""
    with refused("is a folder", f"ls -l {tmp_path}"):
        keys.read(tmp_path, secret=True)


def test_a_named_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    """The daemon must not hang at its start."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    with refused("not a regular file", "name the file itself"):
        keys.read(tmp_path / "pipe", secret=True)


def test_a_long_file_is_not_a_key(tmp_path: Path) -> None:
    """What cannot be a key is not read to its end."""
    with refused("larger than 64 KiB", "head -c"):
        keys.read(write(tmp_path, b"x" * 100_000), secret=True)


def test_a_path_that_the_system_refuses_is_told_with_its_own_words(tmp_path: Path) -> None:
    """No error of the system gets through as a traceback."""
    with refused("File name too long", "ls -l"):
        keys.read(tmp_path / ("x" * 300), secret=True)
    with refused("null", "ls -l"):
        keys.read(Path("a\0b"), secret=True)


# --- private PEM -------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("passphrase", [None, "correct horse"])
def test_both_kinds_of_pem_are_read(form: PrivateFormat, passphrase: str | None) -> None:
    """PKCS #8 and PKCS #1, encrypted or not; a passphrase for a plain key does no harm."""
    text = pem(rsa_key(), form, passphrase)
    assert keys.private_from_pem(text, FILE, "correct horse").private_numbers() == rsa_key().private_numbers()


def test_a_key_is_found_beside_its_certificate() -> None:
    """A file with the chain and the key is common; the key in it is used."""
    text = certificate(rsa_key()) + pem(rsa_key())
    assert keys.private_from_pem(text, FILE, None).key_size == 2048


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
def test_an_encrypted_key_needs_its_passphrase(form: PrivateFormat) -> None:
    """The hint names the setting; a wrong passphrase is told apart from none."""
    text = pem(rsa_key(), form, "correct horse")
    with refused(f"{FILE}: is encrypted", "signing.passphrase_file"):
        keys.private_from_pem(text, FILE, None)
    for wrong in ("wrong", ""):
        with refused("passphrase is wrong", f"openssl pkey -noout -in {FILE}"):
            keys.private_from_pem(text, FILE, wrong)


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        (ec.generate_private_key(ec.SECP256R1()), r"an EC key \(secp256r1\)"),
        (ed25519.Ed25519PrivateKey.generate(), "a key of type Ed25519"),
        (dsa.generate_private_key(1024), "a key of type DSA"),
    ],
)
def test_only_rsa_keys_are_taken(key: Private, kind: str) -> None:
    """The Event API knows RS256, RS384 and RS512 only."""
    with refused(f"is {kind}; the Event API takes RSA", "forwarder keys generate /etc/forwarder/rsa-key.pem"):
        keys.private_from_pem(pem(key), FILE, None)
    assert not isinstance(key, rsa.RSAPrivateKey)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with refused(f"is {kind}", "forwarder keys generate"):
        keys.public_from_pem(public, "public.pem")


def test_a_short_key_is_refused() -> None:
    """RFC 7518 §3.3 demands 2048 bits."""
    with refused("1024 bits are too short", "forwarder keys generate"):
        keys.private_from_pem(pem(rsa_key(1024)), FILE, None)
    public = rsa_key(1024).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with refused("1024 bits are too short", "forwarder keys generate"):
        keys.public_from_pem(public, "public.pem")


SPKI = rsa_key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
PKCS1 = rsa_key().public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1)


@pytest.mark.parametrize(
    ("content", "problem", "command"),
    [
        (SPKI, "holds a public key, but signing needs the private", "forwarder keys generate"),
        (PKCS1, "holds a public key", "forwarder keys generate"),
        (b"ssh-rsa AAAAB3NzaC1yc2E= me\n", "holds a public key", "forwarder keys generate"),
        (certificate(rsa_key()), "holds a certificate", "forwarder keys generate"),
        (b"-----BEGIN X-----\n-----END X-----\n", "holds a PEM block 'X'", "forwarder keys generate"),
        (pem(rsa_key()) + pem(rsa_key()), "holds 2 private keys", "keep the one"),
        (pem(rsa_key())[:800], "the key is damaged", "forwarder keys generate"),
        (pem(rsa_key()).replace(b"MII", b"AAA"), "the key is damaged", "forwarder keys generate"),
        (pem(rsa_key(), PrivateFormat.OpenSSH), "OpenSSH's own format", f"ssh-keygen -p -m PKCS8 -f {FILE}"),
        (b"\x30\x82\x01\x02", "looks like DER", f"openssl pkey -inform DER -in {FILE}"),
        (b"secret", "neither PEM nor a JWK", "forwarder keys generate"),
        (b"\xff\xfe\x00", "neither PEM nor a JWK", "forwarder keys generate"),
    ],
)
def test_what_is_no_private_key_is_named(content: bytes, problem: str, command: str) -> None:
    """The message says what the file holds instead, the hint what to do."""
    with refused(problem, command):
        keys.private_from_pem(content, FILE, None)


def test_an_algorithm_that_nobody_knows_is_refused() -> None:
    """A key whose kind the library does not support is refused like every other that is not RSA."""
    # PKCS #8 with the algorithm 1.2.3.4.
    body = b64encode(bytes.fromhex("300e 020100 3005 0603 2a0304 0402 0000")).decode()
    with refused(f"{FILE}: .*1.2.3.4", "forwarder keys generate"):
        keys.private_from_pem(f"-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n".encode(), FILE, None)


def test_the_suggested_conversion_of_an_openssh_key_works(tmp_path: Path) -> None:
    """After the command in the hint, the same file is read."""
    file = write(tmp_path, pem(rsa_key(), PrivateFormat.OpenSSH))
    try:
        subprocess.run(
            ["ssh-keygen", "-p", "-m", "PKCS8", "-P", "", "-N", "", "-f", file], check=True, capture_output=True
        )
    except FileNotFoundError:
        pytest.skip("ssh-keygen is not installed")
    assert keys.private_from_pem(file.read_bytes(), file, None).key_size == 2048


# --- public PEM --------------------------------------------------------------------------------


def test_public_keys_are_read_from_each_kind_of_pem() -> None:
    """SPKI, PKCS #1 and certificates, several in one text; other blocks are passed over."""
    text = SPKI + PKCS1 + b"-----BEGIN X-----\n-----END X-----\n" + certificate(rsa_key())
    found = keys.public_from_pem(text, "public.pem")
    assert [key.public_numbers() for key in found] == [rsa_key().public_key().public_numbers()] * 3


@pytest.mark.parametrize(
    ("content", "problem", "command"),
    [
        (pem(rsa_key()), "public.pem: holds a private key", "forwarder keys show public.pem"),
        (b"secret", "holds no public key", "PEM"),
        (SPKI.replace(b"MII", b"AAA"), "the public key is damaged", "copy it again"),
        (certificate(rsa_key()).replace(b"MII", b"AAA"), "the certificate is damaged", "copy it again"),
    ],
)
def test_what_is_no_public_key_is_named(content: bytes, problem: str, command: str) -> None:
    """A private key is not taken where its public half is enough."""
    with refused(problem, command):
        keys.public_from_pem(content, "public.pem")
