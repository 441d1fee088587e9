"""Durations as people write them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobsched.domain import durations
from jobsched.domain.errors import InvalidInput

READ = [
    ("90s", timedelta(seconds=90)),
    ("1h30m", timedelta(minutes=90)),
    ("2d", timedelta(days=2)),
    ("500ms", timedelta(milliseconds=500)),
    ("1m5ms", timedelta(minutes=1, milliseconds=5)),
    ("1d2h3m4s5ms", timedelta(days=1, hours=2, minutes=3, seconds=4, milliseconds=5)),
    ("  10s ", timedelta(seconds=10)),
    ("0s", timedelta(0)),
    ("90", timedelta(seconds=90)),
    (90, timedelta(seconds=90)),
    (0.25, timedelta(milliseconds=250)),
    (timedelta(hours=1), timedelta(hours=1)),
    ("3650d", timedelta(days=3650)),
]
REFUSED = [
    ("", "is not a duration"),
    ("s", "is not a duration"),
    ("1.5h", "is not a duration"),
    ("1h 30m", "is not a duration"),
    ("30m1h", "is not a duration"),
    ("1h1h", "is not a duration"),
    ("-5s", "is not a duration"),
    ("1:30", "is not a duration"),
    ("1H", "is not a duration"),
    ("٣s", "is not a duration"),
    (True, "is not a duration"),
    (float("nan"), "is not a duration"),
    (float("inf"), "longer than ten years"),
    (None, "is not a duration"),
    (-1, "is negative"),
    (timedelta(seconds=-1), "is negative"),
    ("3651d", "longer than ten years"),
    (10**30, "longer than ten years"),
]


@pytest.mark.parametrize(("given_", "length"), READ)
def test_reads_what_people_write(given_: str | float | timedelta, length: timedelta) -> None:
    assert durations.parse(given_) == length


@pytest.mark.parametrize(("given_", "reason"), REFUSED)
def test_refuses_anything_else_with_the_reason(given_: str | float | timedelta, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        durations.parse(given_)


@given(st.integers(0, durations.LONGEST // timedelta(milliseconds=1)))
def test_what_is_written_is_read_back(milliseconds: int) -> None:
    length = timedelta(milliseconds=milliseconds)
    assert durations.parse(durations.to_text(length)) == length


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0s", "0 seconds"),
        ("1s", "1 second"),
        ("90s", "90 seconds"),
        ("60s", "1 minute"),
        ("1h30m", "90 minutes"),
        ("1h1m1s", "1 hour 1 minute 1 second"),
        ("36h", "36 hours"),
        ("250ms", "250 milliseconds"),
        ("2d", "2 days"),
    ],
)
def test_words_are_plain_english(text: str, words: str) -> None:
    assert durations.words(durations.parse(text)) == words
