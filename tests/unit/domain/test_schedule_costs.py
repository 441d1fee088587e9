"""No schedule that is accepted costs much to evaluate, and no moment makes it raise."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from types import FrameType
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from jobsched.domain.errors import InvalidInput
from jobsched.domain.exclusions import Exclusions
from jobsched.domain.recurrence import Recurrence
from jobsched.domain.solar import Solar
from jobsched.domain.timetables import Every, Once, Timetable, parse_schedule

ANCHOR = datetime(2026, 1, 1, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
MOST_CALLS = 1_000_000
"""Of functions, for one question: about a tenth of a second."""


class TooExpensive(Exception):
    pass


def bounded(question: Callable[[], Any]) -> Any:
    """Return the answer to a question. Raises TooExpensive when it takes more than MOST_CALLS."""
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")
        if calls > MOST_CALLS:
            raise TooExpensive

    sys.setprofile(count)
    try:
        return question()
    finally:
        sys.setprofile(None)


HOURS = ",".join(map(str, range(24)))
SIXTY = ",".join(map(str, range(60)))
EVERY_DAY = "BYDAY=MO,TU,WE,TH,FR,SA,SU"
RULES = [
    f"FREQ=YEARLY;{EVERY_DAY};BYHOUR={HOURS};BYMINUTE={SIXTY};BYSECOND=0,20,40",
    f"FREQ=YEARLY;{EVERY_DAY};BYMINUTE={SIXTY};BYSECOND={SIXTY}",
    f"FREQ=MONTHLY;{EVERY_DAY};BYMINUTE={SIXTY};BYSECOND={SIXTY}",
    f"FREQ=WEEKLY;BYMINUTE={SIXTY};BYSECOND={SIXTY};BYHOUR=0,1,2,3;{EVERY_DAY}",
    f"FREQ=DAILY;BYMINUTE={SIXTY};BYSECOND={SIXTY};BYHOUR=0,1,2,3",
    f"FREQ=HOURLY;BYMINUTE={SIXTY};BYSECOND={SIXTY}",
    f"FREQ=MINUTELY;BYSECOND={SIXTY};BYMINUTE={SIXTY}",
    f"FREQ=YEARLY;{EVERY_DAY};BYHOUR={HOURS};BYMINUTE={SIXTY};BYSETPOS={','.join(map(str, range(1, 40)))}",
    f"FREQ=YEARLY;{EVERY_DAY};BYHOUR={HOURS};BYSETPOS=366,-366",
    "FREQ=YEARLY;BYDAY=MO;BYSETPOS=300",
    "FREQ=WEEKLY;BYDAY=MO;BYSETPOS=9",
    "FREQ=MINUTELY;BYSECOND=0;BYSETPOS=5",
    "FREQ=MINUTELY;BYMONTH=2;BYMONTHDAY=30",
    "FREQ=HOURLY;BYYEARDAY=366;BYMONTH=1",
    "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30,31",
    "FREQ=MONTHLY;BYMONTH=2;BYMONTHDAY=30",
    "FREQ=MONTHLY;INTERVAL=12;BYMONTH=7",
    "FREQ=YEARLY;BYWEEKNO=53;BYDAY=MO;BYMONTH=6",
    "FREQ=YEARLY;INTERVAL=10000",
    "FREQ=YEARLY;INTERVAL=7;BYMONTH=2;BYMONTHDAY=29;BYDAY=MO",
    "FREQ=MONTHLY;INTERVAL=9999;BYMONTHDAY=31",
    "FREQ=WEEKLY;INTERVAL=52;BYMONTH=7",
    "FREQ=WEEKLY;INTERVAL=773;BYMONTH=7;BYDAY=MO",
    "FREQ=DAILY;INTERVAL=7;BYDAY=MO",
    "FREQ=DAILY;INTERVAL=487;BYMONTH=2;BYMONTHDAY=29",
    "FREQ=DAILY;INTERVAL=10000;BYMONTHDAY=31;BYDAY=MO",
    "FREQ=HOURLY;INTERVAL=8766;BYMONTH=2",
    "FREQ=HOURLY;INTERVAL=487;BYMONTH=5;BYDAY=MO;BYHOUR=3",
    "FREQ=HOURLY;INTERVAL=25;BYHOUR=3;BYMONTHDAY=29;BYMONTH=2;BYDAY=MO",
    "FREQ=MINUTELY;INTERVAL=7;BYHOUR=0;BYMINUTE=0;BYDAY=SU,MO,TU,WE,TH,FR",
    "FREQ=MINUTELY;INTERVAL=1439;BYHOUR=23;BYMINUTE=59;BYDAY=MO;BYMONTHDAY=13",
    "FREQ=MINUTELY;INTERVAL=9999;BYHOUR=3;BYMONTH=2;BYMONTHDAY=29",
]
FORMS = ["RRULE:{}", "DTSTART:16000101T013007 RRULE:{}", "DTSTART:20000103T000000 RRULE:{};COUNT=10000"]
MOMENTS = [
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(2026, 11, 28, 12, tzinfo=UTC),
    # Clocks go forward and back in Berlin; whole hours are skipped and repeated.
    datetime(2026, 3, 29, 0, 59, 59, tzinfo=UTC),
    datetime(2026, 10, 25, 1, 0, 1, tzinfo=UTC),
    datetime(9900, 1, 1, tzinfo=UTC),
]


@pytest.mark.parametrize("rule", RULES, ids=[rule[:70] for rule in RULES])
@pytest.mark.parametrize("form", FORMS, ids=["alone", "old start", "count"])
def test_a_rule_is_refused_or_costs_little(rule: str, form: str) -> None:
    try:
        timetable = bounded(lambda: parse_schedule(form.format(rule), timezone=BERLIN, anchor=ANCHOR))
    except InvalidInput:
        return
    for moment in MOMENTS:
        following = bounded(lambda moment=moment: timetable.after(moment))
        assert following is None or following > moment


def test_a_stored_rule_whose_count_is_too_far_away_is_refused_when_it_is_read() -> None:
    with pytest.raises(InvalidInput, match="comes too seldom"):
        Recurrence(rule="FREQ=DAILY;INTERVAL=7;BYDAY=TU;COUNT=2", start="20000103T000000", timezone=BERLIN)


def test_what_the_clock_repeats_comes_once_although_it_is_passed_over() -> None:
    timetable = parse_schedule(
        f"RRULE:FREQ=DAILY;BYHOUR=1,2,3;BYMINUTE={SIXTY};BYSECOND={SIXTY}", timezone=BERLIN, anchor=ANCHOR
    )
    first_pass = datetime(2026, 10, 25, 0, 59, 58, tzinfo=UTC)
    assert timetable.after(first_pass) == first_pass + timedelta(seconds=1)
    for second_pass in (first_pass + timedelta(seconds=1), datetime(2026, 10, 25, 1, 30, tzinfo=UTC)):
        assert timetable.after(second_pass) == datetime(2026, 10, 25, 2, tzinfo=UTC)


def test_what_the_clock_skips_is_passed_over_by_what_keeps_its_pace() -> None:
    timetable = parse_schedule(f"RRULE:FREQ=MINUTELY;BYSECOND={SIXTY}", timezone=BERLIN, anchor=ANCHOR)
    last = datetime(2026, 3, 29, 0, 59, 59, tzinfo=UTC)
    assert timetable.after(last) == datetime(2026, 3, 29, 1, tzinfo=UTC)


DAYS = [f"{date(2026, 1, 1) + timedelta(days=number)}" for number in range(1000)]
EVERY_YEAR = [f"{date(2024, 1, 1) + timedelta(days=number):%m-%d}" for number in range(366)]
SUNDAYS = [f"sun {minute // 60:02}:{minute % 60:02}-{minute // 60:02}:{minute % 60 + 1:02}" for minute in range(59)]
TIMES = [f"{hour:02}:{minute:02}-{hour:02}:{minute + 1:02}" for hour in range(24) for minute in range(0, 59, 2)]


@pytest.mark.parametrize(
    ("exclude", "blackout"),
    [(DAYS, SUNDAYS + TIMES), (EVERY_YEAR * 2, SUNDAYS), (DAYS, [*TIMES, "mon-sun"]), ([], TIMES)],
)
def test_a_thousand_windows_cost_little(exclude: list[str], blackout: list[str]) -> None:
    exclusions = Exclusions.of(exclude, blackout, BERLIN)
    for moment in (datetime(2026, 1, 1, 0, 5, tzinfo=UTC), datetime(2040, 6, 7, 12, tzinfo=UTC)):
        bounded(lambda moment=moment: exclusions.reason(moment))
        bounded(lambda moment=moment: exclusions.until(moment))


FAR_OFFSETS = [timezone(timedelta(hours=hours)) for hours in (-23, 0, 14, 23)]
FAR = [
    moment.replace(tzinfo=offset)
    for offset in FAR_OFFSETS
    for moment in (
        *(datetime.min, datetime(1, 1, 2), datetime(1, 12, 31), datetime(2, 1, 1)),
        *(datetime(9990, 1, 1), datetime(9998, 12, 29, 23), datetime(9999, 12, 30, 23), datetime.max),
    )
]
KINDS: list[Timetable] = [
    parse_schedule(text, timezone=ZoneInfo(zone), anchor=ANCHOR)
    for zone in ("UTC", "Pacific/Kiritimati", "Etc/GMT+12", "America/New_York")
    for text in (
        *("* * * * *", "0 0 29 2 *", "59 23 31 12 *", "0 3 L * *", "0 0 * * fri#5", "1s", "3650d"),
        *("RRULE:FREQ=MINUTELY", "RRULE:FREQ=HOURLY;INTERVAL=9999", "RRULE:FREQ=DAILY;INTERVAL=10000"),
        *("RRULE:FREQ=WEEKLY", "RRULE:FREQ=MONTHLY;INTERVAL=7", "RRULE:FREQ=YEARLY;BYMONTH=12;BYMONTHDAY=31"),
        "DTSTART:90000101T000000 RRULE:FREQ=DAILY;COUNT=10000",
    )
]
KINDS += [Once(at=moment) for moment in (datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC), ANCHOR)]
KINDS += [Every(period=timedelta(days=3650), anchor=moment) for moment in (FAR[0], FAR[-1])]
KINDS += [
    Solar(event=event, latitude=latitude, longitude=180)
    for event in ("sunrise", "solar_noon", "dawn_astronomical")
    for latitude in (0, 52, 90)
]


@pytest.mark.parametrize("moment", FAR, ids=str)
def test_no_kind_of_schedule_raises_near_the_ends_of_the_calendar(moment: datetime) -> None:
    for timetable in KINDS:
        following = timetable.after(moment)
        assert following is None or (following > moment and following.tzinfo is UTC), timetable
