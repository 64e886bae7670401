"""What is served runs on both event loops in tests, and nothing that goes wrong stays unseen."""

from tests.fixtures import both_loops as pytest_asyncio_loop_factories
from tests.fixtures import logs

__all__ = ["logs", "pytest_asyncio_loop_factories"]
