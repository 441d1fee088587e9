"""Crontabs that count days within a month."""

from __future__ import annotations

import pickle
from calendar import monthrange
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobsched.domain.errors import InvalidInput
from jobsched.domain.monthlycrontab import MonthlyCrontab
from jobsched.domain.timetables import Crontab, StoredTimetable, parse_schedule, stored_timetable, upcoming

ANCHOR = datetime(2026, 1, 1, tzinfo=UTC)
STORED = MonthlyCrontab.parse(["0", "0", "L", "*", "*"], timezone=ZoneInfo("UTC")).stored()


def monthly(text: str, zone: str = "UTC") -> MonthlyCrontab:
    crontab = parse_schedule(text, timezone=ZoneInfo(zone), anchor=ANCHOR)
    assert isinstance(crontab, MonthlyCrontab)
    return crontab


DAYS = [
    ("0 0 L * *", ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30"]),
    ("0 0 L 2 *", ["2026-02-28", "2027-02-28", "2028-02-29"]),
    ("0 0 15,l * *", ["2026-01-15", "2026-01-31", "2026-02-15", "2026-02-28"]),
    ("0 0 31,L 3,4 *", ["2026-03-31", "2026-04-30", "2027-03-31"]),
    ("0 0 * * tue#2", ["2026-01-13", "2026-02-10", "2026-03-10"]),
    ("0 0 * * 7#1", ["2026-01-04", "2026-02-01", "2026-03-01"]),
    ("0 0 * * mon#5", ["2026-03-30", "2026-06-29", "2026-08-31"]),
    ("0 0 * 2 mon#5", ["2044-02-29", "2072-02-29"]),
    ("0 0 * * friL", ["2026-01-30", "2026-02-27", "2026-03-27"]),
    ("0 0 * * 5L", ["2026-01-30", "2026-02-27", "2026-03-27"]),
    ("0 0 * * 0L,mon#1", ["2026-01-05", "2026-01-25", "2026-02-02", "2026-02-22"]),
    ("0 0 * 1 sun,wed#2", ["2026-01-04", "2026-01-11", "2026-01-14", "2026-01-18"]),
]


@pytest.mark.parametrize(("text", "days"), DAYS)
def test_days_are_counted_within_the_month(text: str, days: list[str]) -> None:
    found = upcoming(monthly(text), after=ANCHOR, count=len(days))
    assert [f"{instant:%Y-%m-%d}" for instant in found] == days


@given(
    st.integers(0, 6), st.sampled_from([1, 2, 3, 4, 5, -1]), st.datetimes(datetime(2024, 1, 1), datetime(2040, 1, 1))
)
@settings(max_examples=100, deadline=None)
def test_a_counted_weekday_is_the_one_that_a_calendar_page_shows(weekday: int, nth: int, start: datetime) -> None:
    moment = start.replace(tzinfo=UTC)
    due = monthly(f"0 0 * * {weekday}{'L' if nth < 0 else f'#{nth}'}").after(moment)
    assert due is not None
    day = moment.date() + timedelta(days=1)
    while True:
        page = [
            date(day.year, day.month, number)
            for number in range(1, monthrange(day.year, day.month)[1] + 1)
            if date(day.year, day.month, number).isoweekday() % 7 == weekday
        ]
        wanted = page[nth - 1 if nth > 0 else -1 :][:1]
        if wanted == [day]:
            break
        day += timedelta(days=1)
    assert due.date() == day


def test_at_clock_changes_it_does_what_a_crontab_does() -> None:
    # The last Sundays of March and October are when Berlin's clocks change.
    march, october = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC)
    fixed, paced = monthly("30 2 * * sunL", "Europe/Berlin"), monthly("*/30 2 * * sunL", "Europe/Berlin")
    assert fixed.after(march) == datetime(2026, 3, 29, 1, tzinfo=UTC)  # 03:00, right after the gap
    assert paced.after(march) == datetime(2026, 4, 26, 0, tzinfo=UTC)
    first_pass = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert fixed.after(october) == first_pass
    assert fixed.after(first_pass) == datetime(2026, 11, 29, 1, 30, tzinfo=UTC)
    assert paced.after(first_pass) == datetime(2026, 10, 25, 1, tzinfo=UTC)  # 02:00 in the second pass


@pytest.mark.parametrize("text", [text for text, _ in DAYS] + ["*/15 9-17 L * *"])
def test_it_is_stored_as_json_and_read_back(text: str) -> None:
    crontab = monthly(text, "Europe/Berlin")
    crontab.after(ANCHOR)
    assert isinstance(crontab, StoredTimetable)
    assert crontab.stored()["kind"] == "monthly_crontab"
    assert stored_timetable(crontab.stored()) == crontab
    assert pickle.loads(pickle.dumps(crontab)) == crontab


def test_a_cron_string_that_counts_no_days_stays_a_row() -> None:
    for text in ("0 0 * jul *", "0 0 * * wed", "0 0 1 * *"):
        assert isinstance(parse_schedule(text, timezone=ZoneInfo("UTC"), anchor=ANCHOR), Crontab)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0 0 L * 5", "restricts both day of month and day of week"),
        ("0 0 1-7 * tue#2", "restricts both"),
        ("0 0 * * L", "write 5L for the last Friday"),
        ("0 0 * * tue#6", "takes 1 to 5"),
        ("0 0 * * tue#", "'#' \\(the nth weekday"),
        ("0 0 * * tue#0", "takes 1 to 5"),
        ("0 0 * * foo#2", "'foo' is not one of sun, mon"),
        ("0 0 * * 8#2", "'#' \\(the nth weekday"),
        ("L 0 * * *", "minute 'l' is not a number"),
        ("0 0 L-3 * *", "day of month 'l' is not a number"),
        ("0 0 5L * *", "day of month '5l' is not a number"),
        ("0 0 1#2 * *", "'#' \\(the nth weekday"),
    ],
)
def test_what_counts_nothing_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        parse_schedule(text, timezone=ZoneInfo("UTC"), anchor=ANCHOR)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 9 * * tue#2", "at 09:00 on the second Tuesday of the month, UTC"),
        ("0 9,17 L * *", "at 09:00 and 17:00 on the last day of the month, UTC"),
        ("30 6 1,15,L 1,7 *", "at 06:30 on day 1, day 15 and the last day of the month in January and July, UTC"),
        ("0 9 * * friL,mon#1", "at 09:00 on the first Monday and the last Friday of the month, UTC"),
        ("0 9 * * sun,wed#2", "at 09:00 on every Sunday and the second Wednesday of the month, UTC"),
        ("*/15 * L * *", "every 15 minutes on the last day of the month, UTC"),
    ],
)
def test_it_is_told_in_words(text: str, words: str) -> None:
    assert monthly(text).words() == words


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"kind": "lunar"}, "'lunar' is not a kind of schedule that is known; known are monthly_crontab, rrule"),
        ({}, "is not a kind of schedule"),
        ([], "is not a kind of schedule"),
        ({"kind": "monthly_crontab"}, "cannot be read: KeyError"),
        ({**STORED, "timezone": "No/Where"}, "No/Where"),
        ({**STORED, "hour": "99"}, "hour 99"),
    ],
)
def test_stored_nonsense_is_refused(data: dict[str, str], reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        stored_timetable(data)
