"""When cron strings are due around the clock changes of a zone, found by walking every minute.

It shares no code with the calculator: fields are read, days are counted and clocks are followed in the plainest
way there is. A paced crontab is due whenever the clock shows a match; a fixed one when the clock reaches or jumps
over a match for the first time.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

from jobsched.domain.timetables import parse_schedule, upcoming

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
END = datetime(2031, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
BEFORE, AFTER = timedelta(hours=13), timedelta(hours=26)
"""How far around a change is walked: a whole day and the change itself."""

CRON_STRINGS = (
    # Paced: the minute or the hour begins with a star.
    "* * * * *",
    "*/2 * * * *",
    "*/5 * * * *",
    "*/7 * * * *",
    "*/15 * * * *",
    "*/30 * * * *",
    "*/59 * * * *",
    "0 * * * *",
    "30 * * * *",
    "59 * * * *",
    "0,30 * * * *",
    "5-10 * * * *",
    "0 */2 * * *",
    "30 */3 * * *",
    "45 */5 * * *",
    "*/10 2 * * *",
    "*/15 0 * * *",
    "*/20 1-3 * * *",
    "*/30 23 * * *",
    "* 2 * * *",
    "* 0 * * sun",
    "* 23 * * sat",
    "*/15 22-23 * * 6",
    "0 * 1 * *",
    "*/30 * * 3,10 *",
    "0 */4 * * mon-fri",
    "*,30 1 * * *",
    # Fixed times.
    "0 0 * * *",
    "15 0 * * *",
    "30 0 * * *",
    "0 1 * * *",
    "30 1 * * *",
    "59 1 * * *",
    "0 2 * * *",
    "30 2 * * *",
    "0,30 2 * * *",
    "1-59 2 * * *",
    "0 2,3 * * *",
    "45 1,2,3 * * *",
    "0 3 * * *",
    "30 23 * * *",
    "59 23 * * *",
    "0 0-23 * * *",
    "30 0-5 * * *",
    "0 12 * * *",
    "15 2 * * sun",
    "0 0 * * mon",
    "30 23 * * sat",
    "0 0 1 * *",
    "30 2 28-31 * *",
    "0 1 * 3,4,9,10,11 *",
    "0 0 1,15 */2 *",
    # Days counted within the month.
    "30 2 L * *",
    "0 0 1,L * *",
    "30 2 * * sunL",
    "*/30 2 * * 0L",
    "0 0 * * sun#1",
    "30 1 * * sun#1,sun#2",
    "*/20 * * * sun#2",
    "30 23 * * satL",
    "0 0 * * fri#4,friL",
    "45 1 * * sun#1",
)


@dataclass(frozen=True)
class Window:
    """Minutes around a clock change, or around any moment of a zone that has none."""

    zone: str
    around: datetime

    @property
    def has_change(self) -> bool:
        tz = ZoneInfo(self.zone)
        return self.around.astimezone(tz).utcoffset() != (self.around - MINUTE).astimezone(tz).utcoffset()

    def __str__(self) -> str:
        return f"{self.zone} around {self.around:%Y-%m-%d %H:%M} UTC"


def zones() -> list[str]:
    """Return the zones that users may name."""
    return sorted(available_timezones() - {"localtime", "Factory"})


def windows(zone: str) -> list[Window]:
    """Return the windows of a zone: one for each change of five years, or one when it has no change."""
    tz = ZoneInfo(zone)
    found, day = [], BEGIN
    while day < END:
        if day.astimezone(tz).utcoffset() != (day + timedelta(days=1)).astimezone(tz).utcoffset():
            minute = day
            while minute.astimezone(tz).utcoffset() == day.astimezone(tz).utcoffset():
                minute += MINUTE
            found.append(Window(zone, minute))
        day += timedelta(days=1)
    return found or [Window(zone, BEGIN + timedelta(days=58, hours=13))]


def disagreements(window: Window) -> list[str]:
    """Return a sentence for each cron string that the calculator and the walk see differently."""
    tz = ZoneInfo(window.zone)
    start, end = window.around - BEFORE, window.around + AFTER
    walk = list(_walk(tz, start, end))
    found = []
    for text in CRON_STRINGS:
        timetable = parse_schedule(text, timezone=tz, anchor=BEGIN)
        calculated = upcoming(timetable, after=start, count=10_000, until=end)
        walked = _due(text, walk)
        if calculated != walked:
            different = min(set(calculated) ^ set(walked), default=None)
            which = "the calculator" if different in calculated else "the walk"
            found.append(f"{text!r} in {window}: only {which} has {different}")
    return found


Minute = tuple[datetime, datetime, list[datetime]]
"""The instant, what the clock shows, and what it shows or has jumped over for the first time."""


def _walk(tz: ZoneInfo, start: datetime, end: datetime) -> Iterator[Minute]:
    moment = start - timedelta(hours=4)
    furthest = (moment - MINUTE).astimezone(tz).replace(tzinfo=None, fold=0)
    while moment <= end:
        reading = moment.astimezone(tz).replace(tzinfo=None, fold=0)
        reached = []
        while furthest < reading:
            furthest += MINUTE
            reached.append(furthest)
        if moment > start:
            yield moment, reading, reached
        moment += MINUTE


def _due(text: str, walk: list[Minute]) -> list[datetime]:
    minute, hour, day_of_month, month, day_of_week = text.split()
    minutes, hours, months = _numbers(minute, 0, 59), _numbers(hour, 0, 23), _numbers(month, 1, 12)
    days: dict[date, bool] = {}

    def matches(reading: datetime) -> bool:
        if reading.minute not in minutes or reading.hour not in hours:
            return False
        day = reading.date()
        if day not in days:
            days[day] = day.month in months and _month_has(day, day_of_month) and _week_has(day, day_of_week)
        return days[day]

    if minute[0] == "*" or hour[0] == "*":
        return [moment for moment, reading, _ in walk if matches(reading)]
    return [moment for moment, _, reached in walk if any(map(matches, reached))]


def _numbers(text: str, low: int, high: int) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        first, _, last = (f"{low}-{high}" if span == "*" else span).partition("-")
        found |= set(range(int(first), int(last or first) + 1, int(step or 1)))
    return found


def _month_has(day: date, text: str) -> bool:
    page = [number for week in calendar.monthcalendar(day.year, day.month) for number in week if number]
    return any(day.day == page[-1] if part == "L" else day.day in _numbers(part, 1, 31) for part in text.split(","))


def _week_has(day: date, text: str) -> bool:
    names = {name.lower(): number for number, name in enumerate(calendar.day_abbr)}
    names |= {str(number): (number - 1) % 7 for number in range(8)}
    column = [week[day.weekday()] for week in calendar.monthcalendar(day.year, day.month) if week[day.weekday()]]
    for part in text.split(","):
        if part == "*":
            return True
        name, counted, nth = part.partition("#")
        if part.endswith("L"):
            wanted = column[-1:] if names[part[:-1]] == day.weekday() else []
        elif counted:
            wanted = column[int(nth) - 1 : int(nth)] if names[name] == day.weekday() else []
        else:
            first, _, last = name.partition("-")
            wanted = column if names[first] <= day.weekday() <= names[last or first] else []
        if day.day in wanted:
            return True
    return False
