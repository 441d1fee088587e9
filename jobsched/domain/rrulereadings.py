"""The search for the readings of a rule: it looks at periods, never at each of their readings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import MAXYEAR, date, datetime, timedelta
from itertools import product
from math import gcd
from typing import Final

from jobsched.domain.errors import InvalidInput
from jobsched.domain.rruledays import CYCLE_YEARS, DayFilter
from jobsched.domain.rruleperiods import Clock, Period
from jobsched.domain.rrules import Rule

PACED: Final = frozenset({"HOURLY", "MINUTELY"})
"""Rules that follow the clock on the wall through its changes."""

MOST_PERIODS: Final = 12_000
"""A search ends after so many periods, which bounds its cost to a tenth of a second: enough for the longest COUNT of
days, and for what comes once in two centuries of weeks."""

_MOST_EMPTY: Final = {"YEARLY": 2 * CYCLE_YEARS, "MONTHLY": 2 * CYCLE_YEARS * 12}
"""After so many periods in a row without a reading the calendar repeats itself, and there will be none. Every second
may be one that is only passed over."""
_MOST_DAYS: Final = {"YEARLY": 366, "MONTHLY": 31, "WEEKLY": 7, "DAILY": 1}
"""In one period. In those that are shorter than a day, BYSETPOS chooses from the times alone."""
_UNIT_SECONDS: Final = {"HOURLY": 3600, "MINUTELY": 60}
_SECOND: Final = timedelta(seconds=1)
_CALENDAR_END: Final = date(MAXYEAR, 12, 31).toordinal() + 1

Step = tuple[Period | None, int]
"""The period around a day, None when the rule passes it over, and the first day of the next one that it does not."""


class SearchTooLong(InvalidInput):
    """A search has looked at `MOST_PERIODS` periods without an answer."""


class RuleReadings:
    """All readings of a rule, in order. Raises `SearchTooLong` when the end of its COUNT is too far away."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._days = DayFilter.of(rule)
        self._clock = _clock(rule)
        self._heads: dict[int, tuple[int, ...]] = {}
        self._comes = _any_in_step(rule) and self._any_position()
        self._step: Callable[[int], Step] = {
            "YEARLY": self._year,
            "MONTHLY": self._month,
            "WEEKLY": self._week,
            "DAILY": self._day,
        }.get(rule.freq, self._paced_day)
        self._end = rule.until if rule.count is None else self._end_of_count(rule.count)

    def _any_position(self) -> bool:
        """Tell whether a period can have as many readings as BYSETPOS counts."""
        positions, days = self._rule.set_positions, _MOST_DAYS.get(self._rule.freq)
        if not positions or days is None:
            return bool(self._clock.tails)
        return min(map(abs, positions)) <= days * len(self._clock)

    def first(self) -> datetime | None:
        """Return the first reading of all, or None when there is none. Raises `SearchTooLong`."""
        return self._search(self._rule.start - _SECOND)

    def after(self, reading: datetime) -> datetime | None:
        """Return the first reading strictly after a naive one; None when `MOST_PERIODS` periods have none."""
        try:
            return self._search(reading)
        except SearchTooLong:
            return None

    def _search(self, reading: datetime) -> datetime | None:
        reading = max(reading, self._rule.start - _SECOND)
        if self._end is not None and reading >= self._end:
            return None
        for period in self._periods(reading.toordinal()):
            place = period.up_to(reading)
            if place < len(period):
                found = period.at(place)
                return None if self._end is not None and found > self._end else found
        return None

    def _end_of_count(self, count: int) -> datetime | None:
        """Return the reading with which a COUNT is reached; None when the calendar ends before."""
        before_start = self._rule.start - _SECOND
        for period in self._periods(self._rule.start.toordinal()):
            passed = period.up_to(before_start)
            if count <= len(period) - passed:
                return period.at(passed + count - 1)
            count -= len(period) - passed
        return None

    def _periods(self, day: int) -> Iterator[Period]:
        """Yield the periods with days that the rule allows, from the one around the proleptic ordinal `day` on."""
        empty, most_empty = 0, _MOST_EMPTY.get(self._rule.freq, MOST_PERIODS)
        for _ in range(MOST_PERIODS):
            allowed = self._days.next_from(day) if self._comes and day < _CALENDAR_END else None
            if allowed is None or empty > most_empty:
                return
            period, day = self._step(allowed)
            empty += 1
            if period is not None and len(period):
                yield period
                empty = 0
        raise SearchTooLong(
            f"comes too seldom: {MOST_PERIODS} of its periods are too few to find an instant or the end of its COUNT; "
            "use fewer parts, or a lower INTERVAL or COUNT"
        )

    def _year(self, day: int) -> Step:
        year, rule = date.fromordinal(day).year, self._rule
        behind = (year - rule.start.year) % rule.interval
        following = _new_month((year + rule.interval - behind) * 12)
        return None if behind else self._whole(_new_month(year * 12), _new_month(year * 12 + 12)), following

    def _month(self, day: int) -> Step:
        rule, moment = self._rule, date.fromordinal(day)
        month = moment.year * 12 + moment.month - 1
        behind = (month - rule.start.year * 12 - rule.start.month + 1) % rule.interval
        following = _new_month(month + rule.interval - behind)
        return None if behind else self._whole(_new_month(month), _new_month(month + 1)), following

    def _week(self, day: int) -> Step:
        rule = self._rule
        first_day = rule.start.toordinal()
        begin, first = _begin_of_week(day, rule.week_start), _begin_of_week(first_day, rule.week_start)
        behind = (begin - first) // 7 % rule.interval
        # In the first week BYSETPOS counts from the start on, as in dateutil.
        since = first_day if begin == first and rule.set_positions else begin
        return None if behind else self._whole(since, begin + 7), begin + 7 * (rule.interval - behind)

    def _day(self, day: int) -> Step:
        behind = (day - self._rule.start.toordinal()) % self._rule.interval
        return None if behind else self._whole(day, day + 1), day + self._rule.interval - behind

    def _whole(self, begin: int, end: int) -> Period:
        return Period(self._days.between(begin, end), self._clock, self._rule.set_positions)

    def _paced_day(self, day: int) -> Step:
        """Return the readings on a day of a rule that counts in hours or minutes."""
        rule = self._rule
        unit = _UNIT_SECONDS[rule.freq]
        units = 86_400 // unit
        start = rule.start.toordinal() * units + (rule.start.hour * 3600 + rule.start.minute * 60) // unit
        first = (start - day * units) % rule.interval
        following = day + max(1, first // units)
        if first >= units:
            return None, following
        if first not in self._heads:
            self._heads[first] = tuple(
                number * unit for number in range(first, units, rule.interval) if _allows(rule, number * unit // 60)
            )
        heads = self._heads[first]
        return Period((day,), Clock(heads, self._clock.tails)) if heads else None, following


def _clock(rule: Rule) -> Clock:
    """Return the times of each day. Of a rule that counts in hours or minutes only the tails count."""
    hours = rule.of_day("BYHOUR", rule.start.hour)
    minutes = rule.of_day("BYMINUTE", rule.start.minute)
    seconds = rule.of_day("BYSECOND", rule.start.second)
    if rule.freq == "MINUTELY":
        return Clock((), _chosen(seconds, rule.set_positions))
    if rule.freq == "HOURLY":
        tails = tuple(minute * 60 + second for minute, second in product(minutes, seconds))
        return Clock((), _chosen(tails, rule.set_positions))
    return Clock(tuple(hour * 3600 + minute * 60 for hour, minute in product(hours, minutes)), seconds)


def _chosen(times: tuple[int, ...], positions: tuple[int, ...]) -> tuple[int, ...]:
    """Return the times that BYSETPOS chooses, all of them without it."""
    places = {position - 1 if position > 0 else len(times) + position for position in positions}
    return tuple(time for place, time in enumerate(times) if place in places) if positions else times


def _allows(rule: Rule, minute: int) -> bool:
    """Tell whether BYHOUR, and for MINUTELY also BYMINUTE, allow a minute of the day."""
    if "BYHOUR" in rule.numbers and minute // 60 not in rule.numbers["BYHOUR"]:
        return False
    return rule.freq == "HOURLY" or "BYMINUTE" not in rule.numbers or minute % 60 in rule.numbers["BYMINUTE"]


def _any_in_step(rule: Rule) -> bool:
    """Tell whether the steps can meet an allowed time of a day at all: every second minute meets no odd one."""
    if rule.freq not in PACED:
        return True
    unit = _UNIT_SECONDS[rule.freq]
    step = gcd(rule.interval, 86_400 // unit)
    first = (rule.start.hour * 3600 + rule.start.minute * 60) // unit % step
    return any(_allows(rule, number * unit // 60) for number in range(first, 86_400 // unit, step))


def _new_month(month: int) -> int:
    """Return the first day of a month counted from January of the year 0; beyond the calendar, its end."""
    year, index = divmod(month, 12)
    return date(year, index + 1, 1).toordinal() if year <= MAXYEAR else _CALENDAR_END


def _begin_of_week(day: int, week_start: int) -> int:
    return day - (day - 1 - week_start) % 7
