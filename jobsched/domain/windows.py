"""One entry of `exclude` or `blackout`: which readings of a clock it covers. In no zone, without clock changes."""

from __future__ import annotations

import re
from calendar import isleap
from dataclasses import dataclass
from datetime import MAXYEAR, date, datetime, time, timedelta
from typing import Final

from jobsched.domain.errors import InvalidInput

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY: Final = timedelta(days=1)
_YEARLY: Final = re.compile(r"(\d\d)-(\d\d)", re.ASCII)
_DATE: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)", re.ASCII)
_CLOCK: Final = re.compile(r"(\d\d):(\d\d)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Span:
    """From one reading to another, which is outside."""

    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True)
class Yearly:
    """Whole days, from a month and day to another, every year; they may reach into the next. 29 February may be one."""

    first: tuple[int, int]
    last: tuple[int, int]

    def in_year(self, year: int) -> list[tuple[date, date]]:
        """Return the first and the last day of each part of the window that lies in a year."""
        first = _in_year(year, *self.first, missing=0)
        last = _in_year(year, *self.last, missing=-1)
        if self.last < self.first:
            return [(date(year, 1, 1), last), (first, date(year, 12, 31))]
        return [(first, last)] if first <= last else []


@dataclass(frozen=True, slots=True)
class Weekly:
    """On some days of the week (Monday is 0), from a time of the day on for at most a day."""

    days: frozenset[int]
    begins: timedelta
    """After midnight."""
    length: timedelta


Window = Span | Yearly | Weekly
"""Readings of a clock that belong together."""


def excluded(text: str) -> Window:
    """Read an entry of `exclude`: `2026-12-25`, `12-25`, or two of one sort with `..` between, both included.

    Raises `InvalidInput` for anything else.
    """
    first_text, _, last_text = (part.strip() for part in text.partition(".."))
    last_text = last_text if ".." in text else first_text
    yearly = [_YEARLY.fullmatch(part) for part in (first_text, last_text)]
    if yearly[0] and yearly[1]:
        days = [_day(text, 2000, *map(int, found.groups())) for found in yearly if found]  # a leap year
        return Yearly((days[0].month, days[0].day), (days[1].month, days[1].day))
    dated = [_DATE.fullmatch(part) for part in (first_text, last_text)]
    if not (dated[0] and dated[1]):
        raise InvalidInput(
            f"{text[:80]!r} is not a date; write 2026-12-25, 12-25 for every year, or 2026-12-24..2027-01-02"
        )
    first, last = (_day(text, *map(int, found.groups())) for found in dated if found)
    if last < first:
        raise InvalidInput(f"{text!r} ends before it begins; write the earlier date first")
    return Span(datetime.combine(first, time()), datetime.combine(last, time()) + _DAY)


def blackout(text: str) -> Window:
    """Read an entry of `blackout`: times, days of the week, both, or two moments with `..` between.

    Raises `InvalidInput` for anything else.
    """
    if ".." in text:
        return _between(text)
    words = text.lower().split()
    if not 1 <= len(words) <= 2 or (len(words) == 2 and (":" in words[0] or ":" not in words[1])):
        raise InvalidInput(_not_a_window(text))
    days = frozenset(range(7)) if ":" in words[0] else _days(text, words[0])
    if ":" not in words[-1]:
        return Weekly(days, timedelta(0), _DAY)
    begins, _, ends = words[-1].partition("-")
    first, last = _clock(text, begins), _clock(text, ends)
    if first in (last, _DAY):
        raise InvalidInput(f"{text!r} begins and ends at the same time; for whole days write only the days: mon-sun")
    return Weekly(days, first, last - first if first < last else last - first + _DAY)


def _between(text: str) -> Span:
    first, last = (_reading(text, part.split()) for part in text.split("..", 1))
    if last <= first:
        raise InvalidInput(f"{text!r} ends before it begins; write the earlier moment first")
    return Span(first, last)


def _reading(text: str, words: list[str]) -> datetime:
    found = _DATE.fullmatch(words[0]) if len(words) == 2 else None
    if found is None:
        raise InvalidInput(_not_a_window(text))
    return datetime.combine(_day(text, *map(int, found.groups())), time()) + _clock(text, words[1])


def _days(text: str, word: str) -> frozenset[int]:
    days: set[int] = set()
    for part in word.split(","):
        first, dash, last = part.partition("-")
        if first not in DAYS or (dash and last not in DAYS):
            raise InvalidInput(_not_a_window(text))
        begin, end = DAYS.index(first), DAYS.index(last or first)
        days.update(range(begin, end + 1) if begin <= end else {*range(begin, 7), *range(end + 1)})
    return frozenset(days)


def _clock(text: str, word: str) -> timedelta:
    found = _CLOCK.fullmatch(word)
    if found is None:
        raise InvalidInput(_not_a_window(text))
    at = timedelta(hours=int(found[1]), minutes=int(found[2]))
    if at > _DAY or int(found[2]) > 59:
        raise InvalidInput(f"{text!r}: {word} is not a time of day, which goes from 00:00 to 24:00")
    return at


def _day(text: str, year: int, month: int, day: int) -> date:
    try:
        if not 1970 <= year < MAXYEAR:
            raise ValueError(f"the year must be from 1970 to {MAXYEAR - 1}")
        return date(year, month, day)
    except ValueError as error:
        raise InvalidInput(f"{text!r} is not in the calendar: {error}") from error


def _in_year(year: int, month: int, day: int, *, missing: int) -> date:
    """Return that day; for 29 February in a year without it, the day before (-1) or after (0)."""
    if (month, day) == (2, 29) and not isleap(year):
        return date(year, 3, 1) + missing * _DAY
    return date(year, month, day)


def _not_a_window(text: str) -> str:
    return (
        f"{text[:80]!r} is not a blackout; write times, days or both, such as 22:00-06:00, sat,sun or "
        "mon-fri 09:00-17:00, or two moments, such as 2026-12-24 18:00..2026-12-27 06:00"
    )
