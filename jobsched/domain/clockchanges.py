"""What clock changes will do to a timetable: what they skip, repeat or move."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from jobsched.domain import english
from jobsched.domain.timetables import Timetable
from jobsched.domain.wallclock import SECOND, OnTheClock, changes, shown

_MOST_LISTED: Final = 3
"""More times than this are given as the first, the last and how many."""


@dataclass(frozen=True, slots=True)
class Moved:
    """One thing that a clock change does to a timetable.

    `at` is when it is due instead, is due first of two times, or would have been due, in UTC.
    """

    at: datetime
    sentence: str


def moved(timetable: Timetable, *, after: datetime, until: datetime) -> list[Moved]:
    """Return what clock changes move strictly after one aware moment and not after another, in order.

    Fixed times are reported whenever they are skipped or repeated. A timetable that keeps its pace is reported where it
    comes less often than the change is long: then a skipped time is missed, and a repeated one comes twice.
    """
    if not isinstance(timetable, OnTheClock):
        return []
    day = timedelta(days=1)  # what a change repeats may lie before it
    found = [_at_change(timetable, instant) for instant in changes(timetable.timezone, after, until + day)]
    return [one for one in found if one is not None and after < one.at <= until]


def _at_change(timetable: OnTheClock, instant: datetime) -> Moved | None:
    zone = timetable.timezone
    new = shown(instant.astimezone(zone))
    old = shown((instant - SECOND).astimezone(zone)) + SECOND
    begin, end = min(old, new), max(old, new)
    wanted = _wanted(timetable, begin, end)
    if not wanted or not (timetable.is_fixed or _is_rare(timetable, wanted, end - begin)):
        return None
    many = len(wanted) > 1
    if old < new:
        missing = "do not exist" if many else "does not exist"
        if timetable.is_fixed:
            also = timetable.reading_after(new - SECOND) == new
            where = _with_zone(instant, timetable.timezone, beside=wanted[0])
            what = ("they fire once, " if many else "it fires ") + f"at {where}"
            what += ", as one with what is due then" if also else ""
        else:
            what = "they do not fire" if many else "it does not fire"
        return Moved(instant, f"{_times(wanted)} {missing} in {zone.key} (clocks go forward); {what}")
    if timetable.is_fixed:
        what = "each fires once, at the first" if many else "it fires once, at the first"
    else:
        what = "they fire both times" if many else "it fires both times"
    first_pass = wanted[0].replace(tzinfo=zone, fold=0).astimezone(UTC)
    return Moved(
        first_pass, f"{_times(wanted)} {'come' if many else 'comes'} twice in {zone.key} (clocks go back); {what}"
    )


def _wanted(timetable: OnTheClock, begin: datetime, end: datetime) -> list[datetime]:
    """Return the readings that a timetable asks for from `begin` on and before `end`."""
    found: list[datetime] = []
    reading = timetable.reading_after(begin - SECOND)
    while reading is not None and reading < end:
        found.append(reading)
        reading = timetable.reading_after(reading)
    return found


def _is_rare(timetable: OnTheClock, wanted: list[datetime], length: timedelta) -> bool:
    """Tell whether the readings around a change of that length are further apart than it is long."""
    following = timetable.reading_after(wanted[-1])
    before = _wanted(timetable, wanted[0] - length, wanted[0])
    return not before or following is None or following - wanted[-1] > length


def _times(wanted: list[datetime]) -> str:
    one_day = wanted[0].date() == wanted[-1].date()
    texts = [_text(reading, with_date=place == 0 or not one_day) for place, reading in enumerate(wanted)]
    if len(texts) > _MOST_LISTED:
        return f"{texts[0]} to {texts[-1]} ({len(texts)} times)"
    return english.listed(texts)


def _text(reading: datetime, *, with_date: bool) -> str:
    return f"{reading:{'%Y-%m-%d ' if with_date else ''}%H:%M{':%S' if reading.second else ''}}"


def _with_zone(instant: datetime, zone: ZoneInfo, *, beside: datetime) -> str:
    local = instant.astimezone(zone)
    name = local.tzname() or ""
    # Zones without a name of their own are called by their offset.
    name = f"UTC{name}" if name[:1] in "+-" else name
    return f"{_text(shown(local), with_date=local.date() != beside.date())} {name}"
