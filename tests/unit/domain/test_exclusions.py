"""Holidays and blackouts: what is covered, why and until when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobsched.domain.errors import InvalidInput
from jobsched.domain.exclusions import Exclusions

MINUTE = timedelta(minutes=1)


def of(*texts: str, zone: str = "UTC") -> Exclusions:
    """Entries with a colon or the name of a day are blackouts, the others dates."""
    blackouts = [text for text in texts if ":" in text or text[0].isalpha()]
    return Exclusions.of([text for text in texts if text not in blackouts], blackouts, ZoneInfo(zone))


def at(text: str, zone: str = "UTC", fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)


# entry, the first reading inside, the first one outside again
EDGES = [
    ("2026-12-25", "2026-12-25 00:00", "2026-12-26 00:00"),
    ("12-25", "2031-12-25 00:00", "2031-12-26 00:00"),
    ("2026-12-24..2027-01-02", "2026-12-24 00:00", "2027-01-03 00:00"),
    (" 2026-12-24 .. 2027-01-02 ", "2026-12-24 00:00", "2027-01-03 00:00"),
    ("12-24..01-02", "2026-12-24 00:00", "2027-01-03 00:00"),
    ("02-29", "2028-02-29 00:00", "2028-03-01 00:00"),
    ("02-20..02-29", "2027-02-20 00:00", "2027-03-01 00:00"),
    ("02-29..03-02", "2027-03-01 00:00", "2027-03-03 00:00"),
    ("22:00-06:00", "2026-11-21 22:00", "2026-11-22 06:00"),
    ("09:00-17:00", "2026-11-21 09:00", "2026-11-21 17:00"),
    ("18:00-24:00", "2026-11-21 18:00", "2026-11-22 00:00"),
    ("00:00-06:00", "2026-11-21 00:00", "2026-11-21 06:00"),
    ("sat,sun", "2026-11-21 00:00", "2026-11-23 00:00"),
    ("fri-mon", "2026-11-20 00:00", "2026-11-24 00:00"),
    ("Mon-Fri 09:00-17:00", "2026-11-23 09:00", "2026-11-23 17:00"),
    ("sat 22:00-06:00", "2026-11-21 22:00", "2026-11-22 06:00"),
    ("mon,wed-thu 08:00-08:30", "2026-11-25 08:00", "2026-11-25 08:30"),
    ("2026-12-24 18:00..2026-12-27 06:00", "2026-12-24 18:00", "2026-12-27 06:00"),
]


@pytest.mark.parametrize(("entry", "first", "end"), EDGES)
def test_a_window_holds_its_beginning_and_not_its_end(entry: str, first: str, end: str) -> None:
    exclusions, microsecond = of(entry), timedelta(microseconds=1)
    assert exclusions.reason(at(first) - microsecond) is None
    assert exclusions.reason(at(first)) is not None
    assert exclusions.reason(at(end) - microsecond) is not None
    assert exclusions.reason(at(end)) is None
    assert exclusions.until(at(first)) == at(end)
    assert exclusions.until(at(end) - microsecond) == at(end)


def test_a_window_over_midnight_belongs_to_the_day_it_begins() -> None:
    saturdays = of("sat 22:00-06:00")
    assert saturdays.reason(at("2026-11-21 05:00")) is None
    assert saturdays.reason(at("2026-11-22 05:00")) is not None
    assert saturdays.reason(at("2026-11-22 23:00")) is None


def test_29_february_is_not_excluded_in_years_without_it() -> None:
    assert of("02-29").reason(at("2027-02-28 12:00")) is None
    assert of("02-29").reason(at("2027-03-01 12:00")) is None


def test_the_reason_names_the_entry_and_for_times_the_zone() -> None:
    exclusions = of("2026-12-25", "22:00-06:00", zone="Europe/Berlin")
    assert exclusions.reason(at("2026-12-25 23:00", "Europe/Berlin")) == "excluded: 2026-12-25"
    assert exclusions.reason(at("2026-12-26 23:00", "Europe/Berlin")) == "blackout 22:00-06:00 (Europe/Berlin)"


def test_windows_that_follow_each_other_count_as_one() -> None:
    exclusions = of("sat,sun", "22:00-06:00", "2026-11-23")
    assert exclusions.until(at("2026-11-20 22:00")) == at("2026-11-24 06:00")


def test_without_windows_nothing_is_excluded() -> None:
    nothing = of()
    assert not nothing
    assert nothing.reason(at("2026-12-25 00:00")) is None
    assert nothing.until(at("2026-12-25 00:00")) == at("2026-12-25 00:00")


@pytest.mark.parametrize("entry", ["mon-sun", "01-01..12-31"])
def test_what_never_ends_has_no_end(entry: str) -> None:
    assert of(entry).until(at("2026-12-25 00:00")) is None


# zone, window, an instant in it, its end
AT_CLOCK_CHANGES = [
    # Berlin 2026-10-25: 03:00 becomes 02:00. Both passes through the window are inside, what lies between is not.
    ("Europe/Berlin", "02:00-02:30", ("2026-10-25 02:10", 0), ("2026-10-25 02:30", 0)),
    ("Europe/Berlin", "02:00-02:30", ("2026-10-25 02:10", 1), ("2026-10-25 02:30", 1)),
    ("Europe/Berlin", "02:00-03:00", ("2026-10-25 02:10", 0), ("2026-10-25 03:00", 0)),
    ("Europe/Berlin", "02:30-04:00", ("2026-10-25 02:40", 0), ("2026-10-25 02:00", 1)),
    # Berlin 2026-03-29: 02:00 becomes 03:00
    ("Europe/Berlin", "01:00-02:30", ("2026-03-29 01:10", 0), ("2026-03-29 03:00", 0)),
    # Santiago 2026-09-06: 00:00 becomes 01:00; 2026-04-05: 00:00 becomes 04-04 23:00
    ("America/Santiago", "2026-09-05", ("2026-09-05 12:00", 0), ("2026-09-06 01:00", 0)),
    ("America/Santiago", "2026-09-06", ("2026-09-06 01:00", 0), ("2026-09-07 00:00", 0)),
    ("America/Santiago", "2026-04-04", ("2026-04-04 12:00", 0), ("2026-04-05 00:00", 0)),
    ("America/Santiago", "22:00-23:30", ("2026-04-04 22:10", 0), ("2026-04-04 23:30", 0)),
    ("America/Santiago", "22:00-23:30", ("2026-04-04 23:10", 1), ("2026-04-04 23:30", 1)),
    # Cairo 2026-04-24: 00:00 becomes 01:00
    ("Africa/Cairo", "22:00-00:30", ("2026-04-23 23:00", 0), ("2026-04-24 01:00", 0)),
    # Apia had no 30 December 2011 at all
    ("Pacific/Apia", "2011-12-29..2011-12-30", ("2011-12-29 12:00", 0), ("2011-12-31 00:00", 0)),
]


@pytest.mark.parametrize(("zone", "window", "inside", "end"), AT_CLOCK_CHANGES)
def test_where_clocks_change_the_clock_decides(
    zone: str, window: str, inside: tuple[str, int], end: tuple[str, int]
) -> None:
    until = of(window, zone=zone).until(at(inside[0], zone, inside[1]))
    assert until == at(end[0], zone, end[1]).astimezone(UTC)


WINDOWS = [
    "22:00-06:00",
    "23:30-00:30",
    "02:15-02:45",
    "01:00-03:00",
    "sat,sun",
    "sun 00:00-01:00",
    "sat 22:00-06:00",
    "04-05",
    "09-06",
    "2026-10-24..2026-10-25",
    "2026-03-29 02:30..2026-03-29 04:00",
    "2026-04-04 23:30..2026-04-05 00:30",
]
CHANGES = [
    ("Europe/Berlin", datetime(2026, 3, 29, 1, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 25, 1, tzinfo=UTC)),
    ("America/Santiago", datetime(2026, 4, 5, 3, tzinfo=UTC)),
    ("America/Santiago", datetime(2026, 9, 6, 4, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 15, tzinfo=UTC)),
    ("Africa/Cairo", datetime(2026, 4, 23, 22, tzinfo=UTC)),
    ("America/Havana", datetime(2026, 11, 1, 5, tzinfo=UTC)),
]


@given(
    st.sampled_from(CHANGES),
    st.lists(st.sampled_from(WINDOWS), min_size=1, max_size=3, unique=True),
    st.integers(-36 * 60, 36 * 60),
)
@settings(max_examples=60, deadline=None)
def test_the_end_is_the_first_minute_that_is_not_covered(
    change: tuple[str, datetime], windows: list[str], minutes: int
) -> None:
    zone, moment = change
    exclusions, start = of(*windows, zone=zone), moment + minutes * MINUTE
    walked = start
    while exclusions.reason(walked) is not None:
        walked += MINUTE
    assert exclusions.until(start) == walked


REFUSED = [
    ("2026-02-30", "is not in the calendar: day is out of range"),
    ("13-01", "is not in the calendar: month must be"),
    ("02-30", "is not in the calendar"),
    ("2026-12-27..2026-12-24", "ends before it begins"),
    ("2026-12-27..12-24", "is not a date; write 2026-12-25, 12-25 for every year"),
    ("1969-12-31", "the year must be from 1970 to 9998"),
    ("9999-12-31", "the year must be from 1970 to 9998"),
    ("5", "is not a date"),
    ("", "is not a date"),
]
REFUSED_BLACKOUTS = [
    ("", "is not a blackout; write times, days or both"),
    ("22-06", "is not a blackout"),
    ("22:00", "is not a blackout"),
    ("9:00-17:00", "is not a blackout"),
    ("funday", "is not a blackout"),
    ("mon-", "is not a blackout"),
    ("09:00-17:00 mon", "is not a blackout"),
    ("sat sun", "is not a blackout"),
    ("mon 09:00-17:00 x", "is not a blackout"),
    ("09:00-09:00", "begins and ends at the same time; for whole days write only the days: mon-sun"),
    ("24:00-06:00", "begins and ends at the same time"),
    ("22:00-24:01", "24:01 is not a time of day"),
    ("22:60-23:00", "22:60 is not a time of day"),
    ("2026-12-24 18:00..2026-12-24 18:00", "ends before it begins"),
    ("2026-12-24..2026-12-25", "is not a blackout"),
    ("2026-12-32 18:00..2026-12-27 06:00", "is not in the calendar"),
]


@pytest.mark.parametrize(("entry", "reason"), REFUSED)
def test_what_is_no_date_is_refused(entry: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        Exclusions.of([entry], [], ZoneInfo("UTC"))


@pytest.mark.parametrize(("entry", "reason"), REFUSED_BLACKOUTS)
def test_what_is_no_window_is_refused(entry: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        Exclusions.of([], [entry], ZoneInfo("UTC"))
