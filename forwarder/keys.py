"""Read key files, and refuse unusable ones with the reason and a remedy.

A private key is read like any other secret (see `files`). Every error is a SigningKeyError that names the
file and has a hint, where possible with a command to run.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from forwarder import files
from forwarder.errors import FileError, SigningKeyError

# RFC 7518 §3.3: a key of 2048 bits or larger MUST be used with RS256, RS384 and RS512.
MIN_BITS: Final = 2048
# A key of 16384 bits takes 13 KB as PEM, so a longer file is not a key.
_MAX_FILE_BYTES: Final = 64 * 1024

_block = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)


def read(file: Path, *, secret: bool) -> bytes:
    """Return the content of a key file. Raises SigningKeyError, for a secret also if others could read or change it."""
    try:
        data = files.read(file, _MAX_FILE_BYTES, secret=secret)
    except FileError as error:
        hint = f"forwarder keys generate {_quoted(file)}" if secret and error.is_missing else error.hint
        raise SigningKeyError(error.message, hint=hint) from None
    if not data.strip():
        raise SigningKeyError(f"{file}: is empty", hint=_make_another(file))
    return data


def is_json(data: bytes) -> bool:
    """Return whether a key is written as JSON (JWK, JWKS) rather than as PEM."""
    return data.lstrip()[:1] in (b"{", b"[")


def is_private_pem(data: bytes) -> bool:
    """Return whether PEM text contains a private key of any kind, possibly among other blocks."""
    return any(label.endswith(b"PRIVATE KEY") for label in _labels(data))


def private_from_pem(data: bytes, file: Path, passphrase: str | None) -> rsa.RSAPrivateKey:
    """Return the single RSA key in PEM text (PKCS #8 or PKCS #1). Raises SigningKeyError."""
    blocks = [match for match in _block.finditer(data) if match[1].endswith(b"PRIVATE KEY")]
    if not blocks:
        raise _not_private(data, file)
    if len(blocks) > 1:
        raise SigningKeyError(f"{file}: holds {len(blocks)} private keys", hint="keep the one to sign with in a file")
    block, label = blocks[0][0], blocks[0][1].decode()
    if label == "OPENSSH PRIVATE KEY":
        raise SigningKeyError(
            f"{file}: is in OpenSSH's own format", hint=f"rewrite it as PEM: ssh-keygen -p -m PKCS8 -f {_quoted(file)}"
        )
    encrypted = label.startswith("ENCRYPTED") or b"Proc-Type: 4,ENCRYPTED" in block
    if encrypted and passphrase is None:
        raise SigningKeyError(
            f"{file}: is encrypted, and there is no passphrase",
            hint="name the file that holds it: signing.passphrase_file, or --passphrase-file",
        )
    password = passphrase.encode() if encrypted and passphrase is not None else None
    try:
        key = serialization.load_pem_private_key(block, password)
    except UnsupportedAlgorithm as error:
        raise SigningKeyError(f"{file}: {error}", hint=_make_another(file)) from None
    except (ValueError, TypeError):
        raise _unreadable(file, encrypted=encrypted) from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise wrong_kind(_kind(key), file)
    check_bits(key.key_size, file)
    return key


def public_from_pem(data: bytes, source: str) -> list[rsa.RSAPublicKey]:
    """Return the RSA keys in PEM text: SPKI, PKCS #1 or certificates. Raises SigningKeyError."""
    if is_private_pem(data):
        raise SigningKeyError(
            f"{source}: holds a private key where the public half is enough",
            hint=f"forwarder keys show {_quoted(source)} > public.pem",
        )
    found: list[rsa.RSAPublicKey] = []
    for match in _block.finditer(data):
        label = match[1].decode()
        try:
            key: object
            if label == "CERTIFICATE":
                key = x509.load_pem_x509_certificate(match[0]).public_key()
            elif label in {"PUBLIC KEY", "RSA PUBLIC KEY"}:
                key = serialization.load_pem_public_key(match[0])
            else:
                continue
        except (ValueError, UnsupportedAlgorithm) as error:
            raise SigningKeyError(f"{source}: the {label.lower()} is damaged: {error}", hint="copy it again") from None
        if not isinstance(key, rsa.RSAPublicKey):
            raise wrong_kind(_kind(key), source)
        check_bits(key.key_size, source)
        found.append(key)
    if not found:
        raise SigningKeyError(
            f"{source}: holds no public key", hint="give PEM (a public key or a certificate), a JWK or a JWKS"
        )
    return found


def check_bits(bits: int, source: Path | str) -> None:
    """Raise SigningKeyError for a key that is too short."""
    if bits < MIN_BITS:
        raise SigningKeyError(
            f"{source}: {bits} bits are too short, RFC 7518 §3.3 demands at least {MIN_BITS}",
            hint=_make_another(source),
        )


def wrong_kind(kind: str, source: Path | str) -> SigningKeyError:
    """Return the error for a key that is not an RSA key."""
    return SigningKeyError(f"{source}: is {kind}; the Event API takes RSA keys only", hint=_make_another(source))


def _labels(data: bytes) -> list[bytes]:
    return [match[1] for match in _block.finditer(data)]


def _not_private(data: bytes, file: Path) -> SigningKeyError:
    labels = _labels(data)
    if b"CERTIFICATE" in labels:
        found = "holds a certificate"
    elif b"PUBLIC KEY" in labels or b"RSA PUBLIC KEY" in labels or data.startswith(b"ssh-"):
        found = "holds a public key"
    elif labels:
        found = f"holds a PEM block {labels[0].decode()!r}"
    elif b"-----BEGIN" in data:
        return _unreadable(file, encrypted=False)
    elif data[:1] == b"\x30":
        # Every DER key begins with the tag of an ASN.1 SEQUENCE.
        command = f"openssl pkey -inform DER -in {_quoted(file)} -out key.pem"
        return SigningKeyError(f"{file}: looks like DER, not PEM", hint=f"convert it: {command}")
    else:
        return SigningKeyError(f"{file}: is neither PEM nor a JWK", hint=_make_another(file))
    return SigningKeyError(
        f"{file}: {found}, but signing needs the private key",
        hint=f"name the file of the private key, or make one: {_make_another(file)}",
    )


def _unreadable(file: Path, *, encrypted: bool) -> SigningKeyError:
    if encrypted:
        return SigningKeyError(
            f"{file}: the passphrase is wrong, or the key is damaged",
            hint=f"try the passphrase by hand: openssl pkey -noout -in {_quoted(file)}",
        )
    return SigningKeyError(
        f"{file}: the key is damaged", hint=f"restore it from where it was made, or: {_make_another(file)}"
    )


def _kind(key: object) -> str:
    if isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey):
        return f"an EC key ({key.curve.name})"
    name = type(key).__name__.replace("PrivateKey", "").replace("PublicKey", "").strip("_")
    return f"a key of type {name}"


def _make_another(file: Path | str) -> str:
    """Return the command that makes a new key in the same folder, without touching the existing file."""
    return f"forwarder keys generate {_quoted(Path(file).with_name('rsa-key.pem'))}"


def _quoted(file: Path | str) -> str:
    return shlex.quote(str(file))
