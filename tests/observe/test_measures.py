"""The metrics have good names, and the documentation lists all of them."""

from __future__ import annotations

import re

import pytest

from forwarder.observe.measures import MEASURES
from tests.documents import table


def test_the_documentation_has_the_same_table() -> None:
    """Operators find every metric with its kind, its labels and its meaning."""
    expected = [
        [f"`{name}`", measure.kind, ", ".join(f"`{label}`" for label in measure.labels), measure.meaning]
        for name, measure in MEASURES.items()
    ]
    shown = "\n".join(f"| {' | '.join(cells)} |" for cells in expected)
    assert table("forwarder/observe/README.md", "Metrics") == expected, f"the table is to be:\n{shown}"


@pytest.mark.parametrize("name", MEASURES)
def test_a_metric_has_a_good_name(name: str) -> None:
    """Counters, and only they, end with `_total`; a meaning is a sentence; no label can have as many values as ids."""
    measure = MEASURES[name]
    assert re.fullmatch(r"forwarder_[a-z_]+", name)
    assert name.endswith("_total") == (measure.kind == "counter")
    assert measure.meaning[0].isupper() or measure.meaning[0] == "1"
    assert measure.meaning.endswith(".")
    of_destination = {"destination", "outcome", "state"}
    assert set(measure.labels) <= of_destination | {"way", "reason", "key", "version", "backend"}
