"""Readings of rules by the week, month and year: dateutil's calendar, asked where the answer is near."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from itertools import islice
from typing import Any, Final

from dateutil import rrule

from jobsched.domain.rrules import Rule

FREQUENCIES: Final[dict[str, Any]] = {"YEARLY": rrule.YEARLY, "MONTHLY": rrule.MONTHLY, "WEEKLY": rrule.WEEKLY}
_WEEKDAYS: Final = (rrule.MO, rrule.TU, rrule.WE, rrule.TH, rrule.FR, rrule.SA, rrule.SU)

_CYCLE_YEARS: Final = 400
"""After so many years the calendar repeats itself, leap years and days of the week included."""
_LAST_YEAR: Final = 9999


def after(rule: Rule, reading: datetime) -> datetime | None:
    """Return the first reading that a rule asks for strictly after another; None when there is none."""
    # dateutil walks from its start, and for a rule that nothing fits on to the year 9999. So it is given a start
    # in the period before the reading, in one of the last years that look the same.
    start = _near(rule, reading)
    cycles = (_LAST_YEAR - max(start.year, reading.year) - 1) // _CYCLE_YEARS
    ahead = cycles * _CYCLE_YEARS
    found = _rule(rule, start.replace(year=start.year + ahead)).after(reading.replace(year=reading.year + ahead))
    return None if found is None else found.replace(year=found.year - ahead)


def first(rule: Rule, count: int) -> tuple[datetime, ...]:
    """Return the first readings of a rule, at most so many."""
    return tuple(islice(_rule(rule, rule.start), count))


def _rule(rule: Rule, start: datetime) -> Any:
    numbers = dict(rule.numbers)
    origin = rule.start
    if not rule.names_days:
        # What the rule leaves open its first reading says, which is no longer the one that dateutil is given.
        if rule.freq == "YEARLY":
            numbers.setdefault("BYMONTH", (origin.month,))
        if rule.freq in ("YEARLY", "MONTHLY"):
            numbers["BYMONTHDAY"] = (origin.day,)
    weekdays = [_WEEKDAYS[day](nth) if nth else _WEEKDAYS[day] for day, nth in rule.weekdays]
    if rule.freq == "WEEKLY" and not rule.names_days:
        weekdays = [_WEEKDAYS[origin.weekday()]]
    return rrule.rrule(
        FREQUENCIES[rule.freq],
        dtstart=start,
        interval=rule.interval,
        wkst=_WEEKDAYS[rule.week_start],
        byweekday=weekdays or None,
        byhour=rule.of_day("BYHOUR", origin.hour),
        byminute=rule.of_day("BYMINUTE", origin.minute),
        bysecond=rule.of_day("BYSECOND", origin.second),
        bymonth=numbers.get("BYMONTH"),
        bymonthday=numbers.get("BYMONTHDAY"),
        byyearday=numbers.get("BYYEARDAY"),
        byweekno=numbers.get("BYWEEKNO"),
        bysetpos=numbers.get("BYSETPOS"),
    )


def _near(rule: Rule, reading: datetime) -> datetime:
    """Return the begin of a period that the rule looks at, shortly before that of a reading; not before its start."""
    origin, step = rule.start, rule.interval
    match rule.freq:
        case "YEARLY":
            behind = (reading.year - origin.year) // step - 1
            begin = origin.replace(year=origin.year + behind * step, month=1, day=1) if behind > 0 else origin
        case "MONTHLY":
            months = (reading.year - origin.year) * 12 + reading.month - origin.month
            year, month = divmod(origin.year * 12 + origin.month - 1 + (months // step - 1) * step, 12)
            begin = origin.replace(year=year, month=month + 1, day=1) if months // step > 1 else origin
        case _:
            week = origin.date() - timedelta(days=(origin.weekday() - rule.week_start) % 7)
            behind = (reading.date() - week).days // (7 * step) - 1
            begin = datetime.combine(week + timedelta(weeks=behind * step), time()) if behind > 0 else origin
    return begin if begin is origin else begin.replace(hour=0, minute=0, second=0)
