"""Schedules written as RRULEs, held against plain dateutil."""

from __future__ import annotations

import pickle
from calendar import monthrange
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
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
# Days and counted days are not mixed: see test_days_and_counted_days_are_both_wanted.
COUNTED_DAYS = DAYS | st.lists(
    st.tuples(st.sampled_from(["1", "2", "-1", "4"]), st.sampled_from(["MO", "WE", "SU"])).map("".join),
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


LONG = ("YEARLY", "MONTHLY", "WEEKLY", "DAILY")


@st.composite
def rules(draw: st.DrawFn, *freqs: str) -> tuple[datetime, str]:
    freq = draw(st.sampled_from(freqs))
    parts = draw(st.fixed_dictionaries({}, optional=PARTS[freq]))
    if freq == "YEARLY" and draw(st.booleans()):
        parts = {"BYWEEKNO": draw(sets(1, 53, signed=True)), "BYDAY": draw(DAYS)}
    if freq in LONG and len(parts) > 1 and draw(st.booleans()):
        parts["BYSETPOS"] = draw(st.sampled_from(["1", "-1", "2", "1,-2"]))
    parts["INTERVAL"] = str(draw(st.integers(1, 20)))
    if draw(st.booleans()):
        parts["WKST"] = draw(st.sampled_from(["MO", "SU", "WE"]))
    start = draw(st.datetimes(datetime(1900, 1, 1), datetime(2026, 2, 1))).replace(microsecond=0)
    return start, ";".join([f"FREQ={freq}", *(f"{name}={value}" for name, value in parts.items())])


def ours_of(start: datetime, text: str) -> Recurrence:
    return Recurrence(rule=text, start=f"{start:%Y%m%dT%H%M%S}", timezone=ZoneInfo("UTC"))


def plain_of(start: datetime, text: str) -> Any:
    """The rule as dateutil reads it, or None where that says that it never comes."""
    try:
        return rrulestr(f"RRULE:{text}", dtstart=start)
    except ValueError:
        return None


def readings(ours: Recurrence, after: datetime, until: datetime) -> list[datetime]:
    found: list[datetime] = []
    reading = ours.reading_after(after)
    while reading is not None and reading <= until and len(found) < 100:
        found.append(reading)
        reading = ours.reading_after(reading)
    return found


@given(rules(*LONG), st.integers(-400, 120 * 366), st.integers(0, 86399))
@settings(max_examples=80, deadline=None)
def test_it_agrees_with_dateutil_however_old_its_start_is(rule: tuple[datetime, str], days: int, seconds: int) -> None:
    start, text = rule
    after = start + timedelta(days=days, seconds=seconds)
    until = min(after + timedelta(days=800), datetime(2030, 1, 1))
    plain = plain_of(start, text)
    expected = [] if plain is None else list(islice(takewhile(until.__ge__, plain.xafter(after)), 100))
    assert readings(ours_of(start, text), after, until) == expected


@given(rules(*LONG), st.integers(1, 30))
@settings(max_examples=50, deadline=None)
def test_a_count_ends_where_dateutil_ends_it(rule: tuple[datetime, str], count: int) -> None:
    start, text = rule
    until = start + timedelta(days=30 * 366)
    plain = plain_of(start, f"{text};COUNT={count}")
    expected = [] if plain is None else list(takewhile(until.__ge__, plain))
    assert readings(ours_of(start, f"{text};COUNT={count}"), start - timedelta(days=1), until) == expected


def asks_for(reading: datetime, start: datetime, parts: dict[str, str]) -> bool:
    """Tell whether a rule by the hour or minute without BYSETPOS asks for a reading, part by part."""
    unit = timedelta(hours=1) if parts["FREQ"] == "HOURLY" else timedelta(minutes=1)
    begin = start.replace(minute=0, second=0) if parts["FREQ"] == "HOURLY" else start.replace(second=0)
    shown = {
        "BYMONTH": reading.month,
        "BYHOUR": reading.hour,
        "BYMINUTE": reading.minute,
        "BYSECOND": reading.second,
    }
    defaults = {"BYSECOND": start.second} | ({"BYMINUTE": start.minute} if parts["FREQ"] == "HOURLY" else {})
    from_the_end = reading.day - monthrange(reading.year, reading.month)[1] - 1
    return (
        (reading - begin) // unit % int(parts["INTERVAL"]) == 0
        and all(shown[name] == value for name, value in defaults.items() if name not in parts)
        and all(str(shown[name]) in value.split(",") for name, value in parts.items() if name in shown)
        and ("BYDAY" not in parts or WEEK[reading.weekday()] in parts["BYDAY"].split(","))
        and (
            "BYMONTHDAY" not in parts or bool({str(reading.day), str(from_the_end)} & {*parts["BYMONTHDAY"].split(",")})
        )
    )


@given(rules("HOURLY", "MINUTELY"), st.integers(0, 40_000_000))
@settings(max_examples=60, deadline=None)
def test_rules_of_hours_and_minutes_ask_for_what_a_walk_finds(rule: tuple[datetime, str], minutes: int) -> None:
    start, text = rule
    parts = dict(part.split("=") for part in text.split(";"))
    after = start + timedelta(minutes=minutes)
    until = after + timedelta(hours=12)
    seconds = sorted({int(one) for one in parts.get("BYSECOND", str(start.second)).split(",")})
    first = after.replace(second=0)
    shown = [first + timedelta(minutes=n, seconds=second) for n in range(12 * 60 + 1) for second in seconds]
    expected = [one for one in shown if after < one <= until and asks_for(one, start, parts)]
    assert readings(ours_of(start, text), after, until) == expected[:100]


@pytest.mark.parametrize(
    "text",
    [
        "FREQ=HOURLY;INTERVAL=5;BYMINUTE=7,8,40;BYSETPOS=1,-1",
        "FREQ=HOURLY;BYMINUTE=7,8;BYSECOND=0,30;BYSETPOS=3",
        "FREQ=MINUTELY;INTERVAL=50;BYSECOND=5,10,15;BYHOUR=3,4,5;BYSETPOS=-2,2",
        "FREQ=DAILY;INTERVAL=3;BYHOUR=3,4,5;BYMINUTE=1,2;BYSETPOS=2,-1",
        "FREQ=WEEKLY;BYDAY=MO,TU,FR;BYHOUR=1,2;BYSETPOS=1,-2",
    ],
)
def test_what_is_chosen_from_a_short_period_agrees_with_dateutil(text: str) -> None:
    start = datetime(2025, 12, 31, 9, 30, 10)
    until = start + timedelta(days=12)
    expected = list(islice(plain_of(start, f"{text};UNTIL={until:%Y%m%dT%H%M%S}"), 100))
    assert len(expected) > 1
    assert readings(ours_of(start, text), start - timedelta(seconds=1), until) == expected


def test_days_and_counted_days_are_both_wanted() -> None:
    # dateutil wants days that are both, which is never; RFC 5545 adds them.
    assert due("RRULE:FREQ=MONTHLY;BYDAY=SU,1WE", 6) == [
        *("2026-01-04 00:00", "2026-01-07 00:00", "2026-01-11 00:00"),
        *("2026-01-18 00:00", "2026-01-25 00:00", "2026-02-01 00:00"),
    ]


# RFC 5545, section 3.8.5.3. DTSTART is 1997-09-02 09:00 in New York unless given. How many readings come before the
# end of 1999, and some of them.
EXAMPLES = [
    ("FREQ=DAILY;COUNT=10", 10, "1997-09-02 1997-09-11"),
    ("FREQ=DAILY;UNTIL=19971224T000000Z", 113, "1997-09-02 1997-12-23"),
    ("FREQ=DAILY;INTERVAL=10;COUNT=5", 5, "1997-09-02 1997-10-12"),
    ("FREQ=YEARLY;UNTIL=20000131T140000Z;BYMONTH=1;BYDAY=SU,MO,TU,WE,TH,FR,SA", 62, "1998-01-01 1999-01-31"),
    ("FREQ=WEEKLY;COUNT=10", 10, "1997-09-02 1997-11-04"),
    ("FREQ=WEEKLY;INTERVAL=2;WKST=SU", 61, "1997-09-02 1997-09-16 1998-02-17"),
    ("FREQ=WEEKLY;COUNT=10;WKST=SU;BYDAY=TU,TH", 10, "1997-09-02 1997-10-02"),
    ("DTSTART:19970901T090000 FREQ=WEEKLY;INTERVAL=2;UNTIL=19971224T000000Z;WKST=SU;BYDAY=MO,WE,FR", 25, "1997-12-22"),
    ("FREQ=WEEKLY;INTERVAL=2;COUNT=8;WKST=SU;BYDAY=TU,TH", 8, "1997-09-02 1997-09-18 1997-10-16"),
    ("DTSTART:19970905T090000 FREQ=MONTHLY;COUNT=10;BYDAY=1FR", 10, "1997-09-05 1998-06-05"),
    ("DTSTART:19970907T090000 FREQ=MONTHLY;INTERVAL=2;COUNT=10;BYDAY=1SU,-1SU", 10, "1997-09-28 1998-05-31"),
    ("DTSTART:19970922T090000 FREQ=MONTHLY;COUNT=6;BYDAY=-2MO", 6, "1997-09-22 1998-02-16"),
    ("DTSTART:19970928T090000 FREQ=MONTHLY;BYMONTHDAY=-3", 28, "1997-09-28 1998-02-26"),
    ("FREQ=MONTHLY;COUNT=10;BYMONTHDAY=2,15", 10, "1997-09-02 1998-01-15"),
    ("DTSTART:19970930T090000 FREQ=MONTHLY;COUNT=10;BYMONTHDAY=1,-1", 10, "1997-09-30 1998-02-01"),
    ("DTSTART:19970910T090000 FREQ=MONTHLY;INTERVAL=18;COUNT=10;BYMONTHDAY=10,11,12,13,14,15", 10, "1999-03-13"),
    ("FREQ=MONTHLY;INTERVAL=2;BYDAY=TU", 61, "1997-09-02 1997-11-25 1998-03-31"),
    ("DTSTART:19970610T090000 FREQ=YEARLY;COUNT=10;BYMONTH=6,7", 6, "1997-06-10 1999-07-10"),
    ("DTSTART:19970310T090000 FREQ=YEARLY;INTERVAL=2;COUNT=10;BYMONTH=1,2,3", 4, "1997-03-10 1999-03-10"),
    ("DTSTART:19970101T090000 FREQ=YEARLY;INTERVAL=3;COUNT=10;BYYEARDAY=1,100,200", 3, "1997-04-10 1997-07-19"),
    ("DTSTART:19970519T090000 FREQ=YEARLY;BYDAY=20MO", 3, "1997-05-19 1998-05-18 1999-05-17"),
    ("DTSTART:19970512T090000 FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO", 3, "1997-05-12 1998-05-11 1999-05-17"),
    ("DTSTART:19970313T090000 FREQ=YEARLY;BYMONTH=3;BYDAY=TH", 11, "1997-03-13 1998-03-05 1999-03-25"),
    ("DTSTART:19970605T090000 FREQ=YEARLY;BYDAY=TH;BYMONTH=6,7,8", 39, "1997-06-05 1999-08-26"),
    ("FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13", 4, "1998-02-13 1998-03-13 1998-11-13 1999-08-13"),
    ("DTSTART:19970913T090000 FREQ=MONTHLY;BYDAY=SA;BYMONTHDAY=7,8,9,10,11,12,13", 28, "1997-09-13 1998-06-13"),
    ("DTSTART:19961105T090000 FREQ=YEARLY;INTERVAL=4;BYMONTH=11;BYDAY=TU;BYMONTHDAY=2,3,4,5,6,7,8", 1, "1996-11-05"),
    ("DTSTART:19970904T090000 FREQ=MONTHLY;COUNT=3;BYDAY=TU,WE,TH;BYSETPOS=3", 3, "1997-09-04 1997-10-07 1997-11-06"),
    ("DTSTART:19970929T090000 FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-2", 28, "1997-09-29 1998-03-30"),
    ("FREQ=HOURLY;INTERVAL=3;UNTIL=19970902T210000Z", 3, "1997-09-02"),
    ("FREQ=MINUTELY;INTERVAL=15;COUNT=6", 6, "1997-09-02"),
    ("FREQ=MINUTELY;INTERVAL=90;COUNT=4", 4, "1997-09-02"),
    ("FREQ=MINUTELY;INTERVAL=20;BYHOUR=9,10,11,12,13,14,15,16;UNTIL=19970903T000000", 24, "1997-09-02"),
    ("DTSTART:19970805T090000 FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=MO", 4, "1997-08-10 1997-08-24"),
    ("DTSTART:19970805T090000 FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=SU", 4, "1997-08-17 1997-08-31"),
    ("DTSTART:20070115T090000 FREQ=MONTHLY;BYMONTHDAY=15,30;COUNT=5", 5, "2007-02-15 2007-03-30"),
]


@pytest.mark.parametrize(("text", "number", "some"), EXAMPLES, ids=[example[0] for example in EXAMPLES])
def test_it_is_due_when_the_examples_of_rfc_5545_say(text: str, number: int, some: str) -> None:
    start, _, rule = text.rpartition(" ")
    start = start or "DTSTART:19970902T090000"
    zone = "America/New_York"
    ours = recurrence(f"{start} RRULE:{rule}", zone)
    end = datetime(2008 if "2007" in start else 2000, 1, 1, tzinfo=ZoneInfo(zone))
    found = upcoming(ours, after=datetime(1996, 1, 1, tzinfo=UTC), count=200, until=end)
    local = [f"{instant.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M}" for instant in found]
    assert len(found) == number
    assert {f"{day} 09:00" for day in some.split()} <= set(local)


def test_election_days_since_1996_come_every_four_years() -> None:
    text = "DTSTART:19961105T090000 RRULE:FREQ=YEARLY;INTERVAL=4;BYMONTH=11;BYDAY=TU;BYMONTHDAY=2,3,4,5,6,7,8"
    assert due(text, 3) == ["2028-11-07 09:00", "2032-11-02 09:00", "2036-11-04 09:00"]
    assert due(text, 3, after="1996-01-01") == ["1996-11-05 09:00", "2000-11-07 09:00", "2004-11-02 09:00"]


def test_a_rare_rule_with_an_old_start_comes() -> None:
    text = "DTSTART:19970101T000000 RRULE:FREQ=YEARLY;INTERVAL=3;BYMONTH=2;BYMONTHDAY=29"
    assert due(text, 2, after="1996-01-01") == ["2000-02-29 00:00", "2012-02-29 00:00"]


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
