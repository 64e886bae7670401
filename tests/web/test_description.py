"""The description that an API serves: the file beside its code, with the version, and a token where one is wanted."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest

from forwarder import __version__
from forwarder.web.description import describe, description_response

PACKAGES = ["forwarder.admin", "forwarder.ingest"]


@pytest.mark.parametrize("package", PACKAGES)
def test_the_version_is_that_of_the_forwarder(package: str) -> None:
    """With a token, the description is the file as it is, but for the version that runs."""
    written = json.loads((files(package) / "openapi.json").read_bytes())
    served = json.loads(describe(package, wants_token=True))
    assert served["info"].pop("version") == __version__
    written["info"].pop("version", None)
    assert served == written


@pytest.mark.parametrize("package", PACKAGES)
def test_without_a_token_nothing_is_said_of_one(package: str) -> None:
    """Where no token is configured the description asks for none; everything else stays."""
    served = json.loads(describe(package, wants_token=False))
    full = json.loads(describe(package, wants_token=True))
    del full["security"], full["components"]["securitySchemes"]
    assert served == full


def test_it_is_served_as_json() -> None:
    """The answer is the description, with its content type."""
    response = description_response("forwarder.admin", wants_token=False)
    assert (response.status, response.content_type) == (200, "application/json")
    assert response.body == describe("forwarder.admin", wants_token=False)
