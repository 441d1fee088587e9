"""Timetables: what is due when, above all where clocks change."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from celery.schedules import crontab as CeleryCrontab
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from jobsched.domain import cronfields
from jobsched.domain.errors import InvalidInput
from jobsched.domain.readings import Readings
from jobsched.domain.timetables import Crontab, Every, Once, parse_schedule, upcoming

ANCHOR = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

# zone, cron string, local time to start after, local times due next
CLOCK_CHANGES = [
    # Berlin 2026-03-29: 02:00 becomes 03:00
    ("Europe/Berlin", "30 2 * * *", "2026-03-28 12:00", ["03-29 03:00 +0200", "03-30 02:30 +0200"]),
    ("Europe/Berlin", "0,30 2 * * *", "2026-03-28 12:00", ["03-29 03:00 +0200", "03-30 02:00 +0200"]),
    ("Europe/Berlin", "0 2,3 * * *", "2026-03-28 12:00", ["03-29 03:00 +0200", "03-30 02:00 +0200"]),
    ("Europe/Berlin", "59 1 * * *", "2026-03-28 12:00", ["03-29 01:59 +0100", "03-30 01:59 +0200"]),
    ("Europe/Berlin", "*/30 2 * * *", "2026-03-28 12:00", ["03-30 02:00 +0200", "03-30 02:30 +0200"]),
    ("Europe/Berlin", "0 * * * *", "2026-03-29 00:30", ["03-29 01:00 +0100", "03-29 03:00 +0200"]),
    ("Europe/Berlin", "*/30 * * * *", "2026-03-29 01:00", ["03-29 01:30 +0100", "03-29 03:00 +0200"]),
    # Berlin 2026-10-25: 03:00 becomes 02:00
    ("Europe/Berlin", "30 2 * * *", "2026-10-24 12:00", ["10-25 02:30 +0200", "10-26 02:30 +0100"]),
    ("Europe/Berlin", "0 3 * * *", "2026-10-24 12:00", ["10-25 03:00 +0100", "10-26 03:00 +0100"]),
    (
        "Europe/Berlin",
        "0 * * * *",
        "2026-10-25 01:30",
        ["10-25 02:00 +0200", "10-25 02:00 +0100", "10-25 03:00 +0100"],
    ),
    (
        "Europe/Berlin",
        "*/30 2 * * *",
        "2026-10-24 12:00",
        ["10-25 02:00 +0200", "10-25 02:30 +0200", "10-25 02:00 +0100", "10-25 02:30 +0100", "10-26 02:00 +0100"],
    ),
    ("Europe/Berlin", "* 2 25 10 *", "2026-10-25 02:59", ["10-25 02:00 +0100", "10-25 02:01 +0100"]),
    # New York 2026-03-08: 02:00 becomes 03:00; 2026-11-01: 02:00 becomes 01:00
    ("America/New_York", "0 2 * * *", "2026-03-07 12:00", ["03-08 03:00 -0400", "03-09 02:00 -0400"]),
    ("America/New_York", "30 1 * * *", "2026-10-31 12:00", ["11-01 01:30 -0400", "11-02 01:30 -0500"]),
    ("America/New_York", "*/30 1 * * *", "2026-11-01 01:10", ["11-01 01:30 -0400", "11-01 01:00 -0500"]),
    # Lord Howe 2026-04-05: 02:00 becomes 01:30; 2026-10-04: 02:00 becomes 02:30
    ("Australia/Lord_Howe", "45 1 * * *", "2026-04-04 12:00", ["04-05 01:45 +1100", "04-06 01:45 +1030"]),
    ("Australia/Lord_Howe", "*/15 2 * * *", "2026-04-05 01:00", ["04-05 02:00 +1030", "04-05 02:15 +1030"]),
    ("Australia/Lord_Howe", "*/15 1 * * *", "2026-04-05 01:40", ["04-05 01:45 +1100", "04-05 01:30 +1030"]),
    ("Australia/Lord_Howe", "15 2 * * *", "2026-10-03 12:00", ["10-04 02:30 +1100", "10-05 02:15 +1100"]),
    ("Australia/Lord_Howe", "*/15 * * * *", "2026-10-04 01:30", ["10-04 01:45 +1030", "10-04 02:30 +1100"]),
    # Santiago changes at midnight: 2026-09-06 00:00 becomes 01:00, 2026-04-05 00:00 becomes 04-04 23:00
    ("America/Santiago", "0 0 * * *", "2026-09-05 12:00", ["09-06 01:00 -0300", "09-07 00:00 -0300"]),
    ("America/Santiago", "*/30 0 * * *", "2026-09-05 12:00", ["09-07 00:00 -0300", "09-07 00:30 -0300"]),
    ("America/Santiago", "30 23 * * *", "2026-04-04 12:00", ["04-04 23:30 -0300", "04-05 23:30 -0400"]),
    ("America/Santiago", "*/30 23 * * *", "2026-04-04 23:20", ["04-04 23:30 -0300", "04-04 23:00 -0400"]),
    # Casablanca's clock goes back for Ramadan: 2026-02-15 03:00 becomes 02:00
    ("Africa/Casablanca", "30 2 * * *", "2026-02-14 12:00", ["02-15 02:30 +0100", "02-16 02:30 +0000"]),
    # Apia had no 30 December 2011 at all
    ("Pacific/Apia", "0 12 * * *", "2011-12-29 13:00", ["12-31 00:00 +1400", "12-31 12:00 +1400"]),
    ("Pacific/Apia", "* 12 30 12 *", "2011-12-29 13:00", ["12-30 12:00 +1400", "12-30 12:01 +1400"]),
    # Kathmandu is off by 45 minutes, all year
    ("Asia/Kathmandu", "0 0 * * *", "2026-05-01 12:00", ["05-02 00:00 +0545"]),
]


@pytest.mark.parametrize(("zone", "text", "start", "due"), CLOCK_CHANGES)
def test_clock_changes(zone: str, text: str, start: str, due: list[str]) -> None:
    tz = ZoneInfo(zone)
    crontab = parse_schedule(text, timezone=tz, anchor=ANCHOR)
    after = datetime.fromisoformat(start).replace(tzinfo=tz)
    found = upcoming(crontab, after=after, count=len(due))
    assert [f"{instant.astimezone(tz):%m-%d %H:%M %z}" for instant in found] == due


def test_the_fixed_time_of_a_repeated_hour_does_not_come_again_in_its_second_pass() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    second_pass = datetime(2026, 10, 25, 2, 10, fold=1, tzinfo=berlin)
    crontab = parse_schedule("30 2 * * *", timezone=berlin, anchor=ANCHOR)
    assert crontab.after(second_pass) == datetime(2026, 10, 26, 2, 30, tzinfo=berlin)


def brute_force(crontab: Crontab, *, start: datetime, end: datetime) -> list[datetime]:
    """Walk every minute as cron's documentation says it: no arithmetic to get wrong.

    A fixed time is due when the clock reaches or jumps over it for the first time.
    """
    fields = (
        cronfields.row_numbers(cronfields.MINUTE, crontab.minute),
        cronfields.row_numbers(cronfields.HOUR, crontab.hour),
        cronfields.row_numbers(cronfields.DAY_OF_MONTH, crontab.day_of_month),
        cronfields.row_numbers(cronfields.MONTH, crontab.month_of_year),
        cronfields.row_numbers(cronfields.DAY_OF_WEEK, crontab.day_of_week),
    )

    def matches(reading: datetime) -> bool:
        shown = (reading.minute, reading.hour, reading.day, reading.month, reading.isoweekday() % 7)
        return all(value in field for value, field in zip(shown, fields, strict=True))

    follows_the_clock = crontab.minute.startswith("*") or crontab.hour.startswith("*")
    due = []
    moment = start - timedelta(hours=4)
    furthest = (moment - MINUTE).astimezone(crontab.timezone).replace(tzinfo=None)
    while moment <= end:
        reading = moment.astimezone(crontab.timezone).replace(tzinfo=None, fold=0)
        if follows_the_clock:
            hit = matches(reading)
        else:
            hit = False
            while furthest < reading:
                furthest += MINUTE
                hit = hit or matches(furthest)
        if hit and moment > start:
            due.append(moment)
        moment += MINUTE
    return due


CHANGES = [
    ("Europe/Berlin", datetime(2026, 3, 29, 1, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 25, 1, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 3, 8, 7, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 11, 1, 6, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 15, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 10, 3, 15, 30, tzinfo=UTC)),
    ("America/Santiago", datetime(2026, 4, 5, 3, tzinfo=UTC)),
    ("America/Santiago", datetime(2026, 9, 6, 4, tzinfo=UTC)),
    ("Africa/Casablanca", datetime(2026, 2, 15, 2, tzinfo=UTC)),
    ("Africa/Cairo", datetime(2026, 4, 23, 22, tzinfo=UTC)),
    ("Asia/Kolkata", datetime(2026, 6, 1, tzinfo=UTC)),
]


def numbers_of(field: cronfields.Field) -> st.SearchStrategy[str]:
    number = st.integers(field.low, field.high)
    step = st.integers(1, field.high).map("*/{}".format)
    some = st.lists(number.map(str), min_size=1, max_size=4).map(",".join)
    return st.just("*") | step | some | st.tuples(number, number).map(lambda p: f"{min(p)}-{max(p)}")


@st.composite
def crontabs_near_a_change(draw: st.DrawFn) -> tuple[Crontab, datetime]:
    zone, change = draw(st.sampled_from(CHANGES))
    tz = ZoneInfo(zone)
    day = change.astimezone(tz)
    near = st.sampled_from([day.hour, (day.hour - 1) % 24, (day.hour + 1) % 24]).map(str)
    start = change + timedelta(seconds=draw(st.integers(-5 * 3600, 3 * 3600)))
    crontab = Crontab(
        minute=draw(numbers_of(cronfields.MINUTE)),
        hour=draw(numbers_of(cronfields.HOUR) | near),
        day_of_month=draw(st.just("*") | st.sampled_from([str(day.day), f"{day.day},1"])),
        month_of_year=draw(st.sampled_from(["*", str(day.month)])),
        day_of_week=draw(st.sampled_from(["*", str(day.isoweekday() % 7), "0,6"])),
        timezone=tz,
    )
    return crontab, start


@given(crontabs_near_a_change())
@settings(max_examples=150, deadline=None)
def test_near_clock_changes_it_agrees_with_a_walk_over_every_minute(case: tuple[Crontab, datetime]) -> None:
    crontab, start = case
    walked = brute_force(crontab, start=start.replace(second=0, microsecond=0), end=start + timedelta(hours=9))
    expected = [instant for instant in walked if instant > start]
    assert upcoming(crontab, after=start, count=2000, until=start + timedelta(hours=9)) == expected


@st.composite
def crontabs(draw: st.DrawFn) -> tuple[str, str, str, str, str]:
    """Fields without a clock change to mind; any day of a month and week."""
    return (
        draw(numbers_of(cronfields.MINUTE)),
        draw(numbers_of(cronfields.HOUR)),
        draw(st.just("*") | st.integers(1, 28).map(str) | st.just("1-7,15-21") | st.just("29")),
        draw(st.just("*") | st.just("2") | st.just("*/3")),
        draw(st.just("*") | numbers_of(cronfields.DAY_OF_WEEK)),
    )


@given(crontabs(), st.datetimes(datetime(2024, 1, 1), datetime(2040, 1, 1)))
@settings(max_examples=100, deadline=None)
def test_without_clock_changes_it_is_due_when_celery_says(fields: tuple[str, ...], start: datetime) -> None:
    minute, hour, day_of_month, month_of_year, day_of_week = fields
    moment = start.replace(second=0, microsecond=0, tzinfo=UTC)
    celery = CeleryCrontab(
        minute=minute,
        hour=hour,
        day_of_month=day_of_month,
        month_of_year=month_of_year,
        day_of_week=day_of_week,
        nowfun=lambda: moment,
    )
    celery.tz = UTC
    last, delta, _ = celery.remaining_delta(moment, tz=UTC)
    assert Crontab(
        minute=minute,
        hour=hour,
        day_of_month=day_of_month,
        month_of_year=month_of_year,
        day_of_week=day_of_week,
        timezone=ZoneInfo("UTC"),
    ).after(moment) == (last + delta)


@given(crontabs(), st.datetimes(datetime(2024, 1, 1), datetime(2040, 1, 1)))
@settings(max_examples=150, deadline=None)
def test_readings_agree_with_debians_cron_as_cronsim_has_it(fields: tuple[str, ...], start: datetime) -> None:
    minute, hour, day_of_month, month_of_year, _ = fields
    expected = next(CronSim(f"{minute} {hour} {day_of_month} {month_of_year} *", start))
    assert Readings.of(minute, hour, day_of_month, month_of_year, "*").after(start) == expected


def test_all_fields_of_a_row_must_match() -> None:
    friday_the_13th = Crontab(minute="0", hour="0", day_of_month="13", day_of_week="fri", timezone=ZoneInfo("UTC"))
    found = upcoming(friday_the_13th, after=datetime(2026, 1, 1, tzinfo=UTC), count=3)
    assert [f"{instant:%Y-%m-%d}" for instant in found] == ["2026-02-13", "2026-03-13", "2026-11-13"]


def test_a_row_that_never_matches_has_no_next_instant() -> None:
    assert Crontab(day_of_month="30", month_of_year="2", timezone=ZoneInfo("UTC")).after(ANCHOR) is None


def test_29_february_on_a_monday_is_found_across_2100() -> None:
    leap_monday = Crontab(
        minute="0", hour="0", day_of_month="29", month_of_year="2", day_of_week="1", timezone=ZoneInfo("UTC")
    )
    found = upcoming(leap_monday, after=datetime(2052, 1, 1, tzinfo=UTC), count=3)
    assert [instant.year for instant in found] == [2072, 2112, 2140]


def test_the_answer_is_strictly_after_and_in_utc() -> None:
    noon = parse_schedule("0 12 * * *", timezone=ZoneInfo("Europe/Berlin"), anchor=ANCHOR)
    at = datetime(2026, 6, 1, 10, tzinfo=UTC)
    assert noon.after(at - timedelta(microseconds=1)) == at
    assert noon.after(at) == at + timedelta(days=1)
    assert noon.after(at + timedelta(microseconds=1)) == at + timedelta(days=1)
    assert noon.after(at).tzinfo is UTC  # type: ignore[union-attr]


def test_a_moment_without_a_zone_is_a_mistake_in_the_program() -> None:
    naive = datetime(2026, 1, 1)
    with pytest.raises(ValueError, match="no time zone"):
        Crontab(timezone=ZoneInfo("UTC")).after(naive)
    with pytest.raises(ValueError, match="no time zone"):
        Every(period=MINUTE, anchor=naive)
    with pytest.raises(ValueError, match="no time zone"):
        Once(at=naive)


def test_a_row_with_a_field_that_makes_no_sense_is_refused_when_it_is_given() -> None:
    with pytest.raises(InvalidInput, match="minute 99 is outside 0-59"):
        Crontab(minute="99", timezone=ZoneInfo("UTC"))


def test_timetables_can_be_pickled_and_compared() -> None:
    crontab = parse_schedule("0 2 * * *", timezone=ZoneInfo("Europe/Berlin"), anchor=ANCHOR)
    crontab.after(ANCHOR)
    assert pickle.loads(pickle.dumps(crontab)) == crontab


# Every and Once


@given(
    st.timedeltas(timedelta(microseconds=1), timedelta(days=400)),
    st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),
    st.datetimes(datetime(2015, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC)),
)
def test_an_interval_is_due_at_whole_periods_after_its_anchor(
    period: timedelta, anchor: datetime, moment: datetime
) -> None:
    due = Every(period=period, anchor=anchor).after(moment)
    assert due is not None
    assert due > moment
    assert due > anchor
    assert (due - anchor) % period == timedelta(0)
    assert due - period <= max(moment, anchor)


def test_an_interval_ends_with_the_calendar() -> None:
    assert Every(period=timedelta(days=3000), anchor=ANCHOR).after(datetime(9999, 1, 1, tzinfo=UTC)) is None


def test_an_interval_must_be_positive() -> None:
    with pytest.raises(InvalidInput, match="longer than nothing"):
        Every(period=timedelta(0), anchor=ANCHOR)


def test_once_is_due_until_it_has_been() -> None:
    at = datetime(2026, 12, 1, 3, tzinfo=UTC)
    assert Once(at=at).after(at - timedelta(microseconds=1)) == at
    assert Once(at=at).after(at) is None


def test_upcoming_stops_at_the_count_the_limit_and_the_end() -> None:
    every = Every(period=MINUTE, anchor=ANCHOR)
    assert upcoming(every, after=ANCHOR, count=2) == [ANCHOR + MINUTE, ANCHOR + 2 * MINUTE]
    assert upcoming(every, after=ANCHOR, count=9, until=ANCHOR + MINUTE) == [ANCHOR + MINUTE]
    assert upcoming(Once(at=ANCHOR), after=ANCHOR, count=9) == []


# What users write


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("0 2 * * *", ("0", "2", "*", "*", "*")),
        ("  */15  9-17 *\t* mon-fri ", ("*/15", "9-17", "*", "*", "1-5")),
        ("0 0 1,15 jan,jul *", ("0", "0", "1,15", "1,7", "*")),
        ("0 0 * * 7", ("0", "0", "*", "*", "0")),
        ("0 0 * * wed", ("0", "0", "*", "*", "3")),
        ("0 0 1-31 * 5", ("0", "0", "1-31", "*", "5")),
    ],
)
def test_a_cron_string_becomes_the_fields_of_a_row(text: str, fields: tuple[str, ...]) -> None:
    zone = ZoneInfo("Europe/Berlin")
    crontab = parse_schedule(text, timezone=zone, anchor=ANCHOR)
    assert isinstance(crontab, Crontab)
    given_ = (crontab.minute, crontab.hour, crontab.day_of_month, crontab.month_of_year, crontab.day_of_week)
    assert given_ == fields
    assert crontab.timezone == zone


def test_a_duration_becomes_an_interval() -> None:
    schedule = parse_schedule("1h30m", timezone=ZoneInfo("UTC"), anchor=ANCHOR)
    assert schedule == Every(period=timedelta(minutes=90), anchor=ANCHOR)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "a schedule is empty"),
        ("61 * * * *", "'61 \\* \\* \\* \\*' is not a cron string: minute 61 is outside 0-59"),
        ("0 0 * *", "has 4 fields; a cron string has five"),
        ("0 0 0 * * *", "has 6 fields; a cron string has five"),
        ("0 0 13 * 5", "restricts both day of month and day of week"),
        ("0 0 */2 * mon", "restricts both"),
        ("0 0 30 2 *", "never comes"),
        ("0 0 31 2,4,6,9,11 *", "never comes"),
        ("@daily", "names such as @daily are not supported"),
        ("@every 5m", "names such as @daily are not supported"),
        ("0 0 15W * *", "'W' \\(the nearest weekday\\) is not supported"),
        ("0 0 LW * *", "'W' \\(the nearest weekday\\) is not supported"),
        ("0 0 ? * *", "write '\\*' for any"),
        ("90", "write 90s for every 90 seconds"),
        ("500ms", "whole seconds, from 1s"),
        ("0s", "whole seconds, from 1s"),
        ("every day", "has 2 fields"),
        ("daily", "neither a cron string of five fields nor a duration"),
        ("0 0 * * " + "1," * 120 + "1", "at most 200 characters"),
    ],
)
def test_what_cannot_be_a_schedule_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        parse_schedule(text, timezone=ZoneInfo("UTC"), anchor=ANCHOR)


@pytest.mark.parametrize(
    ("text", "zone", "words"),
    [
        ("0 2 * * *", "Europe/Berlin", "at 02:00 every day, Europe/Berlin"),
        ("* * * * *", "UTC", "every minute, UTC"),
        ("*/15 9-17 * * mon-fri", "UTC", "every 15 minutes from 09:00 to 17:45, from Monday to Friday, UTC"),
        ("0 0 * * 5-7", "UTC", "at 00:00, from Friday to Sunday, UTC"),
        ("90s", "UTC", "every 90 seconds"),
        ("1h", "UTC", "every hour"),
        ("1h1m1s", "UTC", "every 1 hour 1 minute 1 second"),
    ],
)
def test_a_schedule_in_words(text: str, zone: str, words: str) -> None:
    assert parse_schedule(text, timezone=ZoneInfo(zone), anchor=ANCHOR).words() == words


def test_a_row_in_words_says_that_both_days_must_match() -> None:
    words = Crontab(minute="0", hour="0", day_of_month="13", day_of_week="fri", timezone=ZoneInfo("UTC")).words()
    assert words == "at 00:00 on day 13 of the month if that is a Friday, UTC"


def test_one_moment_in_words() -> None:
    assert Once(at=datetime(2026, 12, 1, 3, tzinfo=UTC)).words() == "once, at 2026-12-01 03:00 UTC"
    assert Once(at=datetime(2026, 12, 1, 3, 0, 5, tzinfo=UTC)).words() == "once, at 2026-12-01 03:00:05 UTC"


@given(
    anchor=st.datetimes(datetime(2018, 1, 1), datetime(2026, 12, 31)),
    ahead=st.timedeltas(timedelta(days=-2), timedelta(days=400)),
    period=st.timedeltas(timedelta(seconds=1), timedelta(days=2)),
    zone=st.sampled_from(["Europe/Berlin", "America/Sao_Paulo", "Asia/Kathmandu", "Australia/Lord_Howe"]),
)
def test_intervals_and_moments_are_counted_in_utc_whatever_zone_they_come_in(
    anchor: datetime, ahead: timedelta, period: timedelta, zone: str
) -> None:
    anchor = anchor.replace(tzinfo=UTC)
    moment = anchor + ahead
    local_anchor, local_moment = (at.astimezone(ZoneInfo(zone)) for at in (anchor, moment))
    found = Every(period=period, anchor=local_anchor).after(local_moment)
    assert found == Every(period=period, anchor=anchor).after(moment)
    assert found is not None and found.tzinfo is UTC
    assert Once(at=local_anchor).after(local_moment) == Once(at=anchor).after(moment)
