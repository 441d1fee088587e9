"""What people are told of clock changes before they save a schedule."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from jobsched.domain.clockchanges import moved
from jobsched.domain.solar import Solar
from jobsched.domain.timetables import Once, Timetable, parse_schedule

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def told(text: str, zone: str, *, after: datetime = NOW, days: int = 400) -> list[str]:
    timetable = parse_schedule(text, timezone=ZoneInfo(zone), anchor=NOW)
    return [
        f"{one.at:%m-%d %H:%M}: {one.sentence}"
        for one in moved(timetable, after=after, until=after + timedelta(days=days))
    ]


BERLIN_FORWARD = "in Europe/Berlin (clocks go forward)"
BERLIN_BACK = "in Europe/Berlin (clocks go back)"
# zone, schedule, what is told of the next thirteen months
TOLD = [
    (
        "Europe/Berlin",
        "30 2 * * *",
        [
            f"03-28 01:00: 2027-03-28 02:30 does not exist {BERLIN_FORWARD}; it fires at 03:00 CEST",
            f"10-31 00:30: 2027-10-31 02:30 comes twice {BERLIN_BACK}; it fires once, at the first",
        ],
    ),
    (
        "Europe/Berlin",
        "0,30 2 * * *",
        [
            f"03-28 01:00: 2027-03-28 02:00 and 02:30 do not exist {BERLIN_FORWARD}; they fire once, at 03:00 CEST",
            f"10-31 00:00: 2027-10-31 02:00 and 02:30 come twice {BERLIN_BACK}; each fires once, at the first",
        ],
    ),
    (
        "Europe/Berlin",
        "0 2,3 * 3 *",
        [
            f"03-28 01:00: 2027-03-28 02:00 does not exist {BERLIN_FORWARD}; "
            "it fires at 03:00 CEST, as one with what is due then"
        ],
    ),
    (
        "Europe/Berlin",
        "0-59 2 * 3 *",
        [
            f"03-28 01:00: 2027-03-28 02:00 to 02:59 (60 times) do not exist {BERLIN_FORWARD}; "
            "they fire once, at 03:00 CEST"
        ],
    ),
    ("Europe/Berlin", "30 2 * * sat", []),
    (
        "Europe/Berlin",
        "30 2 * * sunL",
        [
            f"03-28 01:00: 2027-03-28 02:30 does not exist {BERLIN_FORWARD}; it fires at 03:00 CEST",
            f"10-31 00:30: 2027-10-31 02:30 comes twice {BERLIN_BACK}; it fires once, at the first",
        ],
    ),
    (
        "Europe/Berlin",
        "RRULE:FREQ=MONTHLY;BYMONTHDAY=28;BYHOUR=2",
        [f"03-28 01:00: 2027-03-28 02:00 does not exist {BERLIN_FORWARD}; it fires at 03:00 CEST"],
    ),
    # What keeps a pace as short as the change is not worth a word.
    ("Europe/Berlin", "*/15 * * * *", []),
    ("Europe/Berlin", "0 * * * *", []),
    ("Europe/Berlin", "RRULE:FREQ=MINUTELY;INTERVAL=45", []),
    ("Europe/Berlin", "*/15 9-17 * * *", []),
    ("Europe/Berlin", "0 12 * * *", []),
    (
        "Europe/Berlin",
        "0 */2 * * *",
        [
            f"03-28 01:00: 2027-03-28 02:00 does not exist {BERLIN_FORWARD}; it does not fire",
            f"10-31 00:00: 2027-10-31 02:00 comes twice {BERLIN_BACK}; it fires both times",
        ],
    ),
    (
        "Europe/Berlin",
        "*/30 2 * * *",
        [
            f"03-28 01:00: 2027-03-28 02:00 and 02:30 do not exist {BERLIN_FORWARD}; they do not fire",
            f"10-31 00:00: 2027-10-31 02:00 and 02:30 come twice {BERLIN_BACK}; they fire both times",
        ],
    ),
    (
        "Europe/Berlin",
        "*/5 0-2 * * *",
        [
            f"03-28 01:00: 2027-03-28 02:00 to 02:55 (12 times) do not exist {BERLIN_FORWARD}; they do not fire",
            f"10-31 00:00: 2027-10-31 02:00 to 02:55 (12 times) come twice {BERLIN_BACK}; they fire both times",
        ],
    ),
    (
        # Half an hour: what comes every hour is missed or comes twice.
        "Australia/Lord_Howe",
        "0 * * * *",
        ["10-02 15:30: 2027-10-03 02:00 does not exist in Australia/Lord_Howe (clocks go forward); it does not fire"],
    ),
    (
        "America/Santiago",
        "30 23 * * *",
        ["04-04 02:30: 2027-04-03 23:30 comes twice in America/Santiago (clocks go back); it fires once, at the first"],
    ),
    (
        "America/Santiago",
        "15 0 * * *",
        [
            "09-05 04:00: 2027-09-05 00:15 does not exist in America/Santiago (clocks go forward); "
            "it fires at 01:00 UTC-03"
        ],
    ),
    ("UTC", "30 2 * * *", []),
    ("Asia/Kolkata", "30 2 * * *", []),
]


@pytest.mark.parametrize(("zone", "text", "sentences"), TOLD)
def test_what_a_clock_change_does_is_told_in_a_sentence(zone: str, text: str, sentences: list[str]) -> None:
    assert told(text, zone) == sentences


def test_a_day_that_a_zone_leaves_out_is_told_with_both_dates() -> None:
    sentences = told("0 12 * * *", "Pacific/Apia", after=datetime(2011, 12, 20, tzinfo=UTC), days=20)
    assert sentences == [
        "12-30 10:00: 2011-12-30 12:00 does not exist in Pacific/Apia (clocks go forward); "
        "it fires at 2011-12-31 00:00 UTC+14"
    ]


def test_only_what_lies_in_the_period_is_returned() -> None:
    first_pass = datetime(2027, 10, 31, 0, 30, tzinfo=UTC)
    tick = timedelta(microseconds=1)
    timetable = parse_schedule("30 2 * * *", timezone=ZoneInfo("Europe/Berlin"), anchor=NOW)
    assert [one.at for one in moved(timetable, after=first_pass - tick, until=first_pass)] == [first_pass]
    assert moved(timetable, after=first_pass, until=first_pass + timedelta(days=30)) == []
    assert moved(timetable, after=first_pass - timedelta(days=30), until=first_pass - tick) == []


@pytest.mark.parametrize(
    "timetable",
    [
        parse_schedule("90s", timezone=ZoneInfo("Europe/Berlin"), anchor=NOW),
        Once(at=datetime(2027, 3, 28, 1, tzinfo=UTC)),
        Solar(event="sunrise", latitude=52.5, longitude=13.4),
    ],
)
def test_what_is_not_read_from_a_clock_is_never_moved(timetable: Timetable) -> None:
    assert moved(timetable, after=NOW, until=NOW + timedelta(days=800)) == []


@pytest.mark.parametrize("text", ["30 2 * * *", "30 1 * * *", "0 0 * * *", "15,45 0-3 * * *"])
@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Africa/Cairo", "America/Havana"])
def test_what_is_told_to_be_due_is_due(text: str, zone: str) -> None:
    timetable = parse_schedule(text, timezone=ZoneInfo(zone), anchor=NOW)
    for one in moved(timetable, after=NOW, until=NOW + timedelta(days=730)):
        assert timetable.after(one.at - timedelta(microseconds=1)) == one.at
