"""Crontabs that count days within a month: `L`, the last day; `friL`, the last Friday; `tue#2`, the second Tuesday."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from functools import cached_property, lru_cache
from typing import Any, ClassVar, Final, Self
from zoneinfo import ZoneInfo

from jobsched.domain import cronfields, cronwords, english
from jobsched.domain.cronfields import DAY_OF_MONTH, DAY_OF_WEEK, row_numbers
from jobsched.domain.errors import InvalidInput
from jobsched.domain.readings import Readings
from jobsched.domain.wallclock import first_on

_COUNTED: Final = re.compile(r"(?P<day>[0-7]|[a-z]{3})(?:l|#(?P<nth>\w+))", re.ASCII)
_TOKEN: Final = re.compile(r"\bl\b|[0-9a-z]#|[0-7]l\b|(?:sun|mon|tue|wed|thu|fri|sat)l\b", re.ASCII)
_MOST_DAYS: Final = 8
"""More days than these have no words."""
_LAST: Final = -1

Counted = tuple[int, int]
"""A day of the week, Sunday 0, and which one of the month; -1 is the last."""


@dataclass(frozen=True, slots=True)
class MonthlyReadings(Readings):
    """Readings that may also be wanted on days counted within the month."""

    last_day: bool
    counted: frozenset[Counted]

    def _days_of(self, length: int) -> Sequence[int]:
        return sorted({*self.days, length}) if self.last_day else self.days

    def _match(self, day: date) -> bool:
        tomorrow = day + timedelta(days=1)
        weekday = day.isoweekday() % 7
        return (
            day.month in self.months
            and (day.day in self.days or (self.last_day and tomorrow.day == 1))
            and (
                weekday in self.weekdays
                or (weekday, (day.day - 1) // 7 + 1) in self.counted
                or ((weekday, _LAST) in self.counted and (day + timedelta(days=7)).month != day.month)
            )
        )


@dataclass(frozen=True, kw_only=True)
class MonthlyCrontab:
    """Due when all five fields match the clock in `timezone`; at clock changes it does what `Crontab` does.

    `day_of_month` may hold `L` and `day_of_week` terms such as `5L` and `2#2`. Raises `InvalidInput` for fields
    that make no sense.
    """

    KIND: ClassVar[str] = "monthly_crontab"

    minute: str
    hour: str
    day_of_month: str
    month_of_year: str
    day_of_week: str
    timezone: ZoneInfo

    def __post_init__(self) -> None:
        self.readings  # noqa: B018 - a wrong field is refused when it is given, not when it is due

    @classmethod
    def parse(cls, fields: Sequence[str], *, timezone: ZoneInfo) -> Self:
        """Read the five fields of a cron string, as a user writes them. Raises `InvalidInput` with the reason."""
        minute, hour, days, month, weekdays = fields
        return cls(
            minute=cronfields.normalised(cronfields.MINUTE, minute),
            hour=cronfields.normalised(cronfields.HOUR, hour),
            day_of_month=_strict_days(days),
            month_of_year=cronfields.normalised(cronfields.MONTH, month),
            day_of_week=_strict_weekdays(weekdays),
            timezone=timezone,
        )

    @property
    def is_fixed(self) -> bool:
        """Whether it comes at fixed times of the day, rather than keeping a pace."""
        return not (self.minute.startswith("*") or self.hour.startswith("*"))

    @cached_property
    def readings(self) -> MonthlyReadings:
        """What the clock shows when this is due, clock changes aside."""
        return _readings(self.minute, self.hour, self.day_of_month, self.month_of_year, self.day_of_week)

    def after(self, moment: datetime) -> datetime | None:
        return first_on(self, moment)

    def reading_after(self, reading: datetime) -> datetime | None:
        """Return the first naive reading strictly after another that all fields match, clock changes aside."""
        return self.readings.after(reading)

    def words(self) -> str:
        readings = self.readings
        time, day = cronwords.times(readings.hours, readings.minutes), self._days_in_words()
        if time is None or day is None:
            return f"as the cron string {self.written()[0]} says, {self.timezone.key}"
        return f"{cronwords.joined(time, day, cronwords.months(readings.months))}, {self.timezone.key}"

    def _days_in_words(self) -> str | None:
        """Return which days match, or None where no short sentence says it."""
        readings = self.readings
        weekdays = [] if readings.any_weekday else [f"every {english.WEEKDAYS[day]}" for day in readings.weekdays]
        if not readings.any_weekday:
            weekdays += [
                f"the {english.ordinal(nth)} {english.WEEKDAYS[day]}"
                for day, nth in sorted(readings.counted, key=lambda counted: (counted[1] % 7, counted[0]))
            ]
        days: list[str] = []
        if not readings.any_day_of_month:
            days = [*(f"day {day}" for day in readings.days), *(["the last day"] if readings.last_day else [])]
        if len(days) + len(weekdays) > _MOST_DAYS:
            return None
        if not days and not weekdays:
            return "every day"
        first = f"on {english.listed(days or weekdays)} of the month"
        return f"{first} if that is {english.listed(weekdays, joined_by='or')}" if days and weekdays else first

    def stored(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"kind": self.KIND, **asdict(self), "timezone": self.timezone.key}

    def written(self) -> tuple[str, str]:
        """Return the cron string and its time zone."""
        texts = (self.minute, self.hour, self.day_of_month, self.month_of_year, self.day_of_week)
        return " ".join(texts), self.timezone.key

    @classmethod
    def from_stored(cls, data: dict[str, Any]) -> Self:
        """Read what `stored` returned. Raises `InvalidInput` or KeyError when it is something else."""
        fields = {name: str(data[name]) for name in ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")}
        return cls(**fields, timezone=ZoneInfo(data["timezone"]))


def counts_days(fields: Sequence[str]) -> bool:
    """Tell whether the five fields of a cron string hold `L` or `#`."""
    return any(_TOKEN.search(field.lower()) for field in fields)


@lru_cache(maxsize=1024)
def _readings(minute: str, hour: str, day_of_month: str, month_of_year: str, day_of_week: str) -> MonthlyReadings:
    days, last_day = _split(day_of_month, {"l"})
    weekdays = day_of_week.lower().split(",")
    counted = frozenset(_counted(term) for term in weekdays if _COUNTED.fullmatch(term))
    plain = ",".join(term for term in weekdays if not _COUNTED.fullmatch(term))
    return MonthlyReadings(
        minutes=_numbers(cronfields.MINUTE, minute),
        hours=_numbers(cronfields.HOUR, hour),
        days=_numbers(DAY_OF_MONTH, days),
        months=_numbers(cronfields.MONTH, month_of_year),
        weekdays=_numbers(DAY_OF_WEEK, plain),
        last_day=bool(last_day),
        counted=counted,
    )


def _numbers(field: cronfields.Field, text: str) -> tuple[int, ...]:
    return tuple(sorted(row_numbers(field, text))) if text else ()


def _split(text: str, special: set[str]) -> tuple[str, list[str]]:
    """Return the terms of a field that are plain, as one text, and those that are special."""
    terms = text.lower().split(",")
    return ",".join(term for term in terms if term not in special), [term for term in terms if term in special]


def _strict_days(text: str) -> str:
    plain, special = _split(text, {"l"})
    if not special:
        return cronfields.normalised(DAY_OF_MONTH, text)
    return f"{cronfields.normalised(DAY_OF_MONTH, plain)},L" if plain else "L"


def _strict_weekdays(text: str) -> str:
    terms = text.lower().split(",")
    counted = sorted({_counted(term) for term in terms if _COUNTED.fullmatch(term)})
    plain = ",".join(term for term in terms if not _COUNTED.fullmatch(term))
    if plain == "l":
        raise InvalidInput("day of week 'L' means nothing without a day; write 5L for the last Friday of the month")
    return ",".join(
        ([cronfields.normalised(DAY_OF_WEEK, plain)] if plain else [])
        + [f"{day}L" if nth == _LAST else f"{day}#{nth}" for day, nth in counted]
    )


def _counted(term: str) -> Counted:
    found = _COUNTED.fullmatch(term)
    if found is None:
        raise InvalidInput(f"day of week {term!r} is not a day of the week with L or #")
    day = found["day"]
    if not day.isdigit() and day not in cronfields.DAYS:
        raise InvalidInput(f"day of week {day!r} is not one of {', '.join(cronfields.DAYS)}")
    number = int(day) % 7 if day.isdigit() else cronfields.DAYS.index(day)
    if found["nth"] is None:
        return number, _LAST
    if found["nth"] not in "12345":
        raise InvalidInput(f"day of week {term!r}: a month has a first to a fifth of a day, so '#' takes 1 to 5")
    return number, int(found["nth"])
