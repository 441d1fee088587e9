"""Readings of rules by the day, hour and minute, found day by day: a rule every minute since 1970 costs no more."""

from __future__ import annotations

from calendar import isleap, monthrange
from datetime import date, datetime, time, timedelta
from math import gcd
from typing import Final

from jobsched.domain.readings import HORIZON_YEARS
from jobsched.domain.rrules import Rule

PACED: Final = {"HOURLY": timedelta(hours=1), "MINUTELY": timedelta(minutes=1)}
"""Rules that follow the clock on the wall through its changes, and what they count in."""

_DAY: Final = timedelta(days=1)
_LAST_YEAR: Final = 9900  # the longest interval further is still a date


def after(rule: Rule, reading: datetime) -> datetime | None:
    """Return the first reading that a rule asks for strictly after another; None when there is none."""
    if not _any_in_step(rule):
        return None
    # Every tenth day and a rare date may meet only once in ten such dates.
    horizon = min(reading.year + HORIZON_YEARS * (rule.interval if rule.freq == "DAILY" else 1), _LAST_YEAR)
    day = reading.date()
    while day.year <= horizon:
        if _matches(rule, day) and (found := _within(rule, day, reading)) is not None:
            return found
        day = _next_day(rule, day)
    return None


def first(rule: Rule, count: int) -> tuple[datetime, ...]:
    """Return the first readings of a rule, at most so many."""
    found: list[datetime] = []
    reading: datetime | None = rule.start - timedelta(seconds=1)
    while len(found) < count and reading is not None and (reading := after(rule, reading)) is not None:
        found.append(reading)
    return tuple(found)


def _next_day(rule: Rule, day: date) -> date:
    if rule.freq != "DAILY":
        return day + _DAY
    return day + (rule.interval - (day - rule.start.date()).days % rule.interval) * _DAY


def _matches(rule: Rule, day: date) -> bool:
    """Tell whether a day is one that the rule allows."""
    numbers = rule.numbers
    if rule.freq == "DAILY" and (day - rule.start.date()).days % rule.interval:
        return False
    if rule.weekdays and (day.weekday(), 0) not in rule.weekdays:
        return False
    if "BYMONTH" in numbers and day.month not in numbers["BYMONTH"]:
        return False
    if "BYMONTHDAY" in numbers:
        from_the_end = day.day - monthrange(day.year, day.month)[1] - 1
        if not {day.day, from_the_end} & {*numbers["BYMONTHDAY"]}:
            return False
    if "BYYEARDAY" in numbers:
        of_the_year = day.timetuple().tm_yday
        from_the_end = of_the_year - (367 if isleap(day.year) else 366)
        return bool({of_the_year, from_the_end} & {*numbers["BYYEARDAY"]})
    return True


def _within(rule: Rule, day: date, reading: datetime) -> datetime | None:
    """Return the first time on a day that the rule asks for, after a reading and not before its start."""
    start, minutes = rule.start, _minutes(rule)
    seconds = rule.of_day("BYSECOND", start.second)
    for hour in _hours(rule):
        if datetime.combine(day, time(hour, 59, 59)) <= reading:
            continue
        for minute in minutes:
            if not _in_step(rule, datetime.combine(day, time(hour, minute))):
                continue
            for second in seconds:
                found = datetime.combine(day, time(hour, minute, second))
                if found > reading and found >= start:
                    return found
    return None


def _hours(rule: Rule) -> tuple[int, ...]:
    return rule.numbers.get("BYHOUR", (rule.start.hour,) if rule.freq == "DAILY" else tuple(range(24)))


def _minutes(rule: Rule) -> tuple[int, ...]:
    return rule.numbers.get("BYMINUTE", tuple(range(60)) if rule.freq == "MINUTELY" else (rule.start.minute,))


def _any_in_step(rule: Rule) -> bool:
    """Tell whether the steps can meet a time of the day at all: every second minute meets no odd one."""
    if rule.freq == "HOURLY":
        step = gcd(rule.interval, 24)
        return any((hour - rule.start.hour) % step == 0 for hour in _hours(rule))
    if rule.freq == "MINUTELY":
        step, first = gcd(rule.interval, 24 * 60), rule.start.hour * 60 + rule.start.minute
        return any((hour * 60 + minute - first) % step == 0 for hour in _hours(rule) for minute in _minutes(rule))
    return True


def _in_step(rule: Rule, reading: datetime) -> bool:
    """Tell whether the hour or the minute is a whole number of intervals after that of the start."""
    unit = PACED.get(rule.freq)
    if unit is None or rule.interval == 1:
        return True
    begin = rule.start.replace(second=0) if rule.freq == "MINUTELY" else rule.start.replace(minute=0, second=0)
    return (reading - begin) // unit % rule.interval == 0
