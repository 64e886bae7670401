"""The table of what a client is told of an error."""

from __future__ import annotations

import pytest

from forwarder import errors
from forwarder.errors import DamagedError, DiskFullError, RequestError, ShareFullError, StorageError, UnavailableError
from forwarder.problems import PROBLEMS, TOLD, problem_type


def told() -> list[type[RequestError | UnavailableError]]:
    """Return every error that a client can be told of."""
    found = [error for error in vars(errors).values() if isinstance(error, type) and issubclass(error, TOLD)]
    return [error for error in found if error is not RequestError]


@pytest.mark.parametrize("error", told())
def test_every_error_that_a_client_is_told_of_has_a_type(error: type[RequestError | UnavailableError]) -> None:
    """None is left out, and only what passes by itself names a time to try again."""
    problem = problem_type(error)
    assert (problem.status == 503) == issubclass(error, UnavailableError)
    assert (problem.retry_after is not None) == (problem.status in {429, 503})


def test_the_nearest_base_counts() -> None:
    """An error that is not in the table is told as what it is a case of."""
    assert problem_type(ShareFullError) == PROBLEMS[errors.QueueFullError]
    assert problem_type(DamagedError) == PROBLEMS[StorageError]
    assert problem_type(DiskFullError) != PROBLEMS[StorageError]


def test_a_full_disk_is_a_storage_that_fails_and_no_fault_of_a_request() -> None:
    """Whoever handles a failing storage handles a full disk, and neither is the client's doing."""
    assert issubclass(DiskFullError, StorageError)
    assert not issubclass(UnavailableError, RequestError)
