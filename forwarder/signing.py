"""Sign payloads as compact JWS (RFC 7515 §7.1), and verify them.

The algorithms are RS256, RS384 and RS512, the three that the Event API accepts. They are deterministic:
the same payload, key and header give the same bytes, so a retry sends exactly what was sent before. Signing
is work for a thread, as base64, the hash and RSA all release the interpreter lock.

PEM keys are read by `keys`, JWKs (RFC 7517) are read here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import pybase64
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey
from joserfc.jws import JWSRegistry

from forwarder import keys
from forwarder.errors import SigningKeyError, VerificationError

Format = Literal["pem", "jwk", "jwks"]

ALGORITHMS: Final = ("RS256", "RS384", "RS512")
# The longest key that can be generated within seconds.
_MAX_BITS: Final = 8192
_NOT_BASE64URL: Final = (b"+", b"/", b"=")

_models: Final = {name: JWSRegistry.algorithms[name] for name in ALGORITHMS}


class PublicKey:
    """The public half of an RSA key; `kid` and `alg` are what a JWK states about itself, or None."""

    def __init__(self, key: rsa.RSAPublicKey, *, kid: str | None = None, alg: str | None = None) -> None:
        self.key = RSAKey.import_key(key)
        self.kid = kid
        self.alg = alg
        self.bits = key.key_size

    @classmethod
    def parse(cls, text: str | bytes, source: str = "the public key") -> list[PublicKey]:
        """Return the keys of PEM text (SPKI, PKCS #1, certificates), a JWK or a JWKS.

        `source` names them in errors. Members of a JWKS that are not RSA keys for signatures are
        ignored. Raises SigningKeyError if no usable key is left.
        """
        data = text.encode() if isinstance(text, str) else text
        if keys.is_json(data):
            return _public_from_json(data, source)
        return [cls(key) for key in keys.public_from_pem(data, source)]

    @property
    def thumbprint(self) -> str:
        """The key's name in logs: RFC 7638, SHA-256, base64url."""
        return self.key.thumbprint()

    def export(self, format: Format) -> str:  # noqa: A002 - the word of the command line
        """Return the key as PEM (SPKI), JWK or JWKS, with a newline at the end."""
        if format == "pem":
            encoding, kind = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            return self.key.public_key.public_bytes(encoding, kind).decode()
        jwk = self.key.as_dict(use="sig", alg=self.alg or _usual_algorithm(self.bits), kid=self.kid or self.thumbprint)
        document = jwk if format == "jwk" else {"keys": [jwk]}
        return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"


class Signer:
    """A private key and the JWS header to use with it. May be used by several threads at once."""

    def __init__(self, key: rsa.RSAPrivateKey, alg: str, header: dict[str, str] | None = None) -> None:
        self.alg = alg
        self.bits = key.key_size
        self.header = {"alg": alg, **(header or {})}
        self._key = RSAKey.import_key(key)
        self._model = _models[alg]
        self._head = _encode(msgspec.json.encode(self.header)) + b"."
        self._public = PublicKey(key.public_key(), kid=self.header.get("kid"), alg=alg)

    @classmethod
    def load(
        cls,
        key_file: Path,
        *,
        passphrase: str | None = None,
        alg: str = "auto",
        kid: str | None = None,
        typ: str | None = None,
        cty: str | None = None,
    ) -> Signer:
        """Read an RSA private key: PKCS #8 or PKCS #1 as PEM, encrypted or not, or a JWK.

        `alg` is one of ALGORITHMS, or `auto`: the one that the JWK states, or else the usual one for the
        length of the key. Raises SigningKeyError.
        """
        if alg != "auto":
            _check_algorithm(alg, "signing.alg")
        data = keys.read(key_file, secret=True)
        stated: str | None = None
        if keys.is_json(data):
            key, stated = _private_from_json(data, key_file)
        else:
            key = keys.private_from_pem(data, key_file, passphrase)
        if stated is not None and alg not in {"auto", stated}:
            raise SigningKeyError(
                f"{key_file}: the key is for {stated} only, and signing.alg is {alg}", hint="set signing.alg to auto"
            )
        chosen = stated or _usual_algorithm(key.key_size) if alg == "auto" else alg
        extra = {"kid": kid, "typ": typ, "cty": cty}
        return cls(key, chosen, {name: value for name, value in extra.items() if value is not None})

    @property
    def thumbprint(self) -> str:
        """The key's name in logs: RFC 7638, SHA-256, base64url."""
        return self._public.thumbprint

    def public(self, format: Format) -> str:  # noqa: A002 - the word of the command line
        """Return the public half as PEM (SPKI), JWK or JWKS."""
        return self._public.export(format)

    def sign(self, parts: Iterable[bytes] | bytes) -> bytes:
        """Return a compact JWS whose payload is `parts`, joined together."""
        payload = parts if isinstance(parts, bytes) else b"".join(parts)
        signing_input = b"".join((self._head, _encode(payload)))
        return b".".join((signing_input, _encode(self._model.sign(signing_input, self._key))))


@dataclass(frozen=True, slots=True)
class VerifiedPayload:
    """The content of a JWS whose signature was found valid."""

    payload: bytes
    alg: str
    header: dict[str, Any]


class Verifier:
    """The public keys that are trusted. If a JWS has the `kid` of some of them, only these are tried."""

    def __init__(self, public_keys: Sequence[str | bytes]) -> None:
        self.keys = [key for text in public_keys for key in PublicKey.parse(text)]

    def verify(self, jws: bytes) -> VerifiedPayload:
        """Return the payload of a compact JWS; raises VerificationError."""
        first, last = jws.find(b"."), jws.rfind(b".")
        if first == last or any(sign in jws for sign in _NOT_BASE64URL):
            raise VerificationError("the body is not a compact JWS: header.payload.signature", malformed=True)
        header = _read_header(_decode(jws[:first], "header"))
        signature = _decode(jws[last + 1 :], "signature")
        self._check_signature(header, jws[:last], signature)
        return VerifiedPayload(_decode(jws[first + 1 : last], "payload"), header["alg"], header)

    def _check_signature(self, header: dict[str, Any], signing_input: bytes, signature: bytes) -> None:
        alg, kid = header["alg"], header.get("kid")
        named = [key for key in self.keys if kid is not None and key.kid == kid]
        usable = [key for key in named or self.keys if key.alg in {None, alg}]
        if not any(_models[alg].verify(signing_input, signature, key.key) for key in usable):
            raise VerificationError(f"none of {len(self.keys)} known keys has made the signature", malformed=False)


def generate_key(bits: int) -> bytes:
    """Return a new RSA private key as PEM (PKCS #8), not encrypted; raises SigningKeyError for a wrong length."""
    if not keys.MIN_BITS <= bits <= _MAX_BITS or bits % 8:
        raise SigningKeyError(
            f"a key of {bits} bits is refused: {keys.MIN_BITS} to {_MAX_BITS}, in steps of 8",
            hint="use 2048 (RS256), 3072 (RS384) or 4096 (RS512)",
        )
    return RSAKey.generate_key(bits).as_pem(private=True)


def holds_private_key(data: bytes) -> bool:
    """Return whether key text, PEM or JWK, contains a private key."""
    if not keys.is_json(data):
        return keys.is_private_pem(data)
    try:
        return "d" in msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def _usual_algorithm(bits: int) -> str:
    """Return the algorithm that is conventionally used with a key of this length."""
    return "RS256" if bits < 3072 else "RS384" if bits < 4096 else "RS512"


def _check_algorithm(alg: str, source: str) -> None:
    if alg not in ALGORITHMS:
        raise SigningKeyError(
            f"{source}: the algorithm {alg!r} is not one of {', '.join(ALGORITHMS)}",
            hint="set signing.alg to auto and use an RSA key made for RS256, RS384 or RS512",
        )


def _encode(data: bytes) -> bytes:
    return pybase64.urlsafe_b64encode(data).rstrip(b"=")


def _decode(text: bytes, part: str) -> bytes:
    """Return the bytes of base64url without padding (RFC 7515 §2)."""
    try:
        return pybase64.b64decode(b"".join((text, b"=" * (-len(text) % 4))), b"-_", validate=True)
    except ValueError:
        raise VerificationError(f"the {part} of the JWS is not base64url", malformed=True) from None


def _read_header(data: bytes) -> dict[str, Any]:
    try:
        header = msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise VerificationError("the header of the JWS is not a JSON object", malformed=True) from None
    if header.get("alg") not in ALGORITHMS:
        wanted = ", ".join(ALGORITHMS)
        raise VerificationError(f"alg is {header.get('alg')!r}, and must be one of {wanted}", malformed=True)
    if "crit" in header:
        # RFC 7515 §4.1.11: a critical extension that is not understood makes the JWS invalid.
        raise VerificationError("the JWS has critical extensions, and none is supported", malformed=True)
    return header


# --- JWK ---------------------------------------------------------------------------------------


def _private_from_json(data: bytes, file: Path) -> tuple[rsa.RSAPrivateKey, str | None]:
    """Return the key of a JWK, and the algorithm that the JWK restricts it to, if any."""
    jwk = _read_json(data, str(file))
    if "keys" in jwk:
        raise SigningKeyError(
            f"{file}: is a set of keys (JWKS), and signing needs one", hint=f"jq '.keys[0]' {file} > key.jwk"
        )
    key = _import_jwk(jwk, str(file))
    if not isinstance(key, rsa.RSAPrivateKey):
        raise SigningKeyError(
            f"{file}: is a public JWK, but signing needs the private one", hint="name the JWK that has a member d"
        )
    operations = jwk.get("key_ops", ["sign"])
    if jwk.get("use", "sig") != "sig" or not isinstance(operations, list) or "sign" not in operations:
        raise SigningKeyError(f"{file}: the JWK is not meant for signing (use, key_ops)", hint="use a key made for it")
    alg = jwk.get("alg")
    if alg is not None:
        _check_algorithm(alg, str(file))
    return key, alg


def _public_from_json(data: bytes, source: str) -> list[PublicKey]:
    document = _read_json(data, source)
    members = document.get("keys")
    if members is None:
        return [_public_from_jwk(document, source)]
    if not isinstance(members, list):
        raise SigningKeyError(f"{source}: keys is not an array", hint='give a JWKS: {"keys": [...]}')
    found = [_public_from_jwk(jwk, source) for jwk in members if _is_usable(jwk)]
    if not found:
        raise SigningKeyError(f"{source}: holds no RSA key for signatures", hint="give the JWKS of the signing key")
    return found


def _is_usable(jwk: object) -> bool:
    if not isinstance(jwk, dict) or jwk.get("kty") != "RSA" or jwk.get("use", "sig") != "sig":
        return False
    return jwk.get("alg") in (None, *ALGORITHMS)


def _public_from_jwk(jwk: dict[str, Any], source: str) -> PublicKey:
    key = _import_jwk(jwk, source)
    if isinstance(key, rsa.RSAPrivateKey):
        raise SigningKeyError(
            f"{source}: holds a private key where the public half is enough", hint="forwarder keys show --format jwk"
        )
    alg = jwk.get("alg")
    if alg is not None:
        _check_algorithm(alg, source)
    return PublicKey(key, kid=jwk.get("kid"), alg=alg)


def _import_jwk(jwk: dict[str, Any], source: str) -> rsa.RSAPrivateKey | rsa.RSAPublicKey:
    kty = jwk.get("kty")
    if kty != "RSA":
        raise keys.wrong_kind(f"a JWK of kty {kty!r}", source)
    try:
        RSAKey.validate_dict_key(jwk)
        key: rsa.RSAPrivateKey | rsa.RSAPublicKey = RSAKey.binding.import_from_dict(jwk)
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise SigningKeyError(f"{source}: the JWK is damaged: {error}", hint="copy it again") from None
    keys.check_bits(key.key_size, source)
    return key


def _read_json(data: bytes, source: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise SigningKeyError(f"{source}: is not a JSON object", hint="give PEM or a JWK") from None
