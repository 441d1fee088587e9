"""What is to come: the next fires of all jobs."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from datetime import datetime

from jobs.models import Schedule
from jobs.rules import excluded, first_after, in_words, jitter, rule_of

MOST_FIRES = 1000


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Upcoming:
    """A job that will fire."""

    at: datetime
    project: str
    job: str
    job_id: int
    words: str
    """Its schedule."""


def upcoming(*, until: datetime, limit: int = 100, of_each: int = 5, project: str | None = None) -> list[Upcoming]:
    """Return the next `limit` fires of all jobs up to `until`, in order; of each job at most `of_each`.

    One query, along the index that beats use: its cost is that of the schedules it returns.
    """
    due = Schedule.objects.filter(next_fire_at__lte=until, switched_off=False, paused=False, job__isnull=False)
    if project is not None:
        due = due.filter(job__project__name=project)
    rows = due.with_rule().select_related("job__project").order_by("next_fire_at")[:limit]
    fires = heapq.merge(*(_of(schedule, until, of_each) for schedule in rows))
    return [fire for fire, _ in zip(fires, range(limit), strict=False)]


def _of(schedule: Schedule, until: datetime, count: int) -> list[Upcoming]:
    task, job = schedule.periodic_task, schedule.job
    if job is None or schedule.next_fire_at is None:
        return []
    rule, offset = rule_of(task, schedule), jitter(schedule.pk, schedule.jitter)
    exclusions, words = excluded(rule), in_words(schedule)
    found: list[Upcoming] = []
    instant: datetime | None = schedule.next_fire_at - offset
    looked_at = 0
    while instant is not None and instant + offset <= until and len(found) < count and looked_at < MOST_FIRES:
        if not (exclusions and exclusions.reason(instant)):
            at = instant + offset
            found.append(Upcoming(at=at, project=job.project.name, job=job.name, job_id=job.pk, words=words))
        if task.one_off and found:
            break
        instant = first_after(rule, instant)
        looked_at += 1
    return found
