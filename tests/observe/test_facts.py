"""Facts are data, and all of them are known."""

from __future__ import annotations

import typing

import pytest

from forwarder.observe import facts


def kinds() -> list[type]:
    """Return all kinds of facts that the module defines. A condition is none: its beginning and its end are; nor is
    a peer, which is a part of some.
    """
    found = [kind for kind in vars(facts).values() if isinstance(kind, type) and kind.__module__ == facts.__name__]
    return [kind for kind in found if kind not in {facts.Condition, facts.Peer}]


def test_every_kind_is_a_fact() -> None:
    """An observer that knows all kinds of `Fact` knows all that it can be told."""
    assert set(kinds()) == set(typing.get_args(facts.Fact))


@pytest.mark.parametrize("kind", kinds())
def test_a_fact_does_not_change(kind: type) -> None:
    """A fact is a named tuple: it cannot be changed by one observer before the next one is told."""
    assert issubclass(kind, tuple)
    first = next(iter(kind.__annotations__))
    fact = kind(*kind.__annotations__)
    with pytest.raises(AttributeError):
        setattr(fact, first, None)
