"""What an answer means."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.destination.http_put.responses import outcome_of, parse_retry_after
from forwarder.model import Outcome

NOW = 1_700_000_000.0


class TestOutcome:
    @pytest.mark.parametrize(
        ("statuses", "outcome"),
        [
            (range(200, 300), Outcome.DELIVERED),
            ([None, 408, 425, 429, *range(500, 511), *range(512, 600)], Outcome.DEFERRED),
            ([401, 402, 403, 404, 405, 407, 415, 421, 426, 431, 451, 511, *range(300, 400)], Outcome.HELD),
            ([413], Outcome.TOO_LARGE),
            ([400, 406, 409, 410, 411, 412, 414, *range(416, 421), 422, 423, 424, 428], Outcome.REJECTED),
            ([0, 100, 103, 199, 600, 999], Outcome.DEFERRED),
        ],
        ids=["delivered", "deferred", "held", "too large", "rejected", "not a final status"],
    )
    def test_table(self, statuses: list[int | None], outcome: Outcome) -> None:
        """Each status has the outcome of its row; one that is no final status of HTTP is tried again."""
        assert {outcome_of(status, {}) for status in statuses} == {outcome}

    @given(st.sampled_from(range(100, 600)), st.sampled_from(Outcome))
    def test_overrides_win(self, status: int, outcome: Outcome) -> None:
        """A configured outcome replaces that of the table, for this status alone."""
        overrides = {status: outcome}
        assert outcome_of(status, overrides) is outcome
        assert all(
            outcome_of(other, overrides) is outcome_of(other, {}) for other in range(100, 600) if other != status
        )

    def test_no_answer_cannot_be_overridden(self) -> None:
        """Where no answer came, the batch is tried again, whatever is configured for statuses."""
        assert outcome_of(None, dict.fromkeys(range(100, 600), Outcome.REJECTED)) is Outcome.DEFERRED


class TestRetryAfter:
    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            (None, None),
            ("0", 0.0),
            ("120", 120.0),
            ("  7\t", 7.0),
            ("000000000000120", 120.0),
            ("9" * 5000, 1e9),
            ("", None),
            ("-5", None),
            ("3.0", 3.0),
            ("1.5", 1.5),
            ("3.", 3.0),
            ("3, 3", 3.0),
            ("3 ,5.5,4", 5.5),
            ("9" * 500 + ".0, 1", 1e9),
            ("3, soon", None),
            ("3,", None),
            (".5", None),
            ("1.5.2", None),
            ("Tue, 14 Nov 2023 22:14:20 GMT, Tue, 14 Nov 2023 22:14:20 GMT", 60.0),
            ("1e9", None),
            ("0x10", None),
            ("١٢", None),
            ("nan", None),
            ("inf", None),
            ("soon", None),
            ("5 seconds", None),
            ("\udcff\udcfe", None),
            ("Fri, 31 Dec 99999 23:59:59 GMT", None),
            ("1 Jan 9999 12:30 9999 99999999999999999999", None),
            (format_datetime(datetime.fromtimestamp(NOW + 90, UTC), usegmt=True), 90.0),
            (format_datetime(datetime.fromtimestamp(NOW - 90, UTC), usegmt=True), 0.0),
            ("Tue, 14 Nov 2023 22:14:20 -0000", 60.0),
            ("Tuesday, 14-Nov-23 22:14:20 GMT", 60.0),
            ("Tue Nov 14 22:14:20 2023", 60.0),
            ("Fri, 31 Dec 9999 23:59:59 GMT", 1e9),
        ],
    )
    def test_forms(self, value: str | None, seconds: float | None) -> None:
        """Seconds and the three forms of dates are understood (RFC 9110 §5.6.7); anything else says nothing."""
        assert parse_retry_after(value, NOW) == seconds

    @given(st.one_of(st.text(), st.integers().map(str), st.floats().map(str)), st.floats(0, 4e9))
    def test_is_harmless(self, value: str, now: float) -> None:
        """Whatever a destination sends there, the result is a finite wait that is not negative, or nothing."""
        self.check(value, now)

    @given(
        st.lists(
            st.sampled_from(
                ["Mon,", "31", "Dec", "1999", "99999999999999999999", "23:59:59", "1:2:3:4", "GMT", "+2400", "-9999"]
                + ["0001", "9999", ":", ",", "-", "(", "am", "\udcff"]
            ),
            max_size=7,
        ),
        st.sampled_from([" ", "-", ""]),
    )
    def test_broken_dates_are_harmless(self, words: list[str], between: str) -> None:
        """Pieces of dates in any order do no harm, either."""
        self.check(between.join(words), NOW)

    def check(self, value: str, now: float) -> None:
        seconds = parse_retry_after(value, now)
        assert seconds is None or (math.isfinite(seconds) and seconds >= 0)
