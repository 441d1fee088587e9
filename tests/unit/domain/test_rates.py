"""How many runs may start in a length of time."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from jobsched.domain.errors import InvalidInput
from jobsched.domain.rates import PATTERN, Rate


@pytest.mark.parametrize(
    ("text", "rate", "interval"),
    [
        ("100/m", Rate(100, timedelta(minutes=1)), timedelta(milliseconds=600)),
        ("1/s", Rate(1, timedelta(seconds=1)), timedelta(seconds=1)),
        (" 12 / h ", Rate(12, timedelta(hours=1)), timedelta(minutes=5)),
        ("2/d", Rate(2, timedelta(days=1)), timedelta(hours=12)),
        ("1000000/s", Rate(1_000_000, timedelta(seconds=1)), timedelta(microseconds=1)),
    ],
)
def test_a_count_and_a_unit_are_a_rate(text: str, rate: Rate, interval: timedelta) -> None:
    assert Rate.parse(text) == rate
    assert rate.interval == interval
    assert Rate.parse(rate.text) == rate
    assert re.search(PATTERN, rate.text)


@pytest.mark.parametrize("text", ["", "100", "/m", "1.5/m", "-1/m", "5/10s", "1/w", "1/M", "0/m", "1000001/s", "٣/m"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="rate"):
        Rate.parse(text)
