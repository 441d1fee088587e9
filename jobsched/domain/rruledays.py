"""The days that the BY parts of a rule allow, as sets for whole years: a search skips years at no cost."""

from __future__ import annotations

from bisect import bisect_left
from calendar import isleap, monthrange
from dataclasses import dataclass
from datetime import MAXYEAR, date
from functools import lru_cache
from typing import Final, Self

from jobsched.domain.rrules import Rule, Weekday

CYCLE_YEARS: Final = 400
"""After so many years the calendar repeats itself, leap years and days of the week included."""

_A_LEAP_YEAR, _ANOTHER_YEAR = 2024, 2023
_LAST_DAY: Final = date(MAXYEAR, 12, 31).toordinal()


@dataclass(frozen=True, kw_only=True, slots=True)
class DayFilter:
    """Which days a rule allows. An empty part allows all of them; Monday is 0."""

    months: frozenset[int] = frozenset()
    month_days: frozenset[int] = frozenset()
    """1 to 31, or -1 to -31 from the end of the month."""
    year_days: frozenset[int] = frozenset()
    """1 to 366, or -1 to -366 from the end of the year."""
    weeks: frozenset[int] = frozenset()
    """1 to 53, or -1 to -53 from the end of the year."""
    weekdays: tuple[Weekday, ...] = ()
    counts_in_year: bool = False
    """Whether counted weekdays are counted in the year instead of the month."""
    week_start: int = 0

    @classmethod
    def of(cls, rule: Rule) -> Self:
        """Return the filter of a rule. What the rule leaves open is taken from its start, as RFC 5545 says."""
        months = frozenset(rule.numbers.get("BYMONTH", ()))
        month_days = frozenset(rule.numbers.get("BYMONTHDAY", ()))
        weekdays = rule.weekdays
        if not rule.names_days:
            if rule.freq == "YEARLY":
                months = months or frozenset({rule.start.month})
            if rule.freq in ("YEARLY", "MONTHLY"):
                month_days = frozenset({rule.start.day})
            if rule.freq == "WEEKLY":
                weekdays = ((rule.start.weekday(), 0),)
        return cls(
            months=months,
            month_days=month_days,
            year_days=frozenset(rule.numbers.get("BYYEARDAY", ())),
            weeks=frozenset(rule.numbers.get("BYWEEKNO", ())),
            weekdays=weekdays,
            counts_in_year=rule.freq == "YEARLY" and "BYMONTH" not in rule.numbers,
            week_start=rule.week_start,
        )

    def next_from(self, day: int) -> int | None:
        """Return the first allowed day that is not before the proleptic ordinal `day`; None when there is none."""
        if day > _LAST_DAY:
            return None
        first_year = date.fromordinal(day).year
        for year in range(first_year, min(first_year + CYCLE_YEARS, MAXYEAR) + 1):
            new_year = date(year, 1, 1).toordinal()
            days = self._of_year(year, new_year)
            place = bisect_left(days, day - new_year)
            if place < len(days):
                return new_year + days[place]
        return None

    def between(self, begin: int, end: int) -> list[int]:
        """Return the allowed days from one ordinal to another, which is not included."""
        found: list[int] = []
        for year in range(date.fromordinal(begin).year, date.fromordinal(min(end - 1, _LAST_DAY)).year + 1):
            new_year = date(year, 1, 1).toordinal()
            days = self._of_year(year, new_year)
            places = slice(bisect_left(days, begin - new_year), bisect_left(days, end - new_year))
            found += [new_year + day for day in days[places]]
        return found

    def _of_year(self, year: int, new_year: int) -> tuple[int, ...]:
        return _days(self, isleap(year), isleap(year - 1), (new_year + 6) % 7)


# Years of one kind have the same days. There are 28 kinds, and a search seldom needs more than two of them.
@lru_cache(maxsize=1024)
def _days(allowed: DayFilter, leap: bool, after_leap: bool, first_weekday: int) -> tuple[int, ...]:
    """Return the days of a year that a filter allows, counted from 0 at 1 January, which is `first_weekday`."""
    length = 366 if leap else 365
    weeks = _Weeks.of(length, 366 if after_leap else 365, first_weekday, allowed.week_start) if allowed.weeks else None
    found: list[int] = []
    new_month = 0
    for month in range(1, 13):
        days = monthrange(_A_LEAP_YEAR if leap else _ANOTHER_YEAR, month)[1]
        for day in range(days) if not allowed.months or month in allowed.months else ():
            index = new_month + day
            if allowed.month_days and not allowed.month_days & {day + 1, day - days}:
                continue
            if allowed.year_days and not allowed.year_days & {index + 1, index - length}:
                continue
            if weeks and not allowed.weeks & weeks.numbers(index):
                continue
            place, end = (index, length) if allowed.counts_in_year else (day, days)
            if allowed.weekdays and not _is_weekday(allowed.weekdays, (first_weekday + index) % 7, place, end):
                continue
            found.append(index)
        new_month += days
    return tuple(found)


def _is_weekday(wanted: tuple[Weekday, ...], weekday: int, place: int, end: int) -> bool:
    """Tell whether a day of the week is wanted, `place` days after the begin of a month or year of `end` days."""
    counted = (0, place // 7 + 1, -((end - 1 - place) // 7 + 1))
    return any(day == weekday and nth in counted for day, nth in wanted)


@dataclass(frozen=True, slots=True)
class _Weeks:
    """The numbered weeks of a year. Week 1 is the first with four days or more in the year, as in ISO 8601."""

    first: int
    """The day of the year on which week 1 begins; negative when that lies in the year before."""
    count: int
    before: int
    """How many weeks the year before has."""

    @classmethod
    def of(cls, length: int, length_before: int, first_weekday: int, week_start: int) -> Self:
        first = _first_week(first_weekday, week_start)
        count = (length + _first_week((first_weekday + length) % 7, week_start) - first) // 7
        before = (length_before + first - _first_week((first_weekday - length_before) % 7, week_start)) // 7
        return cls(first, count, before)

    def numbers(self, index: int) -> set[int]:
        """Return the number of the week that a day of the year lies in, from the begin and from the end.

        The week that begins in one year and belongs to the next has only the number 1, as in dateutil.
        """
        number = (index - self.first) // 7 + 1
        if number < 1:
            return {self.before, -1}
        return {1} if number > self.count else {number, number - self.count - 1}


def _first_week(first_weekday: int, week_start: int) -> int:
    full = (week_start - first_weekday) % 7
    return full if full < 4 else full - 7
