"""What django-celery-beat's rows say about when: one value, one calculator."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django_celery_beat.models import PeriodicTask

from jobs.models import Schedule
from jobsched.domain.errors import InvalidInput
from jobsched.domain.timetables import Crontab, Every, Once, Timetable

logger = logging.getLogger(__name__)


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
    """Return the calculator for a rule. A row that makes no sense is never due: it must not stop the others."""
    try:
        return _timetable(rule)
    except (InvalidInput, ZoneInfoNotFoundError, OverflowError, TypeError) as error:
        logger.warning("schedule row cannot be served, it never fires rule=%s error=%s", rule, error)
        return Never(why=str(error))


def _timetable(rule: Rule) -> Timetable:
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
    return Never(why="this kind of schedule is not served yet")


def first_after(rule: Rule, moment: datetime) -> datetime | None:
    """Return the first instant strictly after `moment`, within the rule's start and end."""
    if rule.start_time and rule.start_time > moment:
        moment = rule.start_time - timedelta(microseconds=1)  # an instant that falls on the start counts
    instant = timetable(rule).after(moment)
    return None if instant is None or (rule.expires and instant > rule.expires) else instant


def in_words(schedule: Schedule | None) -> str:
    """Return when a job fires, for people. The rows must be at hand (select_related): it costs no query then."""
    if schedule is None:
        return "only on request"
    task = schedule.periodic_task
    words = timetable(rule_of(task, anchor=schedule.anchor)).words()
    if task.one_off and not words.startswith("once"):
        words += ", once only"
    return words if task.enabled else f"{words} (switched off)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Never:
    """What nothing of ours can tell the time of: a solar schedule, or a row that makes no sense."""

    why: str

    def after(self, moment: datetime) -> datetime | None:
        """Never."""
        return None

    def words(self) -> str:
        """Say so, and why."""
        return f"never: {self.why}"
