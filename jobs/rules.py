"""What django-celery-beat's rows, and our row beside each, say about when: one value, one calculator."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.db.models import OuterRef, QuerySet, Subquery
from django.db.models.functions import JSONObject
from django.utils.dateparse import parse_datetime
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from jobs.models import FormerSchedule, Job, Schedule
from jobsched.domain.errors import InvalidInput
from jobsched.domain.exclusions import Exclusions
from jobsched.domain.solar import Solar
from jobsched.domain.timetables import Crontab, Every, Once, StoredTimetable, Timetable, stored_timetable
from jobsched.domain.wallclock import utc

logger = logging.getLogger(__name__)

Crontabs = tuple[str, str, str, str, str, str]


# Not frozen: a rush makes thousands, and to freeze one takes longer than to make it.
@dataclass(kw_only=True, slots=True)
class Rule:
    """When a PeriodicTask fires. Exactly one of the first five is set.

    `anchor` is the origin that intervals are counted from when the row gives no `start_time`. Moments are in UTC.
    """

    crontab: Crontabs | None = None
    """minute, hour, day of month, month, day of week, time zone"""
    interval: tuple[int, str] | None = None
    """how many, of which period"""
    clocked: datetime | None = None
    solar: tuple[str, str, str] | None = None
    """event, latitude, longitude"""
    stored: str | None = None
    """A kind that django-celery-beat has no row for, as JSON; it counts whatever its row says."""
    exclusions: str | None = None
    """Days and windows in which nothing is run, as JSON"""
    anchor: datetime
    start_time: datetime | None = None
    expires: datetime | None = None


def rule_of(task: PeriodicTask, schedule: Schedule) -> Rule:
    """Return the rule of a PeriodicTask whose schedule rows are at hand (select_related)."""
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
        clocked=utc(clocked.clocked_time) if clocked else None,
        solar=(solar.event, str(solar.latitude), str(solar.longitude)) if solar else None,
        stored=as_text(schedule.timetable),
        exclusions=as_text(schedule.exclusions),
        anchor=schedule.anchor,
        start_time=utc(task.start_time) if task.start_time else None,
        expires=utc(task.expires) if task.expires else None,
    )


def crontab_in_words(crontab: CrontabSchedule) -> str:
    """Return when a django-celery-beat crontab is due, for people."""
    row = (crontab.minute, crontab.hour, crontab.day_of_month, crontab.month_of_year, crontab.day_of_week)
    return _crontab((*row, str(crontab.timezone))).words()


def former_rule(data: dict[str, Any], *, begins: datetime) -> Rule:
    """Return the rule that a schedule had until it was changed, as FormerSchedule keeps it."""

    def moment(key: str) -> datetime | None:
        found = parse_datetime(data[key]) if data.get(key) else None
        return utc(found) if found else None

    def words(key: str) -> Any:
        return tuple(data[key]) if data.get(key) else None

    return Rule(
        crontab=words("crontab"),
        interval=words("interval"),
        clocked=moment("clocked"),
        solar=words("solar"),
        stored=as_text(data.get("stored")),
        exclusions=as_text(data.get("exclusions")),
        anchor=moment("anchor") or begins,
        start_time=moment("start_time"),
        expires=moment("expires"),
    )


def as_text(data: Any) -> str | None:
    """Return JSON as one text for one value, whoever wrote it."""
    return None if data is None else json.dumps(data, sort_keys=True)


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
        case StoredTimetable():
            return Rule(stored=as_text(wanted.stored()), anchor=anchor)
        case _:
            raise TypeError(f"no django-celery-beat row can hold {wanted!r}")


def _in_largest_unit(period: timedelta) -> tuple[int, str]:
    for unit in ("days", "hours", "minutes", "seconds"):
        count, rest = divmod(period, timedelta(**{unit: 1}))
        if count and not rest:
            return count, unit
    return period // timedelta(microseconds=1), "microseconds"


def timetable(rule: Rule) -> Timetable:
    """Return the calculator for a rule. A row that makes no sense is never due: it must not stop the others."""
    if rule.stored is not None:
        return _stored(rule.stored)
    if rule.crontab is not None:
        return _crontab(rule.crontab)
    try:
        if rule.interval is not None:
            every, period = rule.interval
            length = timedelta(**{period: every})
            # As django-celery-beat does, it fires at its start time first.
            return Every(period=length, anchor=rule.start_time - length if rule.start_time else rule.anchor)
        if rule.clocked is not None:
            return Once(at=rule.clocked)
        if rule.solar is not None:
            event, latitude, longitude = rule.solar
            return Solar(event=event, latitude=float(latitude), longitude=float(longitude))
    except _NONSENSE as error:
        return _never(rule, error)
    return Never(why="its row names no schedule")


_NONSENSE = (InvalidInput, ZoneInfoNotFoundError, OverflowError, TypeError, ValueError, KeyError)


# As many as serve a million schedules, which share most of their rows, and few enough to weigh nothing.
@lru_cache(maxsize=4096)
def _crontab(fields: Crontabs) -> Timetable:
    minute, hour, day_of_month, month_of_year, day_of_week, zone = fields
    try:
        return Crontab(
            minute=minute,
            hour=hour,
            day_of_month=day_of_month,
            month_of_year=month_of_year,
            day_of_week=day_of_week,
            timezone=ZoneInfo(zone),
        )
    except _NONSENSE as error:
        return _never(fields, error)


@lru_cache(maxsize=1024)
def _stored(text: str) -> Timetable:
    try:
        return stored_timetable(json.loads(text))
    except _NONSENSE as error:
        return _never(text, error)


def _never(row: object, error: Exception) -> Never:
    logger.warning("schedule row cannot be served, it never fires row=%s error=%s", row, error)
    return Never(why=str(error))


def first_after(rule: Rule, moment: datetime) -> datetime | None:
    """Return the first instant strictly after `moment`, not before the rule's start and before its end."""
    if rule.start_time and rule.start_time > moment:
        moment = rule.start_time - timedelta(microseconds=1)  # an instant that falls on the start counts
    instant = timetable(rule).after(moment)
    return None if instant is None or (rule.expires and instant >= rule.expires) else instant


def instants(rule: Rule, *, after: datetime, until: datetime) -> Iterator[datetime]:
    """Yield the instants of a rule strictly after one moment and not after another, excluded ones too."""
    instant = first_after(rule, after)
    while instant is not None and instant <= until:
        yield instant
        instant = first_after(rule, instant)


def excluded(rule: Rule) -> Exclusions | None:
    """Return the days and windows in which a rule's instants are skipped, if there are any."""
    return _exclusions(rule.exclusions) if rule.exclusions else None


@lru_cache(maxsize=1024)
def _exclusions(text: str) -> Exclusions | None:
    try:
        data = json.loads(text)
        return Exclusions.of(data.get("exclude", ()), data.get("blackout", ()), ZoneInfo(data.get("timezone", "UTC")))
    except (*_NONSENSE, AttributeError) as error:
        logger.warning("exclusions cannot be read, nothing is excluded exclusions=%s error=%s", text, error)
        return None


def jitter(schedule_id: int, limit: timedelta) -> timedelta:
    """Return how much later than its instants a schedule fires: a fixed part of `limit`, the same on every host.

    The database function `jobs_jitter` computes the same.
    """
    if not limit:
        return limit
    part = (schedule_id % 2147483648 * 2654435761 % 4294967296) >> 12
    return timedelta(microseconds=(limit // timedelta(microseconds=1) * part) >> 20)


def in_words(schedule: Schedule) -> str:
    """Return when a job fires, for people. The rows must be at hand (select_related): it costs no query then."""
    task = schedule.periodic_task
    words = timetable(rule_of(task, schedule)).words()
    if task.one_off and not words.startswith("once"):
        words += ", once only"
    return words if task.enabled else f"{words} (switched off)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Deletion:
    """The deletion of a job's schedule: from then on the job ran on request only, until it was given another."""

    at: datetime
    by: str
    outside: bool
    """By SQL or by another program through the ORM, and not by jobsched itself."""


def with_deletion(jobs: QuerySet[Job]) -> QuerySet[Job]:
    """Make a query of jobs fetch what `job_in_words` needs of a deleted schedule, in the same statement."""
    last = FormerSchedule.objects.deletions().filter(job=OuterRef("pk"))
    fields = JSONObject(at="until", by="deleted_by", outside="deleted_outside")
    return jobs.annotate(schedule_deleted=Subquery(last.values(fields=fields)[:1]))


def job_in_words(job: Job) -> str:
    """Return when a job fires, for people.

    The job must come from `with_deletion`, with the rows of its schedule fetched.
    """
    schedule = getattr(job, "schedule", None)
    if schedule is not None:
        return in_words(schedule)
    kept = getattr(job, "schedule_deleted", None)
    return only_on_request(Deletion(**{**kept, "at": parse_datetime(kept["at"])}) if kept else None)


def last_deletion(job: Job) -> Deletion | None:
    """Return the last deletion of a schedule of this job."""
    last = FormerSchedule.objects.deletions().filter(job=job).first()
    return deletion(last) if last else None


def deletion(former: FormerSchedule) -> Deletion:
    """Return the deletion that ended a former schedule."""
    return Deletion(at=former.until, by=former.deleted_by or "", outside=former.deleted_outside)


def only_on_request(last: Deletion | None) -> str:
    """Say that a job has no schedule, and since when if it was deleted outside of jobsched."""
    if last is None or not last.outside:
        return "only on request"
    return f"only on request: its schedule was deleted outside of jobsched at {utc(last.at):%Y-%m-%d %H:%M:%S} UTC"


@dataclass(frozen=True, kw_only=True, slots=True)
class Never:
    """A row that makes no sense."""

    why: str

    def after(self, moment: datetime) -> datetime | None:
        """Never."""
        return None

    def words(self) -> str:
        """Say so, and why."""
        return f"never: {self.why}"
