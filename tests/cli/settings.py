"""Files that commands are given in tests: configurations and tokens."""

from __future__ import annotations

from pathlib import Path


def config_file(tmp_path: Path, admin: str) -> Path:
    file = tmp_path / "forwarder.yaml"
    file.write_text(
        "destinations: {main: {url: 'https://example.com/put', signing: {key_file: /k.pem}}}\n"
        f"ingest: {{stream: {{listen: ['unix:{tmp_path}/s.sock']}}, http: {{listen: ['unix:{tmp_path}/h.sock']}}}}\n"
        f"admin: {admin}\n"
    )
    return file


def secret_file(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "token"
    file.write_text(text)
    file.chmod(0o600)
    return file
