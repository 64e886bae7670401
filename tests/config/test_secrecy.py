"""What may be a secret is repeated by no message, whatever stands in its place; nor is it shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from forwarder.config import to_yaml
from tests.config.conftest import DESTINATION, Load, Refuse

# Each stands below the destination. The tests are numbered, since their names are in the paths of their files.
IN_A_DESTINATION = [
    'headers: "Authorization: Bearer S3KRET"',
    "headers: S3KRET",
    "headers: [S3KRET, {X: S3KRET}]",
    'headers: {"Authorization: Bearer S3KRET"}',
    'headers: {"Bearer S3KRET": x}',
    'headers: {"Bearer S3KRET": x, "Bearer S3KRET": y}',
    "headers: {X-Key: *S3KRET}",
    "headers: {X-Key: !S3KRET}",
    "headers: {X-Key: !S3KRET x}",
    "headers: {X-Key: {S3KRET: !x y}}",
    "headers: {X-Key: {S3KRET: 1, S3KRET: 2}}",
    "headers: {X-Key: [S3KRET]}",
    "headers: {X-Key: S3KRET\u00e9}",
    'headers: {X-Key: "S3KRET\\n"}',
    "headers: {X-Key: 2026-01-01, x-key: S3KRET}",
    "headers: {? [S3KRET] : x}",
    "headers: {<<: *S3KRET}",
    "headers: *S3KRET",
    "proxy: !S3KRET",
    "proxy: *S3KRET",
    "proxy: S3KRET",
    "proxy: [S3KRET]",
    "proxy: {S3KRET: 1, S3KRET: 2}",
    "proxy: {url: {S3KRET: !x 1}}",
    "proxy: 'http://me:S3KRET@proxy:x'",
    "proxy: 'http://me:S3KRET@proxy/path'",
    "proxy: ftp://me:S3KRET@proxy",
    "proxy: 'http://me:S3KRET @proxy'",
    "url: https://S3KRET@example.com/put",
    "url: https://me:S3KRET@example.com:x/put",
    "url: https://me:S3KRET@example.com/#put",
    "tls: S3KRET",
    "tls: {key_file: S3KRET}",
    "tls: {key_file: '-----BEGIN PRIVATE KEY----- S3KRET -----END PRIVATE KEY-----'}",
    "password: S3KRET",
    "header: {X-Key: {S3KRET: !x 1}}",
]
# Each stands in place of the destination's key, or at the top.
ELSEWHERE = [
    "ingest: {token_file: S3KRET}",
    "ingest: {token_file: S3KRET/with+base64=}",
    "ingest: {token_file: eyJS3KRET.eyJzdWIiOiIxIn0.SflKxwRJSM}",
    "ingest: {token_file: !S3KRET}",
    "ingest: {token_file: *S3KRET}",
    "ingest: {token_file: {S3KRET: 1, S3KRET: 2}}",
    "ingest: {token_file: [S3KRET]}",
    'ingest: {token_file: "S3KRET\\n"}',
    'ingest: {token_file: "${S3KRET"}',
    'ingest: {token_file: "a${S3KRET-x}"}',
    'ingest: {token_file: "${NAME}"}',
    'admin: {token_file: "${NAME}"}',
    "admin: {token_file: ~S3KRET}",
    "admin: {token: S3KRET}",
    "admin: S3KRET",
    "ingest: {token: {S3KRET: !x 1}}",
]
IN_THE_ENVIRONMENT = {
    "FORWARDER_DESTINATIONS__MAIN__HEADERS": ["Bearer S3KRET", "'S3KRET", "[S3KRET]", "{X: !S3KRET}", "*S3KRET"],
    "FORWARDER_DESTINATIONS__MAIN__HEADERS__X_KEY": ["S3KRET\u00e9", "S3KRET\n", " S3KRET"],
    "FORWARDER_DESTINATIONS__MAIN__PROXY": ["S3KRET", "http://me:S3KRET@proxy:x"],
    "FORWARDER_DESTINATIONS__MAIN__URL": ["https://me:S3KRET@example.com/put"],
    "FORWARDER_DESTINATIONS__MAIN__SIGNING__KEY_FILE": ["S3KRET", "-----BEGIN PRIVATE KEY-----\nS3KRET\n"],
    "FORWARDER_DESTINATIONS__MAIN__SIGNING__PASSPHRASE_FILE": ["S3KRET"],
    "FORWARDER_DESTINATIONS__MAIN__SIGNING": ["S3KRET", "{key_file: !S3KRET}"],
    "FORWARDER_INGEST__TOKEN_FILE": ["S3KRET", "${NAME}"],
    "FORWARDER_ADMIN": ["S3KRET", "{token_file: S3KRET}", "{token_file: *S3KRET}"],
    "FORWARDER_ADMIN__TOKEN": ["S3KRET"],
}


def said(refuse: Refuse, text: str, **environ: str) -> str:
    return "\n".join(map(str, refuse(text, {"NAME": "S3KRET", **environ})))


@pytest.mark.parametrize("text", IN_A_DESTINATION, ids=range(len(IN_A_DESTINATION)))
def test_in_a_destination(refuse: Refuse, text: str) -> None:
    """Headers, proxy, the user of a URL and a key are kept back, and so is what stands below or in place of them."""
    found = said(refuse, DESTINATION.replace("url: https://example.com/put\n", "") + f"    {text}\n")
    assert "S3KRET" not in found
    assert "forwarder.yaml:" in found


@pytest.mark.parametrize("text", ELSEWHERE, ids=range(len(ELSEWHERE)))
def test_elsewhere(refuse: Refuse, text: str) -> None:
    """A token in place of the path of its file is kept back, also one that a variable brought in."""
    found = said(refuse, f"{text}\n{DESTINATION}")
    assert "S3KRET" not in found.replace("environment variable S3KRET", "")
    assert "forwarder.yaml:" in found


NO_CONFIGURATION = ["S3KRET\n", "-----BEGIN PRIVATE KEY-----\nS3KRET\n", "[S3KRET]", "!S3KRET x", "a: *S3KRET"]


@pytest.mark.parametrize("text", NO_CONFIGURATION, ids=range(len(NO_CONFIGURATION)))
def test_a_file_that_is_no_configuration(refuse: Refuse, text: str) -> None:
    """A token or a key that is named in place of the configuration is not printed."""
    assert "S3KRET" not in said(refuse, text)


@pytest.mark.parametrize(
    ("name", "value"), [(n, v) for n, values in IN_THE_ENVIRONMENT.items() for v in values], ids=str
)
def test_in_the_environment(refuse: Refuse, file: Path, name: str, value: str) -> None:
    """The same holds for what variables set."""
    # The name of the test, which has the value in it, is in the path of the file.
    found = said(refuse, DESTINATION, **{name: value}).replace(str(file.parent), "")
    assert "S3KRET" not in found
    assert name in found


def test_what_is_shown(accept: Load) -> None:
    """The effective configuration has paths and names of headers, and neither values nor who logs in where."""
    text = DESTINATION.replace("/put", "/put?key=S3KRET&b=S3KRET") + (
        "    headers: {Authorization: Bearer S3KRET, X-Key: S3KRET}\n"
        "    proxy: http://joe@corp.example:S3KRET@proxy:3128\n"
        "ingest: {token_file: /etc/forwarder/token}\n"
    )
    shown = to_yaml(accept(text))
    assert "S3KRET" not in shown
    for words in ("Authorization: '***'", "http://***@proxy:3128", "/etc/forwarder/token", "/put?key=***&b=***"):
        assert words in shown


@pytest.mark.parametrize(
    "path", ["/t", "./t", "../t", "token.txt", "key.pem", "my-app.key", "${NAME}/key.pem", "${FILE}", "a.b.crt"]
)
def test_what_is_a_path(accept: Load, path: str) -> None:
    """What looks like a path is one, absolute or not."""
    text = f"ingest: {{token_file: '{path}'}}\n{DESTINATION}"
    assert accept(text, {"NAME": "/run/secrets", "FILE": "/t"}).ingest.token_file is not None
