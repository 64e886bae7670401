"""What holds for all tests."""

from __future__ import annotations

from hypothesis import settings

# How long an example takes says more about the machine than about the forwarder.
settings.register_profile("forwarder", deadline=None)
settings.load_profile("forwarder")
