"""Moments on the command line."""

from __future__ import annotations

import time
from collections.abc import Iterator

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobsched.cli.options import Moment


@pytest.fixture
def in_tokyo() -> Iterator[None]:
    """A machine whose own clock is not in UTC."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


def read(text: str) -> str:
    return str(Moment().convert(text, None, None))


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-01", "2026-11-01T00:00:00Z"),
        ("2026-11-01T03:00", "2026-11-01T03:00:00Z"),
        ("2026-11-01 03:00:30", "2026-11-01T03:00:30Z"),
        ("2026-11-01T03:00Z", "2026-11-01T03:00:00Z"),
        ("2026-11-01T03:00+01:00", "2026-11-01T02:00:00Z"),
        ("2026-11-01T03:00-0500", "2026-11-01T08:00:00Z"),
    ],
)
def test_without_a_zone_they_are_utc_and_a_day_is_its_beginning(in_tokyo: None, text: str, moment: str) -> None:
    assert read(text) == moment


@pytest.mark.parametrize("text", ["", "tomorrow", "2026-13-01", "03:00", "2026-11-01T25:00", "9999-12-31T23:00-05:00"])
def test_what_is_none_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(click.BadParameter, match=r"is not a moment; write 2026-11-01, "):
        read(text)


@given(st.datetimes(timezones=st.timezones()))
def test_whatever_is_read_reads_the_same_again(moment: object) -> None:
    try:
        once = read(str(moment))
    except click.BadParameter:
        return
    assert once.endswith("Z")
    assert read(once) == once
