"""Readings of a clock on the wall that a set of fields matches: plain calendar arithmetic, in no zone."""

from __future__ import annotations

from bisect import bisect_left
from calendar import monthrange
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import MAXYEAR, date, datetime, time, timedelta
from functools import lru_cache
from typing import Final, Self

from jobsched.domain.cronfields import DAY_OF_MONTH, DAY_OF_WEEK, FIELDS, row_numbers

HORIZON_YEARS: Final = 41
"""29 February falls on a given weekday at least this often, also across a year such as 2100."""


@dataclass(frozen=True, slots=True)
class Readings:
    """All readings, to the minute, that match every one of five fields. Sunday is 0."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]

    @classmethod
    @lru_cache(maxsize=8192)
    def of(cls, *texts: str) -> Self:
        """Parse the five texts of a row. Raises `InvalidInput` with the reason."""
        return cls(*(tuple(sorted(row_numbers(f, text))) for f, text in zip(FIELDS, texts, strict=True)))

    @property
    def any_day_of_month(self) -> bool:
        return len(self.days) == len(DAY_OF_MONTH.full)

    @property
    def any_weekday(self) -> bool:
        return len(self.weekdays) == len(DAY_OF_WEEK.full)

    def after(self, reading: datetime) -> datetime | None:
        """Return the first match strictly after a naive reading; None when no day ever matches."""
        start = reading.replace(second=0, microsecond=0) + timedelta(minutes=1)
        day, clock = start.date(), None
        if self._match(day):
            clock = self._time_from(start.hour, start.minute)
        if clock is None:
            following = self._day_after(day)
            if following is None:
                return None
            day, clock = following, time(self.hours[0], self.minutes[0])
        return datetime.combine(day, clock)

    def _days_of(self, length: int) -> Sequence[int]:
        """The days that may match in a month of so many."""
        return self.days

    def _match(self, day: date) -> bool:
        return day.day in self.days and day.month in self.months and day.isoweekday() % 7 in self.weekdays

    def _time_from(self, hour: int, minute: int) -> time | None:
        """The first matching time of a day that is not before the given one."""
        place = bisect_left(self.hours, hour)
        if place < len(self.hours) and self.hours[place] == hour:
            minute_place = bisect_left(self.minutes, minute)
            if minute_place < len(self.minutes):
                return time(hour, self.minutes[minute_place])
            place += 1
        return time(self.hours[place], self.minutes[0]) if place < len(self.hours) else None

    def _day_after(self, day: date) -> date | None:
        for year in range(day.year, min(day.year + HORIZON_YEARS, MAXYEAR + 1)):
            for month in self.months:
                if (year, month) < (day.year, day.month):
                    continue
                length = monthrange(year, month)[1]
                for number in self._days_of(length):
                    if number <= length and (found := date(year, month, number)) > day and self._match(found):
                        return found
        return None
