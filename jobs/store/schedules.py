"""The scheduler's memory: which schedules are due or edited, and how far each is accounted for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jobs.rules import Rule
from jobs.store.session import Execute


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """What a PeriodicTask that names a plain Celery task asks to be sent, as its columns say it."""

    task: str
    args: str
    kwargs: str
    queue: str | None
    exchange: str | None
    routing_key: str | None
    headers: str
    priority: int | None
    expire_seconds: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One schedule, locked until the end of the transaction. `now` is the database's clock."""

    id: int
    name: str
    now: datetime
    next_fire_at: datetime | None
    cursor: datetime
    rule: Rule
    enabled: bool
    one_off: bool
    job_id: int | None
    job_paused: bool
    message: Message


@dataclass(frozen=True, kw_only=True, slots=True)
class Advance:
    """How far a schedule is accounted for now. `fired` counts the instants that led to a run or message."""

    id: int
    cursor: datetime
    next_fire_at: datetime | None
    fired: int = 0
    finished: bool = False
    """A one-off that has fired: it is switched off, as django-celery-beat does."""


_ENTRY = """
SELECT s.periodic_task_id, t.name, clock_timestamp(), s.next_fire_at, s.cursor, s.anchor,
    t.start_time, t.expires, t.enabled, t.one_off, s.job_id, coalesce(j.paused, false),
    c.minute, c.hour, c.day_of_month, c.month_of_year, c.day_of_week, c.timezone,
    i.every, i.period, k.clocked_time, o.event, o.latitude::text, o.longitude::text,
    t.task, t.args, t.kwargs, t.queue, t.exchange, t.routing_key, t.headers, t.priority, t.expire_seconds
FROM jobs_schedule s
JOIN django_celery_beat_periodictask t ON t.id = s.periodic_task_id
LEFT JOIN django_celery_beat_crontabschedule c ON c.id = t.crontab_id
LEFT JOIN django_celery_beat_intervalschedule i ON i.id = t.interval_id
LEFT JOIN django_celery_beat_clockedschedule k ON k.id = t.clocked_id
LEFT JOIN django_celery_beat_solarschedule o ON o.id = t.solar_id
LEFT JOIN jobs_job j ON j.id = s.job_id
"""


def lock_due(execute: Execute, *, of_jobs: bool, limit: int) -> list[Entry]:
    """Lock due schedules, either those of jobs or those that name plain Celery tasks. Call inside a transaction.

    Schedules that another beat holds, or that somebody is editing, are passed over. Both rows are locked here: an
    edit takes the PeriodicTask first and its trigger then ours, and a beat that took them the other way round
    would meet it in a deadlock.
    """
    rows = execute(
        _ENTRY + " WHERE s.next_fire_at <= clock_timestamp() AND (s.job_id IS NOT NULL) = %(of_jobs)s "
        "ORDER BY s.next_fire_at LIMIT %(limit)s FOR NO KEY UPDATE OF t, s SKIP LOCKED",
        {"of_jobs": of_jobs, "limit": limit},
    )
    return [_entry(row) for row in rows]


def lock_stale(execute: Execute, *, limit: int) -> list[Entry]:
    """Lock schedules that were made or edited since they were last looked at. Call inside a transaction."""
    rows = execute(_ENTRY + " WHERE s.stale LIMIT %(limit)s FOR UPDATE OF s SKIP LOCKED", {"limit": limit})
    return [_entry(row) for row in rows]


def _entry(row: Sequence[Any]) -> Entry:
    crontab, interval, solar = row[12:18], row[18:20], row[21:24]
    return Entry(
        id=row[0],
        name=row[1],
        now=row[2],
        next_fire_at=row[3],
        cursor=row[4],
        rule=Rule(
            crontab=tuple(crontab) if crontab[0] is not None else None,
            interval=tuple(interval) if interval[0] is not None else None,
            clocked=row[20],
            solar=tuple(solar) if solar[0] is not None else None,
            anchor=row[5],
            start_time=row[6],
            expires=row[7],
        ),
        enabled=row[8],
        one_off=row[9],
        job_id=row[10],
        job_paused=row[11],
        message=Message(
            task=row[24],
            args=row[25],
            kwargs=row[26],
            queue=row[27],
            exchange=row[28],
            routing_key=row[29],
            headers=row[30],
            priority=row[31],
            expire_seconds=row[32],
        ),
    )


def advance(execute: Execute, advances: Sequence[Advance]) -> None:
    """Write down how far locked schedules are accounted for, and keep django-celery-beat's own columns true."""
    if not advances:
        return
    execute(
        """
        WITH i AS MATERIALIZED (
            SELECT * FROM jsonb_to_recordset(%(advances)s::jsonb)
            AS i(id bigint, cursor timestamptz, next_fire_at timestamptz, fired int, finished boolean)
        ), counted AS (
            UPDATE django_celery_beat_periodictask t SET
                last_run_at = i.cursor, total_run_count = t.total_run_count + i.fired,
                enabled = t.enabled AND NOT i.finished
            FROM i WHERE t.id = ANY(%(ids)s::bigint[]) AND t.id = i.id AND (i.fired > 0 OR i.finished)
        )
        UPDATE jobs_schedule s SET cursor = i.cursor, next_fire_at = i.next_fire_at, stale = false
        FROM i WHERE s.periodic_task_id = ANY(%(ids)s::bigint[]) AND s.periodic_task_id = i.id
        """,
        {
            "ids": [a.id for a in advances],
            "advances": json.dumps(
                [
                    {
                        "id": a.id,
                        "cursor": a.cursor.isoformat(),
                        "next_fire_at": a.next_fire_at and a.next_fire_at.isoformat(),
                        "fired": a.fired,
                        "finished": a.finished,
                    }
                    for a in advances
                ]
            ),
        },
    )


def seconds_to_next(execute: Execute) -> float | None:
    """Return how long until the next schedule or scheduled run is due (negative when overdue), if any is."""
    [(seconds,)] = execute(
        """
        SELECT extract(epoch FROM least(
            (SELECT min(next_fire_at) FROM jobs_schedule WHERE next_fire_at IS NOT NULL),
            (SELECT min(run_at) FROM jobs_run WHERE state = 'scheduled')
        ) - clock_timestamp())::double precision
        """,
        {},
    )
    return None if seconds is None else float(seconds)
