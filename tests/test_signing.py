"""Signing and verifying, against two independent implementations of JOSE."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws as joserfc_jws
from joserfc.jwk import ECKey, OctKey, RSAKey
from jwcrypto import jwk as other_jwk
from jwcrypto import jws as other_jws

from forwarder.errors import SigningKeyError, VerificationError
from forwarder.signing import ALGORITHMS, PublicKey, Signer, Verifier, generate_key, holds_private_key

PAYLOAD = b'[{"eventSourceId":"app","eventType":"Tested","data":{"n":1.0e2}}]'


# One key of each length for the whole run: to make one takes long, and so does reading it, which checks it.
generated = cache(generate_key)
LONG = pytest.mark.slow


def key_text(bits: int = 2048) -> bytes:
    return generated(bits)


@cache
def key(bits: int = 2048) -> RSAKey:
    return RSAKey.import_key(key_text(bits))


def private_jwk(**members: Any) -> dict[str, Any]:
    return {**key().as_dict(private=True), **members}


@cache
def plain_signer() -> Signer:
    """Return one signer for properties, which run many times."""
    private = key().private_key
    assert private is not None
    return Signer(private, "RS256")


def write(folder: Path, content: bytes | dict[str, Any]) -> Path:
    file = folder / "key"
    file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    file.chmod(0o600)
    return file


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Signer]:
    """Write a key to a file and load it."""
    return lambda content=None, **options: Signer.load(write(tmp_path, content or key_text()), **options)


@pytest.fixture
def signer(load: Callable[..., Signer]) -> Signer:
    return load()


def part(jws: bytes, index: int) -> bytes:
    text = jws.split(b".")[index]
    return base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))


def encode(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


# --- loading -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bits", "alg"),
    [
        (2048, "RS256"),
        pytest.param(3064, "RS256", marks=LONG),
        pytest.param(3072, "RS384", marks=LONG),
        pytest.param(4088, "RS384", marks=LONG),
        pytest.param(4096, "RS512", marks=LONG),
    ],
)
def test_the_length_of_the_key_decides_about_the_algorithm(load: Callable[..., Signer], bits: int, alg: str) -> None:
    """2048 bits sign with RS256, 3072 with RS384, 4096 with RS512; what lies between, with the weaker one."""
    signer = load(key_text(bits))
    assert (signer.bits, signer.alg) == (bits, alg)
    assert Verifier([signer.public("pem")]).verify(signer.sign(PAYLOAD)).alg == alg


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_the_algorithm_can_be_configured(load: Callable[..., Signer], alg: str) -> None:
    """A setting wins over the length of the key."""
    assert load(alg=alg).alg == alg


@pytest.mark.parametrize("alg", ["PS256", "HS256", "none", "rs256", ""])
def test_another_algorithm_is_refused(load: Callable[..., Signer], alg: str) -> None:
    """The Event API takes three algorithms; the error lists them."""
    with pytest.raises(SigningKeyError, match="RS256, RS384, RS512"):
        load(alg=alg)


def test_a_jwk_is_read_like_its_pem(load: Callable[..., Signer]) -> None:
    """The same key gives the same bytes, whichever way it is written; also with d alone."""
    wanted = load().sign(PAYLOAD)
    jwk = private_jwk()
    assert load(jwk).sign(PAYLOAD) == wanted
    assert load({name: jwk[name] for name in ("kty", "n", "e", "d")}).sign(PAYLOAD) == wanted


def test_a_jwk_may_name_its_algorithm(load: Callable[..., Signer]) -> None:
    """`alg: auto` follows the JWK; a setting that contradicts it is refused."""
    assert load(private_jwk(alg="RS512", use="sig", key_ops=["sign"])).alg == "RS512"
    assert load(private_jwk(alg="RS512"), alg="RS512").alg == "RS512"
    with pytest.raises(SigningKeyError, match=r"for RS512 only, and signing\.alg is RS256"):
        load(private_jwk(alg="RS512"), alg="RS256")


def without(jwk: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in jwk.items() if name not in names}


PUBLIC_JWK = without(private_jwk(), "d", "p", "q", "dp", "dq", "qi")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"keys": [private_jwk()]}, "is a set of keys"),
        (PUBLIC_JWK, "is a public JWK"),
        (ECKey.generate_key("P-256").as_dict(private=True), "a JWK of kty 'EC'"),
        (OctKey.generate_key(256).as_dict(private=True), "a JWK of kty 'oct'"),
        ({"ciphertext": "x"}, "a JWK of kty None"),
        (private_jwk(use="enc"), "not meant for signing"),
        (private_jwk(key_ops=["verify"]), "not meant for signing"),
        (private_jwk(use="sig", key_ops=["encrypt"]), "JWK is damaged"),
        (private_jwk(alg="PS256"), "'PS256' is not one of"),
        (private_jwk(alg=["RS256"]), "JWK is damaged"),
        (without(private_jwk(), "n"), "JWK is damaged"),
        (without(private_jwk(), "p"), "JWK is damaged"),
        (private_jwk(n="AQAB"), "JWK is damaged"),
        (private_jwk(n="ü"), "JWK is damaged"),
        (private_jwk(n=7), "JWK is damaged"),
        (private_jwk(oth=[]), "JWK is damaged"),
        (b'{"kty":', "is not a JSON object"),
        (b"[1]", "is not a JSON object"),
        (b"{" * 100_00, "is not a JSON object"),
        (b'{"a": "\xff"}', "is not a JSON object"),
    ],
)
def test_a_jwk_that_cannot_sign_is_refused(load: Callable[..., Signer], content: Any, problem: str) -> None:
    """The error names the file, what is wrong with it, and a way out."""
    with pytest.raises(SigningKeyError, match=problem) as caught:
        load(content)
    assert "/key: " in caught.value.message
    assert caught.value.hint


@pytest.mark.filterwarnings("ignore:Key size should be")
def test_a_short_jwk_is_refused(load: Callable[..., Signer]) -> None:
    """The least length holds for every form of key."""
    with pytest.raises(SigningKeyError, match="1024 bits are too short"):
        load(RSAKey.generate_key(1024).as_dict(private=True))


def test_an_encrypted_key_is_read_with_its_passphrase(load: Callable[..., Signer]) -> None:
    """The passphrase is handed on to where PEM is read."""
    text = key().as_pem(private=True, password="correct horse")
    assert load(text, passphrase="correct horse").bits == 2048
    with pytest.raises(SigningKeyError, match="is encrypted"):
        load(text)


# --- signing -----------------------------------------------------------------------------------


def test_the_header_is_the_algorithm_and_nothing_else(signer: Signer) -> None:
    """The Event API's sample header, byte for byte."""
    assert part(signer.sign(PAYLOAD), 0) == b'{"alg":"RS256"}'


def test_header_fields_are_added_where_configured(load: Callable[..., Signer]) -> None:
    """`kid`, `typ` and `cty` come after `alg`, without white space."""
    signer = load(kid="2026-01", typ="JOSE", cty="jsön")
    assert part(signer.sign(PAYLOAD), 0).decode() == '{"alg":"RS256","kid":"2026-01","typ":"JOSE","cty":"jsön"}'
    assert json.loads(signer.public("jwk"))["kid"] == "2026-01"


@pytest.mark.parametrize("bits", [2048, *(pytest.param(bits, marks=LONG) for bits in (3072, 4096))])
@pytest.mark.parametrize("size", [0, 1, 2, 3, 1000, 1_500_001])
def test_other_implementations_verify_what_is_signed(load: Callable[..., Signer], bits: int, size: int) -> None:
    """Two independent libraries take the JWS and find the payload, whatever its length."""
    signer, payload = load(key_text(bits)), bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    jws = signer.sign(payload)
    registry = joserfc_jws.JWSRegistry(algorithms=[signer.alg])
    # The library takes no more than 128,000 bytes by default.
    registry.max_payload_length = 10**7
    public = RSAKey.import_key(signer.public("pem"))
    assert joserfc_jws.deserialize_compact(jws, public, registry=registry).payload == payload
    other = other_jws.JWS()
    other.allowed_algs = [signer.alg]
    other.deserialize(jws.decode(), other_jwk.JWK.from_json(signer.public("jwk")))
    assert other.payload == payload
    assert b"=" not in jws


def test_the_output_is_that_of_the_library(signer: Signer) -> None:
    """Preparing the bytes by hand changes the speed, and nothing else."""
    wanted = joserfc_jws.serialize_compact({"alg": "RS256"}, PAYLOAD, key())
    assert signer.sign(PAYLOAD).decode() == wanted


@given(parts=st.lists(st.binary(max_size=50), max_size=8))
def test_parts_are_signed_like_the_whole(parts: list[bytes]) -> None:
    """Where the payload is cut makes no difference, and a retry gives the same bytes."""
    signer = plain_signer()
    assert signer.sign(iter(parts)) == signer.sign(b"".join(parts))


def test_threads_may_share_a_signer(signer: Signer) -> None:
    """Concurrent calls do not disturb each other."""
    barrier = threading.Barrier(4)

    def work(number: int) -> list[bytes]:
        barrier.wait()
        return [signer.sign(b"%d-%d" % (number, turn)) for turn in range(20)]

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(work, range(4)))
    for number, signed in enumerate(results):
        assert [part(jws, 1) for jws in signed] == [b"%d-%d" % (number, turn) for turn in range(20)]
        assert signed == [signer.sign(b"%d-%d" % (number, turn)) for turn in range(20)]


# --- the public half ---------------------------------------------------------------------------


def test_the_public_half_holds_nothing_private(signer: Signer) -> None:
    """Each form has the public numbers alone."""
    assert signer.public("pem").startswith("-----BEGIN PUBLIC KEY-----\n")
    jwk = json.loads(signer.public("jwk"))
    assert {name: jwk[name] for name in PUBLIC_JWK} == PUBLIC_JWK
    assert set(jwk) == {"kty", "n", "e", "use", "alg", "kid"}
    assert json.loads(signer.public("jwks")) == {"keys": [jwk]}
    assert (jwk["use"], jwk["alg"], jwk["kid"]) == ("sig", "RS256", signer.thumbprint)


def test_the_thumbprint_is_that_of_the_standard(load: Callable[..., Signer]) -> None:
    """RFC 7638 as another implementation computes it, whichever way the key is written."""
    wanted = other_jwk.JWK.from_pem(key_text()).thumbprint()
    assert load().thumbprint == wanted
    assert load(private_jwk(kid="other", alg="RS384")).thumbprint == wanted


@pytest.mark.parametrize("form", ["pem", "jwk", "jwks"])
def test_a_public_key_survives_each_form(signer: Signer, form: Literal["pem", "jwk", "jwks"]) -> None:
    """What is exported can be read back, as text or as bytes."""
    text = signer.public(form)
    for written in (text, text.encode()):
        [key] = PublicKey.parse(written)
        assert key.thumbprint == signer.thumbprint
        assert key.export(form) == text


@pytest.mark.parametrize("bits", [2048, 2056, pytest.param(3072, marks=LONG)])
def test_a_generated_key_is_plain_pkcs8(bits: int) -> None:
    """It has the length that was asked for and can be loaded at once."""
    text = key_text(bits)
    assert text.startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert RSAKey.import_key(text).raw_value.key_size == bits


@pytest.mark.parametrize("bits", [-1, 0, 1024, 2047, 2049, 8200, 10**9])
def test_a_key_of_a_wrong_length_is_not_generated(bits: int) -> None:
    """Too short, too long and odd lengths are refused at once, with those that are right."""
    with pytest.raises(SigningKeyError, match=f"of {bits} bits is refused") as caught:
        generate_key(bits)
    assert "2048" in caught.value.hint


def test_private_halves_are_recognised() -> None:
    """Whoever takes a file of either half can tell which it is."""
    assert holds_private_key(key_text())
    assert holds_private_key(json.dumps(private_jwk()).encode())
    assert not holds_private_key(json.dumps(PUBLIC_JWK).encode())
    assert not holds_private_key(b"{")
    assert not holds_private_key(b"x")


# --- verifying ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ([], "no RSA key for signatures"),
        ([ECKey.generate_key("P-256").as_dict(), {**PUBLIC_JWK, "use": "enc"}, "x"], "no RSA key for signatures"),
        ({}, "keys is not an array"),
        ([private_jwk()], "holds a private key"),
    ],
)
def test_a_set_without_a_usable_key_is_refused(members: Any, problem: str) -> None:
    """Members that are not for signatures are passed over, but one must be left."""
    with pytest.raises(SigningKeyError, match=problem):
        Verifier([json.dumps({"keys": members})])


def test_members_of_a_set_that_are_for_something_else_are_passed_over(signer: Signer) -> None:
    """A JWKS may hold the keys of other uses and other kinds."""
    members = [ECKey.generate_key("P-256").as_dict(), {**PUBLIC_JWK, "alg": "RSA-OAEP"}, PUBLIC_JWK]
    verifier = Verifier([json.dumps({"keys": members})])
    assert len(verifier.keys) == 1
    assert verifier.verify(signer.sign(PAYLOAD)).payload == PAYLOAD


@pytest.mark.parametrize("jwk", [private_jwk(), {**PUBLIC_JWK, "alg": "PS256"}, {"kty": "EC"}])
def test_a_single_jwk_must_be_usable(jwk: dict[str, Any]) -> None:
    """A key that was given alone is not passed over in silence."""
    with pytest.raises(SigningKeyError):
        Verifier([json.dumps(jwk)])


def test_a_good_jws_gives_its_payload(load: Callable[..., Signer]) -> None:
    """Payload, algorithm and header come back, with any of several keys."""
    signer = load(kid="a")
    verified = Verifier([key(2056).as_pem(), signer.public("pem")]).verify(signer.sign(PAYLOAD))
    assert (verified.payload, verified.alg, verified.header) == (PAYLOAD, "RS256", {"alg": "RS256", "kid": "a"})


def test_a_key_that_the_header_names_is_the_only_one_tried(load: Callable[..., Signer]) -> None:
    """A `kid` that is known must be right; one that is not known is not needed."""
    mine = load(kid="a").sign(PAYLOAD)
    other = {**key(2056).as_dict(private=False), "kid": "a"}
    with pytest.raises(VerificationError, match="none of 2 known keys"):
        Verifier([json.dumps(PUBLIC_JWK), json.dumps(other)]).verify(mine)
    assert Verifier([json.dumps({**PUBLIC_JWK, "kid": "b"})]).verify(mine).payload == PAYLOAD


def test_a_key_for_one_algorithm_verifies_no_other(load: Callable[..., Signer]) -> None:
    """`alg` in a JWK restricts it."""
    verifier = Verifier([json.dumps({**PUBLIC_JWK, "alg": "RS512"})])
    assert verifier.verify(load(alg="RS512").sign(PAYLOAD)).alg == "RS512"
    with pytest.raises(VerificationError):
        verifier.verify(load(alg="RS256").sign(PAYLOAD))


def test_a_signature_of_an_unknown_key_is_not_malformed(signer: Signer) -> None:
    """The difference decides between 401 and 400."""
    for known in ([], [key(2056).as_pem()]):
        with pytest.raises(VerificationError) as caught:
            Verifier(known).verify(signer.sign(PAYLOAD))
        assert not caught.value.malformed


def with_header(header: bytes) -> bytes:
    return encode(header) + b"." + encode(PAYLOAD) + b"." + encode(b"x" * 256)


@pytest.mark.parametrize(
    ("jws", "problem"),
    [
        (b"", "not a compact JWS"),
        (b"abc", "not a compact JWS"),
        (b"a.b", "not a compact JWS"),
        (b"YWJj.YWJj.YWJj.YWJj", "header .* is not a JSON object"),
        (with_header(b'{"alg":"RS256"}') + b"\n", "signature of the JWS is not base64url"),
        (with_header(b'{"alg":"RS256"}') + b"==", "not a compact JWS"),
        (b"a+/b." * 2 + b"c", "not a compact JWS"),
        (b"A.YWJj.YWJj", "header of the JWS is not base64url"),
        (with_header(b"RS256"), "header of the JWS is not a JSON object"),
        (with_header(b"[]"), "header of the JWS is not a JSON object"),
        (with_header(b'{"alg":"\xff"}'), "header of the JWS is not a JSON object"),
        (with_header(b'{"a":' * 100_000), "header of the JWS is not a JSON object"),
        (with_header(b"{}"), "alg is None"),
        (with_header(b'{"alg":"none"}'), "alg is 'none'"),
        (with_header(b'{"alg":"HS256"}'), "alg is 'HS256'"),
        (with_header(b'{"alg":["RS256"]}'), "alg is "),
        (with_header(b'{"alg":"RS256","crit":["b64"],"b64":false}'), "critical extensions"),
    ],
)
def test_what_is_no_jws_of_ours_is_malformed(signer: Signer, jws: bytes, problem: str) -> None:
    """The reason says which part is wrong; nothing but VerificationError gets out."""
    with pytest.raises(VerificationError, match=problem) as caught:
        Verifier([signer.public("pem")]).verify(jws)
    assert caught.value.malformed


def test_the_public_key_is_no_shared_secret(signer: Signer) -> None:
    """A JWS that is made with the public key as an HMAC secret is not taken (RFC 8725 §2.1)."""
    text = signer.public("pem")
    key = OctKey.import_key(signer.public("jwk"))
    forged = joserfc_jws.serialize_compact({"alg": "HS256"}, PAYLOAD, key).encode()
    with pytest.raises(VerificationError):
        Verifier([text]).verify(forged)


@given(data=st.data())
def test_no_changed_byte_verifies(data: st.DataObject) -> None:
    """Whichever byte of header or payload is changed, the JWS is refused, and in no other way."""
    signer = plain_signer()
    jws = signer.sign(PAYLOAD)
    position = data.draw(st.integers(0, jws.rindex(b".")))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != jws[position]))
    with pytest.raises(VerificationError):
        Verifier([signer.public("pem")]).verify(jws[:position] + bytes([byte]) + jws[position + 1 :])


@given(jws=st.binary() | st.text("aZ09-_.=", max_size=40).map(str.encode))
def test_any_bytes_are_refused_in_order(jws: bytes) -> None:
    """No input makes the verifier fail in another way than by VerificationError."""
    with pytest.raises(VerificationError):
        Verifier([json.dumps(PUBLIC_JWK)]).verify(jws)


def test_the_exported_pem_is_read_by_others(signer: Signer) -> None:
    """The form that is handed to the integration support is the common one: SPKI."""
    key = load_pem_public_key(signer.public("pem").encode())
    assert RSAKey.import_key(key).thumbprint() == signer.thumbprint  # type: ignore[arg-type]
