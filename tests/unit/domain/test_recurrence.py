"""Schedules written as RRULEs, held against plain dateutil."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from dateutil.rrule import rrulestr
from hypothesis import given, settings
from hypothesis import strategies as st

from jobsched.domain.errors import InvalidInput
from jobsched.domain.recurrence import Recurrence
from jobsched.domain.timetables import StoredTimetable, parse_schedule, stored_timetable, upcoming

ANCHOR = datetime(2026, 1, 1, tzinfo=UTC)


def recurrence(text: str, zone: str = "UTC") -> Recurrence:
    parsed = parse_schedule(text, timezone=ZoneInfo(zone), anchor=ANCHOR)
    assert isinstance(parsed, Recurrence)
    return parsed


def due(text: str, count: int, zone: str = "UTC", after: str = "2026-01-01") -> list[str]:
    tz = ZoneInfo(zone)
    found = upcoming(recurrence(text, zone), after=datetime.fromisoformat(after).replace(tzinfo=tz), count=count)
    return [f"{instant.astimezone(tz):%Y-%m-%d %H:%M}" for instant in found]


@pytest.mark.parametrize(
    ("text", "instants"),
    [
        ("RRULE:FREQ=MONTHLY;BYDAY=2TU;BYHOUR=9", ["2026-01-13 09:00", "2026-02-10 09:00"]),
        ("rrule:freq=monthly;bymonthday=-1", ["2026-01-31 00:00", "2026-02-28 00:00"]),
        ("RRULE:FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1", ["2026-01-30 00:00", "2026-02-27 00:00"]),
        ("DTSTART:20260105T093000\nRRULE:FREQ=WEEKLY;INTERVAL=2", ["2026-01-05 09:30", "2026-01-19 09:30"]),
        ("DTSTART:20260105T093000 RRULE:FREQ=DAILY;INTERVAL=10;COUNT=2", ["2026-01-05 09:30", "2026-01-15 09:30"]),
        # Intervals count from the start, however long ago it is, and what is left open is the start's.
        ("DTSTART:20100115T093000 RRULE:FREQ=MONTHLY;INTERVAL=5", ["2026-04-15 09:30", "2026-09-15 09:30"]),
        ("DTSTART:20100115T093000 RRULE:FREQ=WEEKLY;INTERVAL=3", ["2026-01-09 09:30", "2026-01-30 09:30"]),
        ("DTSTART:20100115T093000 RRULE:FREQ=HOURLY;INTERVAL=5", ["2026-01-01 04:30", "2026-01-01 09:30"]),
        # The origin 2000-01-01 00:00 is a Saturday.
        ("RRULE:FREQ=WEEKLY", ["2026-01-03 00:00", "2026-01-10 00:00"]),
        ("RRULE:FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO", ["2026-05-11 00:00", "2027-05-17 00:00"]),
        ("RRULE:FREQ=DAILY;UNTIL=20260103", ["2026-01-02 00:00", "2026-01-03 00:00"]),
        ("DTSTART:20260101T120000 RRULE:FREQ=DAILY;UNTIL=20260102", ["2026-01-01 12:00", "2026-01-02 12:00"]),
        ("RRULE:FREQ=HOURLY;BYHOUR=1,3;BYMINUTE=5;UNTIL=20260101T030500", ["2026-01-01 01:05", "2026-01-01 03:05"]),
    ],
)
def test_it_is_due_when_the_rule_says(text: str, instants: list[str]) -> None:
    assert due(text, 2) == instants


@pytest.mark.parametrize(
    "text",
    ["DTSTART:20260105T093000 RRULE:FREQ=WEEKLY;COUNT=3", "DTSTART:20260105T093000 RRULE:FREQ=DAILY;COUNT=3"],
)
def test_after_its_count_it_is_over(text: str) -> None:
    assert len(due(text, 9)) == 3


def test_an_end_in_utc_is_turned_to_the_clock_of_the_zone() -> None:
    text = "DTSTART:20260101T100000 RRULE:FREQ=DAILY;UNTIL=20260102T150000Z"
    assert due(text, 9, "America/New_York") == ["2026-01-01 10:00", "2026-01-02 10:00"]
    assert due(text.replace("T150000Z", "T145959Z"), 9, "America/New_York") == ["2026-01-01 10:00"]


def test_rules_of_whole_days_come_at_fixed_times_where_clocks_change() -> None:
    text = "RRULE:FREQ=DAILY;BYHOUR=2;BYMINUTE=30"
    assert due(text, 2, "Europe/Berlin", "2026-03-28 12:00") == ["2026-03-29 03:00", "2026-03-30 02:30"]
    assert due(text, 2, "Europe/Berlin", "2026-10-24 12:00") == ["2026-10-25 02:30", "2026-10-26 02:30"]
    monthly = "RRULE:FREQ=MONTHLY;BYDAY=-1SU;BYHOUR=2;BYMINUTE=30"
    assert due(monthly, 2, "Europe/Berlin", "2026-03-28 12:00") == ["2026-03-29 03:00", "2026-04-26 02:30"]


def test_rules_of_hours_and_minutes_keep_their_pace_where_clocks_change() -> None:
    text = "RRULE:FREQ=MINUTELY;INTERVAL=30"
    assert due(text, 3, "Europe/Berlin", "2026-03-29 01:00") == [
        "2026-03-29 01:30",
        "2026-03-29 03:00",
        "2026-03-29 03:30",
    ]
    assert due(text, 5, "Europe/Berlin", "2026-10-25 01:45") == [
        "2026-10-25 02:00",
        "2026-10-25 02:30",
        "2026-10-25 02:00",
        "2026-10-25 02:30",
        "2026-10-25 03:00",
    ]


def sets(low: int, high: int, *, signed: bool = False) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    if signed:
        number = number | number.map(lambda n: -n)
    return st.lists(number.map(str), min_size=1, max_size=3, unique=True).map(",".join)


WEEK = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"]
DAYS = st.lists(st.sampled_from(WEEK), min_size=1, max_size=3, unique=True).map(",".join)
COUNTED_DAYS = st.lists(
    st.tuples(st.sampled_from(["", "1", "2", "-1", "4"]), st.sampled_from(["MO", "WE", "SU"])).map("".join),
    min_size=1,
    max_size=2,
    unique=True,
).map(",".join)
OF_ALL = {"BYMONTH": sets(1, 12), "BYHOUR": sets(0, 23), "BYMINUTE": sets(0, 59), "BYSECOND": sets(0, 59)}
PARTS: dict[str, dict[str, st.SearchStrategy[str]]] = {
    "YEARLY": OF_ALL
    | {"BYDAY": COUNTED_DAYS, "BYMONTHDAY": sets(1, 31, signed=True), "BYYEARDAY": sets(1, 366, signed=True)},
    "MONTHLY": OF_ALL | {"BYDAY": COUNTED_DAYS, "BYMONTHDAY": sets(1, 31, signed=True)},
    "WEEKLY": OF_ALL | {"BYDAY": DAYS},
    "DAILY": OF_ALL | {"BYDAY": DAYS, "BYMONTHDAY": sets(1, 31, signed=True)},
    "HOURLY": OF_ALL | {"BYDAY": DAYS, "BYMONTHDAY": sets(1, 31, signed=True)},
    "MINUTELY": OF_ALL | {"BYDAY": DAYS},
}


@st.composite
def rules(draw: st.DrawFn) -> tuple[datetime, str]:
    freq = draw(st.sampled_from(sorted(PARTS)))
    parts = draw(st.fixed_dictionaries({}, optional=PARTS[freq]))
    if freq == "YEARLY" and draw(st.booleans()):
        parts = {"BYWEEKNO": draw(sets(1, 53, signed=True)), "BYDAY": draw(DAYS)}
    if freq in ("YEARLY", "MONTHLY", "WEEKLY") and parts and draw(st.booleans()):
        parts["BYSETPOS"] = draw(st.sampled_from(["1", "-1", "2", "1,-2"]))
    parts["INTERVAL"] = str(draw(st.integers(1, 20)))
    if draw(st.booleans()):
        parts["WKST"] = draw(st.sampled_from(["MO", "SU", "WE"]))
    # dateutil walks from the start, so what it is asked about hours and minutes cannot be long ago.
    since = datetime(2025, 10, 1) if freq in ("HOURLY", "MINUTELY") else datetime(2010, 1, 1)
    start = draw(st.datetimes(since, datetime(2026, 2, 1))).replace(microsecond=0)
    return start, ";".join([f"FREQ={freq}", *(f"{name}={value}" for name, value in parts.items())])


@given(rules(), st.integers(-5 * 86400, 300 * 86400), st.booleans())
@settings(max_examples=200, deadline=None)
def test_it_agrees_with_plain_dateutil(rule: tuple[datetime, str], seconds: int, twice: bool) -> None:
    start, text = rule
    reading = datetime(2026, 2, 1) + timedelta(seconds=seconds)
    try:
        plain: Any = rrulestr(f"RRULE:{text}", dtstart=start)
    except ValueError:  # dateutil's word for a rule that never comes
        with pytest.raises(InvalidInput, match="never comes"):
            recurrence(f"DTSTART:{start:%Y%m%dT%H%M%S} RRULE:{text}")
        return
    ours = Recurrence(rule=text, start=f"{start:%Y%m%dT%H%M%S}", timezone=ZoneInfo("UTC"))
    following = ours.reading_after(reading)
    if following is None or following.year > 2036:
        return  # dateutil would walk on for long
    assert following == plain.after(reading)
    assert following > reading
    if twice and following.year < 2030:
        assert ours.reading_after(following) == plain.after(following)


@given(rules(), st.integers(1, 30))
@settings(max_examples=50, deadline=None)
def test_a_count_agrees_with_plain_dateutil(rule: tuple[datetime, str], count: int) -> None:
    start, text = rule
    ours = Recurrence(rule=f"{text};COUNT={count}", start=f"{start:%Y%m%dT%H%M%S}", timezone=ZoneInfo("UTC"))
    first = ours.reading_after(start - timedelta(days=1))
    if first is None or first.year > 2036:
        return
    found, reading = [first], ours.reading_after(first)
    while reading is not None and reading.year < 2036:
        found.append(reading)
        reading = ours.reading_after(reading)
    plain: Any = rrulestr(f"RRULE:{text};COUNT={count}", dtstart=start)
    assert found == list(plain.xafter(start, count=len(found), inc=True))
    assert reading is not None or len(found) == count


def test_a_rule_every_minute_since_1970_is_where_a_walk_would_come_to() -> None:
    start = datetime(1970, 1, 1)
    ours = Recurrence(rule="FREQ=MINUTELY;INTERVAL=7", start="19700101T000000", timezone=ZoneInfo("UTC"))
    reading = datetime(2026, 11, 21, 9, 30)
    following = ours.reading_after(reading)
    assert following is not None
    assert (following - start) % timedelta(minutes=7) == timedelta(0)
    assert timedelta(0) < following - reading <= timedelta(minutes=7)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("RRULE:FREQ=SECONDLY", "'RRULE:FREQ=SECONDLY' is not a schedule: FREQ must be one of .* such as 10s"),
        ("RRULE:INTERVAL=2", "FREQ must be one of YEARLY"),
        ("RRULE:FREQ=DAILY;BYFOO=1", "'BYFOO' is not a part of a rule"),
        ("RRULE:FREQ=DAILY;INTERVALL=1", "did you mean 'INTERVAL'?"),
        ("RRULE:FREQ=DAILY;INTERVAL", "must be a name, '=' and a value"),
        ("RRULE:FREQ=DAILY;FREQ=DAILY", "FREQ is given twice"),
        ("RRULE:FREQ=DAILY;INTERVAL=0", "INTERVAL=0 must be 1 to 10000"),
        ("RRULE:FREQ=DAILY;BYHOUR=24", "BYHOUR=24 must be 0 to 23"),
        ("RRULE:FREQ=DAILY;BYHOUR=x", "BYHOUR=X must be 0 to 23"),
        ("RRULE:FREQ=MONTHLY;BYMONTHDAY=0", "BYMONTHDAY=0 must be 1 to 31, or -1 to -31 from the end"),
        ("RRULE:FREQ=MONTHLY;BYDAY=TUE", "BYDAY=TUE must be days such as MO,TU"),
        ("RRULE:FREQ=WEEKLY;BYDAY=2TU", "needs FREQ=MONTHLY or YEARLY"),
        ("RRULE:FREQ=MONTHLY;BYWEEKNO=2", "BYWEEKNO does not go with FREQ=MONTHLY, only with YEARLY"),
        ("RRULE:FREQ=YEARLY;BYWEEKNO=2;BYDAY=2TU", "does not go with BYWEEKNO"),
        ("RRULE:FREQ=MONTHLY;BYSETPOS=1", "chooses from what another part"),
        ("RRULE:FREQ=WEEKLY;WKST=2", "WKST=2 must be one of MO"),
        ("RRULE:FREQ=DAILY;COUNT=4", "COUNT needs a first line such as DTSTART"),
        ("DTSTART:20260101T090000 RRULE:FREQ=DAILY;COUNT=10001", "COUNT=10001 must be 1 to 10000"),
        ("DTSTART:20260101T090000 RRULE:FREQ=DAILY;COUNT=4;UNTIL=20270101", "COUNT and UNTIL do not go together"),
        ("RRULE:FREQ=DAILY;UNTIL=tomorrow", "must be a date and a time, such as 20261231T235959, or a date"),
        ("RRULE:FREQ=DAILY;UNTIL=20260230", "UNTIL 20260230 is not in the calendar"),
        ("RRULE:FREQ=DAILY;UNTIL=19990101", "never comes"),
        ("DTSTART:20260101 RRULE:FREQ=DAILY", "must be a date and a time such as 20260101T090000"),
        ("DTSTART:20260101T090000Z RRULE:FREQ=DAILY", "on the clock of the job's timezone"),
        ("DTSTART;TZID=Europe/Berlin:20260101T090000 RRULE:FREQ=DAILY", "the zone is the job's timezone"),
        ("DTSTART:20260101T090000", "a line such as RRULE:FREQ=DAILY is missing"),
        ("RRULE:FREQ=DAILY RRULE:FREQ=WEEKLY", "RRULE is given twice; make two jobs"),
        ("RRULE:FREQ=DAILY EXDATE:20260101T090000", "EXDATE is not supported; list dates under exclude"),
        ("RRULE:FREQ=DAILY X-NAME:1", "'X-NAME:1' is neither DTSTART"),
        ("RRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", "never comes"),
        ("RRULE:FREQ=MINUTELY;BYMONTH=2;BYMONTHDAY=30", "never comes"),
        ("RRULE:FREQ=MINUTELY;INTERVAL=60;BYMINUTE=1", "never comes"),
        ("RRULE:FREQ=DAILY;BYHOUR=" + "1," * 300 + "1", "a rule has at most 500 characters"),
    ],
)
def test_what_is_no_rule_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        recurrence(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("RRULE:FREQ=MONTHLY;BYDAY=2TU;BYHOUR=9", "at 09:00 on the second Tuesday of every month, UTC"),
        (
            "RRULE:FREQ=MONTHLY;BYMONTHDAY=-1,-2",
            "at 00:00 on the second to last day and the last day of every month, UTC",
        ),
        ("RRULE:FREQ=MONTHLY;INTERVAL=3;BYHOUR=9,17", "at 09:00 and 17:00 on day 1 of every 3 months, UTC"),
        ("RRULE:FREQ=MONTHLY;BYMONTH=1,7;BYDAY=MO", "at 00:00 on every Monday of January and July, UTC"),
        ("RRULE:FREQ=YEARLY", "at 00:00 on day 1 of January, every year, UTC"),
        ("RRULE:FREQ=YEARLY;BYDAY=20MO", "at 00:00 on the 20th Monday of every year, UTC"),
        ("RRULE:FREQ=WEEKLY;BYDAY=MO,WE;BYHOUR=7", "at 07:00 every week on Monday and Wednesday, UTC"),
        ("RRULE:FREQ=DAILY;BYDAY=SA,SU", "at 00:00 every day that is a Saturday or Sunday, UTC"),
        ("RRULE:FREQ=DAILY;UNTIL=20271231T120000", "at 00:00 every day, until 2027-12-31 12:00, UTC"),
        (
            "DTSTART:20260101T093000 RRULE:FREQ=DAILY;COUNT=4",
            "at 09:30 every day, 4 times, from 2026-01-01 09:30 on, UTC",
        ),
        ("RRULE:FREQ=HOURLY;INTERVAL=5", "every 5 hours at minute 0, UTC"),
        ("RRULE:FREQ=MINUTELY", "every minute, UTC"),
        ("RRULE:FREQ=YEARLY;BYYEARDAY=100", "as RRULE:FREQ=YEARLY;BYYEARDAY=100 says, UTC"),
    ],
)
def test_it_is_told_in_words(text: str, words: str) -> None:
    assert recurrence(text).words() == words


@pytest.mark.parametrize(
    "text", ["RRULE:FREQ=MONTHLY;BYDAY=2TU", "DTSTART:20260101T090000\nRRULE:FREQ=DAILY;COUNT=4", "RRULE:FREQ=HOURLY"]
)
def test_it_is_stored_as_json_and_read_back(text: str) -> None:
    ours = recurrence(text, "Europe/Berlin")
    ours.after(ANCHOR)
    assert isinstance(ours, StoredTimetable)
    assert ours.stored()["kind"] == "rrule"
    assert stored_timetable(ours.stored()) == ours
    assert pickle.loads(pickle.dumps(ours)) == ours
