"""What django-celery-beat's rows say about when: one value, one calculator."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from django_celery_beat.models import PeriodicTask

from jobsched.domain.timetables import Crontab, Every, Once, Timetable


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """When a PeriodicTask fires. Exactly one of the first four is set.

    `anchor` is the origin that intervals are counted from when the row gives no `start_time`.
    """

    crontab: tuple[str, str, str, str, str, str] | None = None
    """minute, hour, day of month, month, day of week, time zone"""
    interval: tuple[int, str] | None = None
    """how many, of which period"""
    clocked: datetime | None = None
    solar: tuple[str, str, str] | None = None
    """event, latitude, longitude"""
    anchor: datetime
    start_time: datetime | None = None
    expires: datetime | None = None


def rule_of(task: PeriodicTask, *, anchor: datetime) -> Rule:
    """Return the rule of a PeriodicTask whose schedule row is at hand (select_related)."""
    crontab, interval, clocked, solar = task.crontab, task.interval, task.clocked, task.solar
    return Rule(
        crontab=(
            crontab.minute,
            crontab.hour,
            crontab.day_of_month,
            crontab.month_of_year,
            crontab.day_of_week,
            str(crontab.timezone),
        )
        if crontab
        else None,
        interval=(interval.every, interval.period) if interval else None,
        clocked=clocked.clocked_time if clocked else None,
        solar=(solar.event, str(solar.latitude), str(solar.longitude)) if solar else None,
        anchor=anchor,
        start_time=task.start_time,
        expires=task.expires,
    )


def rule_for(wanted: Timetable, *, anchor: datetime) -> Rule:
    """Return the rule that a timetable is stored as."""
    match wanted:
        case Crontab():
            return Rule(
                crontab=(
                    wanted.minute,
                    wanted.hour,
                    wanted.day_of_month,
                    wanted.month_of_year,
                    wanted.day_of_week,
                    wanted.timezone.key,
                ),
                anchor=anchor,
            )
        case Every():
            return Rule(interval=_in_largest_unit(wanted.period), anchor=anchor)
        case Once():
            return Rule(clocked=wanted.at, anchor=anchor)
        case _:
            raise TypeError(f"no django-celery-beat row can hold {wanted!r}")


def _in_largest_unit(period: timedelta) -> tuple[int, str]:
    for unit in ("days", "hours", "minutes", "seconds"):
        count, rest = divmod(period, timedelta(**{unit: 1}))
        if count and not rest:
            return count, unit
    return period // timedelta(microseconds=1), "microseconds"


@lru_cache(maxsize=65536)
def timetable(rule: Rule) -> Timetable:
    """Return the calculator for a rule."""
    if rule.crontab:
        minute, hour, day_of_month, month_of_year, day_of_week, zone = rule.crontab
        return Crontab(
            minute=minute,
            hour=hour,
            day_of_month=day_of_month,
            month_of_year=month_of_year,
            day_of_week=day_of_week,
            timezone=ZoneInfo(zone),
        )
    if rule.interval:
        every, period = rule.interval
        return Every(period=timedelta(**{period: every}), anchor=rule.start_time or rule.anchor)
    if rule.clocked:
        return Once(at=rule.clocked)
    return NEVER


def first_after(rule: Rule, moment: datetime) -> datetime | None:
    """Return the first instant strictly after `moment`, within the rule's start and end."""
    if rule.start_time and rule.start_time > moment:
        moment = rule.start_time - timedelta(microseconds=1)  # an instant that falls on the start counts
    instant = timetable(rule).after(moment)
    return None if instant is None or (rule.expires and instant > rule.expires) else instant


class _Never:
    """A solar schedule, or a row without any: nothing of ours can tell yet when it is due."""

    def after(self, moment: datetime) -> datetime | None:
        return None

    def words(self) -> str:
        return "never: this kind of schedule is not served yet"


NEVER: Final = _Never()
